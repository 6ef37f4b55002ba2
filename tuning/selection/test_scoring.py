"""The end of an experiment: the chosen configuration of each study is scored on the test split, once.

The search never sees that split. With `confirm` the configuration is chosen by new trainings (`finish.confirm`). Else
what is scored is the checkpoint behind the best validation score, which the keeper has kept; the score is recorded with
the study, and a study that has one is never scored again.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from trainables.checkpoints.manager import weights_folder
from trainables.checkpoints.storage import Storage
from trainables.lookup import build_training, is_training
from trainables.machine import clock
from trainables.reporting import Report
from trainables.spec import FineTuneSpec, Params
from trainables.training import Scores, Training
from tuning.outcome import ScoredRows, StudyOutcome, StudyState, TestScore, TrialOutcome
from tuning.selection.confirm import UNSCORED, confirm_studies
from tuning.selection.looks import look_of_search, record_looks
from tuning.selection.side_by_side import Job, side_by_side
from tuning.spec.models import ExperimentSpec, study_name

if TYPE_CHECKING:
    from cluster.session import Session
    from tuning.run_folder.run_storage import RunStorage
    from tuning.store.study_store import StudyStore

logger = logging.getLogger(__name__)


class Choice(NamedTuple):
    """What of a study is scored on test."""

    trial: TrialOutcome
    report: Report
    checkpoint: str


def finish_studies(
    spec: ExperimentSpec, session: Session, store: StudyStore, place: RunStorage, say: Callable[[str], None]
) -> None:
    """Do what `spec` asks for after the searches: confirm and score, or score alone.

    Raises: see `score_studies` and `confirm_studies`.
    """
    if spec.confirm is not None:
        confirm_studies(spec, session, store, place, say)
    elif spec.test:
        score_studies(spec, session, store, place)


def score_studies(spec: ExperimentSpec, session: Session, store: StudyStore, place: RunStorage) -> None:
    """Score every finished study that has no test score yet, side by side on the cluster.

    A custom function keeps its data to itself, and a Trainer of the user's own may have no test rows (`test_dataset`):
    such studies get no test score, and the comparison says so.

    Raises:
        StoreError: the study store cannot be read or written.
        Exception: what loading or evaluating a checkpoint raised; RayError: its process died, again and again.
    """
    if not is_training(spec.trainable):
        return
    jobs = []
    for study in store.load(spec.name).studies:
        if study.test is not None or study.state is not StudyState.FINISHED:
            continue
        if (choice := choose(study)) is not None:
            storage = place.checkpoint_storage(study_name(study.strategy, study.seed))
            given = (
                spec.trial_spec(study.seed, study.strategy),
                dict(choice.report.params),
                choice.checkpoint,
                storage,
            )
            title = f"test of {study.strategy}, seed {study.seed}"
            jobs.append(Job((study, choice), title, score_checkpoint, given))
    looks = [
        look_of_search(spec.name, study, choice.trial.id, choice.report.epoch)
        for study, choice in (job.key for job in jobs)
    ]
    record_looks(spec, store, looks)
    with side_by_side(jobs, spec, session) as ended:
        for job in ended:
            study, (trial, report, checkpoint) = job.key
            scores, said = job.result()
            for line in said:
                logger.warning("%s, seed %s: %s", study.strategy, study.seed, line)
            if study.metric not in scores.metrics:
                logger.warning("%s, seed %s: %s", study.strategy, study.seed, UNSCORED)
                continue
            rows = None if scores.labels is None else ScoredRows(scores.labels, scores.predictions or ())
            score = TestScore(
                *(trial.id, report.epoch, report.params, scores.metrics, scores.rows, checkpoint, clock.time()), rows
            )
            store.writer(spec.name, study).set_test(score)


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
    """On a worker: the metrics of a checkpoint on the test split, and how many rows that has; what is to be said."""
    said: list[str] = []
    with tempfile.TemporaryDirectory(prefix="tunefleet-") as scratch:
        place = weights_folder(checkpoint.removeprefix(storage.scheme), storage, make, spec, Path(scratch), said)
        training = make(params, spec)
        training.restore(place, weights_only=True)
    return training.score("test"), said
