"""The end of an experiment: the chosen configuration of each study is scored on the test split, once.

The search never sees that split. What is scored is the checkpoint behind the best validation score, which the keeper
has kept; the score is recorded with the study, and a study that has one is never scored again.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from trainables.reporting import Report
from trainables.slot import Scores, Training, build, is_training
from trainables.spec import FineTuneSpec, Params
from trainables.states import scorable
from trainables.storage import Storage
from trainables.team import builder, workers_for
from tuning.outcome import StudyOutcome, StudyState, TestScore, TrialOutcome
from tuning.spec import ExperimentSpec, study_name

if TYPE_CHECKING:
    from cluster.session import Session
    from cluster.spec import TrialResources
    from tuning.run.place import RunPlace
    from tuning.store.study_store import StudyStore

logger = logging.getLogger(__name__)


class Choice(NamedTuple):
    """What of a study is scored on test."""

    trial: TrialOutcome
    report: Report
    checkpoint: str


def score_studies(spec: ExperimentSpec, session: Session, store: StudyStore, place: RunPlace) -> None:
    """Score every finished study that has no test score yet, side by side on the cluster.

    A custom function trainable keeps its data to itself: its studies get no test score, and the comparison says so.

    Raises:
        StoreError: the study store cannot be read or written.
        ray.exceptions.RayTaskError: a checkpoint cannot be loaded or evaluated.
    """
    import ray

    if not is_training(spec.trainable):
        return
    waiting = []
    with contextlib.ExitStack() as held:
        for study in store.load(spec.name).studies:
            if study.test is not None or study.state is not StudyState.FINISHED:
                continue
            choice = choose(study)
            if choice is not None:
                storage = place.storage(study_name(study.strategy, study.seed))
                shared = spec.trial_spec(study.seed)
                waiting.append((study, choice, _scores(shared, choice, storage, session.resources, held)))
        for study, (trial, report, checkpoint), scores in waiting:
            metrics, rows = ray.get(scores)
            score = TestScore(trial.id, report.epoch, report.params, metrics, rows, checkpoint, time.time())
            store.writer(spec.name, study).set_test(score)


def _scores(
    spec: FineTuneSpec, choice: Choice, storage: Storage, resources: TrialResources, held: contextlib.ExitStack
) -> Any:
    """The scores to come, from a process that holds what a trial does, or from as many as a trial has."""
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    workers = workers_for(spec.trainable, resources.gpus)
    options: dict[str, Any] = {"num_cpus": resources.cpus, "num_gpus": resources.gpus}
    if workers > 1:
        group = resources.to_ray(workers).to_placement_group()
        held.callback(ray.util.remove_placement_group, group)
        options = {"num_cpus": 0, "scheduling_strategy": PlacementGroupSchedulingStrategy(group)}
    remote = ray.remote(score_checkpoint).options(**options)
    return remote.remote(spec, dict(choice.report.params), choice.checkpoint, storage, builder(workers))


def choose(study: StudyOutcome) -> Choice | None:
    """The best report that a checkpoint was made of; None without any. Ties go to the earlier trial and epoch.

    A trial that fails between its report and the checkpoint, or is lost in an interruption there, leaves a report
    behind that may be the study's best. What is scored instead is said in a warning, and stands in the test score.
    """
    sign = 1 if study.mode == "max" else -1
    reports = [(trial, report) for trial in study.trials for report in trial.reports]
    choices = [Choice(t, r, t.checkpoints[r.epoch]) for t, r in reports if r.epoch in t.checkpoints]
    choice = max(choices, key=lambda c: sign * c.report.metrics[study.metric], default=None)
    best = study.best()
    if best is not None and (choice is None or choice.report.metrics[study.metric] != best[1].metrics[study.metric]):
        instead = "nothing" if choice is None else f"trial {choice.trial.id} at epoch {choice.report.epoch:g}"
        logger.warning(
            "%s, seed %s: the best report (trial %s at epoch %g) has no checkpoint; %s is scored on test instead.",
            study.strategy, study.seed, best[0].id, best[1].epoch, instead,
        )  # fmt: skip
    return choice


def score_checkpoint(
    spec: FineTuneSpec,
    params: Params,
    checkpoint: str,
    storage: Storage,
    make: Callable[[Params, FineTuneSpec], Training] = build,
) -> Scores:
    """On a worker: the metrics of a checkpoint on the test split, and how many rows that has."""
    with tempfile.TemporaryDirectory(prefix="tunefleet-") as scratch:
        place = scorable(checkpoint.removeprefix(storage.scheme), storage, make, spec, Path(scratch))
        training = make(params, spec)
        training.restore(place, moments=False)
    return training.score("test")
