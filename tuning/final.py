"""The end of an experiment: the chosen configuration of each study is scored on the test split, once.

The search never sees that split. What is scored is the checkpoint behind the best validation score, which the keeper
has kept; the score is recorded with the study, and a study that has one is never scored again.
"""

from __future__ import annotations

import inspect
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.slot import Scores, load_trainable
from trainables.spec import FineTuneSpec, Params
from tuning.outcome import StudyState, TestScore
from tuning.spec import ExperimentSpec

if TYPE_CHECKING:
    from cluster.session import Session
    from tuning.store import StudyStore


def score_studies(spec: ExperimentSpec, session: Session, store: StudyStore) -> None:
    """Score every finished study that has no test score yet, side by side on the cluster.

    A custom function trainable keeps its data to itself: its studies get no test score, and the comparison says so.

    Raises:
        StoreError: the study store cannot be read or written.
        ray.exceptions.RayTaskError: a checkpoint cannot be loaded or evaluated.
    """
    import ray

    if not inspect.isclass(load_trainable(spec.trainable)):
        return
    remote = ray.remote(score_checkpoint).options(num_cpus=session.resources.cpus, num_gpus=session.resources.gpus)
    waiting = []
    for study in store.load(spec.name).studies:
        best = study.best()
        if study.test is not None or study.state is not StudyState.FINISHED or best is None:
            continue
        trial, report = best
        checkpoint = trial.checkpoints[report.epoch]
        scores = remote.remote(spec.trial_spec(study.seed), dict(report.params), checkpoint)
        waiting.append((study, trial, report, checkpoint, scores))
    for study, trial, report, checkpoint, scores in waiting:
        metrics, rows = ray.get(scores)
        score = TestScore(trial.id, report.epoch, report.params, metrics, rows, checkpoint, time.time())
        store.writer(spec.name, study).set_test(score)


def score_checkpoint(spec: FineTuneSpec, params: Params, checkpoint: str) -> Scores:
    """On a worker: the metrics of a checkpoint on the test split, and how many rows that has."""
    training: Any = load_trainable(spec.trainable)(params, spec)
    training.restore(Path(checkpoint))
    scores: Scores = training.score("test")
    return scores
