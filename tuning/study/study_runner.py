"""Runs the studies of an experiment: each is recorded, charged and resumed by itself, and all share the slots."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence

from trainables.worker.team import workers_for
from tuning.errors import Interrupted
from tuning.study.run_context import RunContext
from tuning.study.study import Study
from tuning.study.study_run import StudyRun
from tuning.supervision.rounds import run_rounds
from tuning.supervision.shared_slots import SharedSlots
from tuning.tune_compat.slot_pool import SlotPool
from tuning.tune_compat.tune_run import slot_environment

logger = logging.getLogger(__name__)

__all__ = ["RunContext", "run_studies", "turns"]


def run_studies(studies: Sequence[Study], context: RunContext) -> None:
    """Run or continue `studies`, all of one spec, in their order; returns when every trial has ended.

    Raises:
        StoreError: the store cannot be written, or holds a study that should be new.
        RepeatedFailure: the first trials of a study have failed alike; a resume runs them again.
        Interrupted: stopped before all trials had ended.
        RunFolderError: there is something to continue, and Tune cannot go on from it.
    """
    if not studies:
        return
    session, spec = context.session, studies[0].spec
    planned = [study.most_trials for study in studies]
    trials = max(planned) if spec.one_study_at_a_time else sum(planned)
    session.warm_up(trials, slot_environment(), workers_for(spec.trainable, session.resources.gpus))
    waiting, runs, pool = iter(studies), list[StudyRun](), SlotPool()
    with contextlib.ExitStack() as opened:

        def open_next() -> StudyRun | None:
            study = next(waiting, None)
            if study is None:
                return None
            run = StudyRun(study, context, pool)
            opened.callback(run.close)
            runs.append(run)
            return run

        slots = SharedSlots(session, pool)
        try:
            run_rounds(open_next, slots, pool, overlap=not spec.one_study_at_a_time)
            stopped = [run for run in runs if not run.ended]
            for run in stopped:
                run.suspend()
        except Exception as error:
            explained = _leave(runs, error)
            pool.close()
            raise explained from explained.__cause__
        pool.close()
    if stopped:
        raise Interrupted("\n".join(run.interruption() for run in stopped))


def _leave(runs: Sequence[StudyRun], error: Exception) -> Exception:
    """Leave the studies that have not ended when one of them ends the run; returns the error for the user."""
    left = [run for run in runs if not run.ended]
    failed = next((run for run in left if run.has_failed(error)), None)
    for run in left:
        try:
            if failed is None or run is failed:
                run.abandon()
            else:
                run.suspend()
        except Exception as further:
            logger.error(
                "%s: cannot be saved: %s; a resume goes on from what was saved before", run.study.name, further
            )
    return error if failed is None else failed.explained(error)


def turns(studies: Sequence[Study], slots: int) -> Iterator[str]:
    """Yield a line for each strategy whose population leaves slots waiting."""
    for name, population in {study.strategy.name: study.plan.population for study in studies}.items():
        if population is not None and (line := population.turns(slots)):
            yield f"{name}: {line}"
