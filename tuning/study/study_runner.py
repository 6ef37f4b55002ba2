"""Runs studies one after the other: each is one `tune.run` under our controller, with the callbacks that record it."""

from __future__ import annotations

import contextlib
import functools
import logging
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cluster.storage import StorageError
from trainables.checkpoints.policy import CheckpointPolicy
from trainables.lookup import is_training
from trainables.spec import Objective
from trainables.tasks.summary import DataSummary
from trainables.worker.slot import make_trainable
from trainables.worker.team import builder, workers_for
from tuning.checkpoints.keeper import CheckpointKeeper
from tuning.checkpoints.study_states import open_states
from tuning.errors import Interrupted, RepeatedFailure, RunFolderError
from tuning.run_folder.provenance import provenance_of
from tuning.run_folder.run_storage import RunStorage
from tuning.store.study_store import StudyStore, StudyWriter
from tuning.study.budget_tracker import BudgetTracker
from tuning.study.held_slots import HeldSlots
from tuning.study.packing import sharing_record
from tuning.study.progress import Progress
from tuning.study.recorder import Recorder
from tuning.study.resume import Search
from tuning.study.study import Study
from tuning.supervision.stop_signals import stopped_during
from tuning.supervision.supervisor import StudySupervisor
from tuning.supervision.watchdog import heartbeat_of
from tuning.tracking.tracking import Tracking
from tuning.tune_compat.controller import use_controller
from tuning.tune_compat.settings import snapshot_period
from tuning.tune_compat.snapshots import DamagedSnapshot, Snapshots
from tuning.tune_compat.tune_run import run_quietly, slot_environment

if TYPE_CHECKING:
    from cluster.session import Session

logger = logging.getLogger(__name__)


@dataclass
class RunContext:
    """The session, the stores and the options that the studies of one run share.

    Args:
        session: Ray, and what one trial holds of it.
        store: where the studies are recorded.
        storage: where the run lies.
        tracking: W&B, if it is used.
        data: the summary of the data, for the record; None: unknown.
        progress: True: show a live table or lines.
        new: True: refuse a study that another run has recorded.
        shown_failures: failures that were shown, with the trial that was first to have each.
    """

    session: Session
    store: StudyStore
    storage: RunStorage
    tracking: Tracking
    data: DataSummary | None = None
    progress: bool = False
    new: bool = False
    shown_failures: dict[str, str] = field(default_factory=dict)


def run_studies(studies: Sequence[Study], context: RunContext) -> None:
    """Run or continue `studies`, all of one spec, in their order; see `run_study`."""
    session = context.session
    for study in studies:
        session.warm_up(
            study.most_trials, slot_environment(), workers_for(study.spec.trainable, session.resources.gpus)
        )
        run_study(study, context)


def turns(studies: Sequence[Study], slots: int) -> Iterator[str]:
    """Yield a line for each strategy whose population leaves slots waiting."""
    for name, population in {study.strategy.name: study.plan.population for study in studies}.items():
        if population is not None and (line := population.turns(slots)):
            yield f"{name}: {line}"


def run_study(study: Study, context: RunContext) -> None:
    """Run or continue one study; returns when every trial has ended.

    Raises:
        StoreError: the store cannot be written, or holds a study that should be new.
        RepeatedFailure: its first trials have failed alike; a resume runs them again.
        Interrupted: stopped before its trials had ended.
        RunFolderError: there is something to continue, and Tune cannot go on from it.
    """
    storage = context.storage
    run = _begin(study, context)
    resumed_from = None if context.new else run.folder
    checkpoints = storage.checkpoint_storage(study.name)
    opened = open_states(study.spec, study.plan, study.folder, checkpoints, run.session.slots, resumed_from)
    with opened as (states, policy):
        keeper = CheckpointKeeper(
            _objective(study),
            run.recorder.drop_checkpoint,
            pinned=set if study.plan.population is None else study.plan.population.pinned,
            states=states,
            keep_best=study.spec.checkpoint.keep_best,
            storage=checkpoints,
            recorded=study.resume.checkpoints,
        )
        tracked = context.tracking.callbacks(study.strategy.name, study.seed)
        try:
            _search(run, policy, [run.recorder, keeper, *storage.callbacks(), *tracked], context)
        except RepeatedFailure as error:
            keeper.suspend()
            raise RepeatedFailure(f"{_title(study)}: {error}\n  all logs: {run.folder}") from None
        except Exception as error:
            keeper.suspend()
            if (failure := run.recorder.failure) is None or failure is error:
                raise
            raise failure from failure.__cause__  # Tune makes an error of its own of it, with a traceback for a message
        run.recorder.end_unsaved()
        keeper.finish(run.folder)
    run.writer.finish()
    storage.save()


@dataclass
class _Run:
    """A study that is being run, with what records it and what it costs."""

    study: Study
    session: Session  # with the slots that the study holds
    folder: str  # Tune's, of the study
    writer: StudyWriter
    snapshots: Snapshots
    budget: BudgetTracker
    recorder: Recorder


def _begin(study: Study, context: RunContext) -> _Run:
    """Open the study's record, and put it and Tune's folder back to where the resume plan goes on."""
    session, storage = context.session, context.storage
    session = study.held(session if session.address is None else session.refreshed())
    checkpoints, folder = storage.checkpoint_storage(study.name), storage.tune_folder(study.name)
    writer = _open(study, session, context.store, new=context.new)
    if context.data is not None:
        writer.set_data(context.data)
    snapshots = Snapshots(checkpoints, folder)
    resume = study.resume
    if resume.warning:
        logger.warning("%s", resume.warning)
    if resume.snapshot is not None:
        _restore(snapshots, resume.snapshot, _title(study))
    for trial, position in resume.positions.items():
        writer.rewind(trial, position)
    budget = BudgetTracker(study.limit, session.slots, session.devices_per_trial, resume.spent)
    space, alike = study.spec.space_of(study.strategy), study.spec.alike_failures
    recorder = Recorder(writer, space, checkpoints, budget, alike, resume.unsaved)
    return _Run(study, session, folder, writer, snapshots, budget, recorder)


def _restore(snapshots: Snapshots, name: str, title: str) -> None:
    try:
        snapshots.restore(name)
    except DamagedSnapshot as error:
        raise RunFolderError(f"{title}: {name} has been damaged since the run began: {error}. Resume again") from error
    except OSError as error:
        raise StorageError(f"{title}: cluster.storage: the study's snapshots cannot be used: {error}") from error


def _search(run: _Run, policy: CheckpointPolicy, callbacks: list[Any], context: RunContext) -> None:
    """Let Tune run the study's trials to their ends.

    Raises:
        Interrupted: stopped before that.
    """
    study, plan, budget, recorder = run.study, run.study.plan, run.budget, run.recorder
    concurrency: int | None = run.session.limit
    if plan.population is not None:  # it keeps to the slots by itself
        plan.population.limit(concurrency)
        plan.population.report_exploits_to(recorder.record_exploit)
        concurrency = None
    with contextlib.ExitStack() as stack:
        if context.progress:
            shown = Progress(
                study.strategy.name,
                study.seed,
                plan.trials,
                study.trial.epochs,
                _objective(study),
                budget=budget,
                shown_failures=context.shown_failures,
            )
            callbacks = [*callbacks, stack.enter_context(contextlib.closing(shown))]
        stack.enter_context(contextlib.closing(run.snapshots))
        stack.enter_context(snapshot_period(plan.trials, context.storage.snapshot_seconds))
        slots = HeldSlots(run.session, plan, budget)
        controlled = use_controller(
            StudySupervisor(recorder, recorder.record_loss, slots.check, heartbeat_of(study.spec)),
            snapshots=run.snapshots,
            name_trial=run.writer.name_trial,
            fixed_members=plan.population is not None,
        )
        stack.enter_context(controlled)
        stopped = stopped_during(functools.partial(_tune, run, callbacks, concurrency, policy))
    if stopped or not (budget.reached or recorder.ended >= study.most_trials):
        planned = "" if plan.trials is None else f" of {plan.trials}"
        raise Interrupted(f"{_title(study)}: stopped with {recorder.ended}{planned} trials ended; everything is kept")


def _tune(run: _Run, callbacks: list[Any], concurrency: int | None, policy: CheckpointPolicy) -> None:
    """Call `tune.run` for the study."""
    from ray import tune
    from ray.tune.tune_config import ResumeConfig

    study, session, plan, trial = run.study, run.session, run.study.plan, run.study.trial
    by_class = is_training(trial.trainable)
    workers, heartbeat = workers_for(trial.trainable, session.resources.gpus), heartbeat_of(study.spec)
    make = builder(workers, heartbeat)
    again = ResumeConfig(errored=ResumeConfig.ResumeType.RESUME) if study.resume.retry_failed else None
    continues = study.resume.search is Search.CONTINUE
    run_quietly(
        make_trainable(trial, devices=session.devices_per_trial, policy=policy, make=make, heartbeat=heartbeat),
        name=study.name,
        storage_path=posixpath.dirname(run.folder),
        storage_filesystem=policy.storage.filesystem,
        config=dict(plan.param_space),
        num_samples=study.most_trials,
        search_alg=plan.searcher,
        scheduler=plan.scheduler,
        max_concurrent_trials=concurrency,
        resources_per_trial=session.resources.to_ray(workers),
        checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=int(by_class), checkpoint_at_end=by_class),
        # A function that has reported its last epoch has not returned yet: PBT would take it for a living member.
        stop=None if by_class else {"finished": True},
        max_failures=study.spec.max_failures,
        resume=continues,
        resume_config=again if continues else None,
        callbacks=callbacks,
    )


def _title(study: Study) -> str:
    return f"{study.strategy.name}, seed {study.seed}"


def _objective(study: Study) -> Objective:
    assert study.trial.objective is not None  # load_spec fills it in
    return study.trial.objective


def _open(study: Study, session: Session, store: StudyStore, *, new: bool) -> StudyWriter:
    spec = study.spec
    return store.open_study(
        experiment=spec.name,
        digest=spec.digest(),
        strategy=study.strategy.name,
        kind=study.strategy.kind,
        seed=study.seed,
        objective=_objective(study),
        slots=session.slots,
        devices_per_trial=session.devices_per_trial,
        device=session.device,
        attributes=sharing_record(session) | study.attributes(),
        made_with=provenance_of(spec),
        spec_yaml=spec.to_yaml(),
        limit=study.limit,
        price=spec.budget.price.price if spec.budget.price else None,
        new=new,
    )
