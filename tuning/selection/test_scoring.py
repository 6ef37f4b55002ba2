"""Scores the chosen models of each study on the test split, once.

In: the resume plans of the studies. Out: test scores in the study store. The model is the checkpoint behind the best
validation score, which the keeper of checkpoints has kept; with `confirm:` it is the trainings of the winner
(`tuning.selection.confirm`). The search never sees the test split, and a study that has a score is never scored again.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from trainables.checkpoints.manifest import MOMENTS
from trainables.checkpoints.recomputation import weights_folder
from trainables.checkpoints.replay import replay
from trainables.checkpoints.storage import Storage
from trainables.checksums import damage
from trainables.lookup import build_training, is_training
from trainables.machine import clock
from trainables.reporting import Report
from trainables.spec import FineTuneSpec, Params
from trainables.training import Scores, Training
from trainables.worker.job_slot import JobCall
from tuning.outcome import Confirmation, ScoredRows, StudyOutcome, TestScore, TrialOutcome
from tuning.selection.candidates import training_spec
from tuning.selection.confirm import StudyConfirmation, TrainedWeights, study_confirmations
from tuning.selection.evaluations import confirmation_evaluation_id, record_evaluations, search_evaluation_id
from tuning.selection.training_jobs import JobResult, TrainingJob, run_jobs
from tuning.spec.models import ExperimentSpec, study_name
from tuning.study.precision import trained_spec
from tuning.study.resume import Search, StudyPlan

if TYPE_CHECKING:
    from cluster.session import Session
    from tuning.run_folder.run_storage import RunStorage
    from tuning.store.study_store import StudyStore

logger = logging.getLogger(__name__)

UNSCORED = "no test score: its Trainer has no test rows that give it (a factory may set `trainer.test_dataset`)"


class ChosenCheckpoint(NamedTuple):
    """The checkpoint of a study that is scored on the test split."""

    trial: TrialOutcome
    report: Report
    checkpoint: str


def score_searched(
    spec: ExperimentSpec, plans: Sequence[StudyPlan], session: Session, store: StudyStore, storage: RunStorage
) -> None:
    """Score the best checkpoint of every study of which an evaluation is owed, side by side on the cluster.

    Of several objectives these are the checkpoints of the front. The scores of a study are recorded together, once all
    are there.

    A custom function keeps its data to itself, and a Trainer of the user's own may have no test rows (`test_dataset`):
    such studies get no test score, and the comparison says so.

    Args:
        plans: of the studies.

    Raises:
        StoreError: the study store cannot be read or written.
        Exception: what loading or evaluating a checkpoint raised; RayError: its process died a second time.
        JobLost: an evaluation has lost node after node; a resume begins it again.
        Interrupted: stopped before all had ended.
    """
    if not is_training(spec.trainable):
        return
    owed = [plan.recorded for plan in plans if plan.search is Search.KEEP and plan.test and plan.recorded is not None]
    jobs = []
    for number, study in enumerate(owed):
        for choice in choose_checkpoints(study):
            given = (
                trained_spec(spec, study),
                dict(choice.report.params),
                choice.checkpoint,
                storage.checkpoint_storage(study_name(study.strategy, study.seed)),
            )
            call = JobCall(f"test of {study.strategy}, seed {study.seed}", score_checkpoint, given)
            jobs.append(TrainingJob((number, choice), call))
    ids = [
        search_evaluation_id(spec.name, owed[number], choice.trial.id, choice.report.epoch)
        for number, choice in (job.key for job in jobs)
    ]
    record_evaluations(spec, store, ids)
    expected = Counter(number for number, _ in (job.key for job in jobs))
    seen: dict[int, list[TestScore | None]] = {}

    def receive(job: JobResult[tuple[int, ChosenCheckpoint]]) -> None:
        number, choice = job.key
        scores = seen.setdefault(number, [])
        scores.append(_test_score(owed[number], choice, job))
        if len(scores) == expected[number]:
            _record(spec, store, owed[number], [score for score in scores if score is not None])

    run_jobs(jobs, spec, session, receive, called="evaluations on test")


def _test_score(study: StudyOutcome, choice: ChosenCheckpoint, job: JobResult[Any]) -> TestScore | None:
    """Return the score of a checkpoint; None if it lacks a metric of the study's objectives."""
    trial, report, checkpoint = choice
    scores, warnings = job.result()
    for line in warnings:
        logger.warning("%s, seed %s: %s", study.strategy, study.seed, line)
    if not scores.metrics.keys() >= {*_test_metrics(study)}:
        logger.warning("%s, seed %s: %s", study.strategy, study.seed, UNSCORED)
        return None
    rows = None if scores.labels is None else ScoredRows(scores.labels, scores.predictions or ())
    return TestScore(
        *(trial.id, report.epoch, report.params, scores.metrics, scores.rows, checkpoint, clock.time()), rows
    )


def _test_metrics(study: StudyOutcome) -> tuple[str, ...]:
    return (study.metric,) if study.goal is None else study.goal.metrics


def _record(spec: ExperimentSpec, store: StudyStore, study: StudyOutcome, scores: list[TestScore]) -> None:
    """Write down the scores of a study, if it has any."""
    writer = store.writer(spec.name, study)
    if study.goal is not None and scores:
        writer.set_front_tests(sorted(scores, key=lambda one: (study.number_of(one.trial), one.epoch)))
    elif scores:
        writer.set_test(scores[0])


def choose_checkpoints(study: StudyOutcome) -> list[ChosenCheckpoint]:
    """Return the best report that has a checkpoint, or those of the front; [] without any."""
    if study.goal is None:
        choice = choose_checkpoint(study)
        return [] if choice is None else [choice]
    front = study.front()
    found = [ChosenCheckpoint(t, r, t.checkpoints[r.epoch]) for t, r in front if _has_checkpoint(study, t, r)]
    if len(found) < len(front):
        logger.warning(
            "%s, seed %s: %d of %d models on the front have no checkpoint, and are not scored on test.",
            study.strategy, study.seed, len(front) - len(found), len(front),
        )  # fmt: skip
    return found


def _has_checkpoint(study: StudyOutcome, trial: TrialOutcome, report: Report) -> bool:
    """True if the checkpoint of that epoch is the report's own: of an epoch passed twice the better one's stays."""
    same = [one for one in trial.reports if one.epoch == report.epoch]
    sign = 1 if study.mode == "max" else -1
    return report.epoch in trial.checkpoints and max(same, key=lambda one: sign * one.metrics[study.metric]) is report


def choose_checkpoint(study: StudyOutcome) -> ChosenCheckpoint | None:
    """Return the best report that has a checkpoint; None without any. Ties go to the earlier trial and epoch.

    A trial that fails between its report and the checkpoint, or is lost in an interruption there, leaves a report
    behind that may be the study's best. A warning names what is scored instead; the test score has it, too.
    """
    sign = 1 if study.mode == "max" else -1
    reports = [(trial, report) for trial in study.trials for report in trial.reports]
    choices = [ChosenCheckpoint(t, r, t.checkpoints[r.epoch]) for t, r in reports if r.epoch in t.checkpoints]
    choice = max(choices, key=lambda c: sign * c.report.metrics[study.metric], default=None)
    best = study.best()
    if best is not None and (choice is None or choice.report.metrics[study.metric] != best[1].metrics[study.metric]):
        instead = "nothing" if choice is None else f"trial {choice.trial.name} at epoch {choice.report.epoch:g}"
        logger.warning(
            "%s, seed %s: the best report (trial %s at epoch %g) has no checkpoint; %s is scored on test instead.",
            study.strategy, study.seed, best[0].name, best[1].epoch, instead,
        )  # fmt: skip
    return choice


def score_checkpoint(
    spec: FineTuneSpec,
    params: Params,
    checkpoint: str,
    storage: Storage,
    make: Callable[[Params, FineTuneSpec], Training] = build_training,
) -> tuple[Scores, list[str]]:
    """Score a checkpoint on the test split; called on a worker.

    Returns:
        The scores, and warnings for the user.
    """
    warnings: list[str] = []
    with TemporaryDirectory(prefix="tunefleet-") as scratch:
        place = weights_folder(checkpoint.removeprefix(storage.scheme), storage, make, spec, Path(scratch), warnings)
        training = make(params, spec)
        training.restore(place, weights_only=True)
    return training.score("test"), warnings


def score_confirmed(
    spec: ExperimentSpec,
    plans: Sequence[StudyPlan],
    session: Session,
    store: StudyStore,
    storage: RunStorage,
    say: Callable[[str], None],
) -> None:
    """Score each winner's models on the test split where that is owed, then delete all weights.

    The scores of a study are recorded together, once all are there.

    Raises:
        StoreError: the study store cannot be read or written.
        OSError: weights cannot be read, on any node.
        JobLost: an evaluation has lost node after node; a resume begins it again.
        Interrupted: stopped before all had ended.
    """
    ours = study_confirmations(spec, plans, store, storage)
    _score_winners(spec, [one for one in ours if one.plan.test], session, store, say)
    for one in ours:
        one.drop_all_but(())


def _score_winners(
    spec: ExperimentSpec, ours: list[StudyConfirmation], session: Session, store: StudyStore, say: Callable[[str], None]
) -> None:
    jobs = []
    for number, one in enumerate(ours):
        trainings = one.study.confirmed()
        if not trainings:
            say(f"{one.name}: no configuration was trained with all its seeds, so none is scored on test")
        for c in trainings:
            given = training_spec(spec, one.study, c.seed), one.weights(c.rank, c.seed)
            call = JobCall(f"test of {one.title(c.rank, c.seed)}", score_weights, given)
            jobs.append(TrainingJob((number, c), call))
    record_evaluations(
        spec, store, [confirmation_evaluation_id(spec.name, ours[n].study, c) for n, c in (job.key for job in jobs)]
    )
    seen: dict[int, list[Confirmation]] = {}
    unscored: dict[str, None] = {}

    def receive(job: JobResult[tuple[int, Confirmation]]) -> None:
        number, winner = job.key
        one, scores = ours[number], job.result()
        if one.study.metric not in scores.metrics:
            unscored[one.name] = None
            return
        rows = None if scores.labels is None else ScoredRows(scores.labels, scores.predictions or ())
        scored = seen.setdefault(number, [])
        scored.append(replace(winner, test=scores.metrics, rows=rows, tested_at=clock.time()))
        if len(scored) == one.seeds:
            one.writer.set_confirmations(*scored)
            shown = ", ".join(f"{(c.test or {})[one.study.metric]:.4f}" for c in scored)
            say(f"{one.name}: the models of no. {winner.rank} are scored on test, once: {shown}")

    run_jobs(jobs, spec, session, receive, called="evaluations on test")
    for name in unscored:
        say(f"{name}: {UNSCORED}")


def score_weights(spec: FineTuneSpec, kept: TrainedWeights, make: Callable[[Params, FineTuneSpec], Training]) -> Scores:
    """Score a training on the test split; called on a worker. Weights that are lost or damaged are trained again."""
    with TemporaryDirectory(prefix="tunefleet-") as scratch:
        folder = kept.storage.scorable(kept.path, kept.manifest, Path(scratch))
        if folder is None or damage(folder, optional=[MOMENTS]) is not None:
            return replay(kept.manifest.segments, make, spec, Path(scratch))[0].score("test")
        training = make(kept.manifest.segments[-1].params, spec)
        training.restore(folder, weights_only=True)
    return training.score("test")
