"""Builds the row of one study: chosen configuration, confirmation, test score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from tuning.comparison.repeats import stretches_of
from tuning.comparison.scores import StudyScores, study_interval
from tuning.comparison.types import ChosenConfiguration, ConfirmedConfiguration, StudyRow
from tuning.outcome import Confirmation, StudyOutcome, StudyState
from tuning.outcome.attributes import HP_SPACE


def study_row(study: StudyOutcome, scored: StudyScores | None, origin: str | None) -> StudyRow:
    """Returns the row of a study.

    Args:
        study: its outcome.
        scored: its test scores; None: none.
        origin: what proposed the chosen configuration; None: unknown.
    """
    return StudyRow(
        seed=study.seed,
        finished=study.state is StudyState.FINISHED,
        chosen=_chosen(study),
        confirmed=_confirmed(study),
        test=None if scored is None else scored.score,
        interval=None if scored is None else study_interval(scored, study.metric),
        device_seconds=study.device_seconds,
        busy_device_seconds=study.busy_device_seconds,
        epochs=study.epochs_trained,
        reports=sum(len(trial.reports) for trial in study.trials),
        budget=study.budget,
        origin=origin,
    )


def _confirmed(study: StudyOutcome) -> ConfirmedConfiguration | None:
    trainings, best = study.confirmed(), study.best()
    if not trainings or best is None:
        return None
    first, validation = trainings[0], _validation(trainings, study.metric)
    sign = 1 if study.mode == "max" else -1
    return ConfirmedConfiguration(
        configuration=_configuration(study, first),
        rank=first.rank,
        seeds=tuple(one.seed for one in trainings),
        validation=tuple(validation),
        mean=_mean(validation),
        test=tuple(one.test[study.metric] for one in trainings if one.test),
        gap=sign * (best[1].metrics[study.metric] - _mean(validation)),
        device_seconds=sum(one.device_seconds for one in study.confirmations),
    )


def _configuration(study: StudyOutcome, confirmation: Confirmation) -> ChosenConfiguration:
    """Returns the configuration that was trained again."""
    of = (trial.proposed(confirmation.epoch) for trial in study.trials if trial.id == confirmation.trial)
    return ChosenConfiguration(
        trial=confirmation.trial,
        number=study.number_of(confirmation.trial),
        epoch=confirmation.epoch,
        validation=confirmation.searched,
        params=confirmation.schedule[-1].params,
        searched=tuple(next(of, ())),
        schedule=confirmation.schedule,
        hp_space=_hp_space(study),
    )


def _chosen(study: StudyOutcome) -> ChosenConfiguration | None:
    best = study.best()
    if best is None:
        return None
    trial, report = best
    schedule = stretches_of(study.history(trial, report))
    return ChosenConfiguration(
        trial=trial.id,
        number=trial.number,
        epoch=report.epoch,
        validation=report.metrics[study.metric],
        params=report.params,
        searched=tuple(trial.proposed(report)),
        schedule=schedule,
        hp_space=_hp_space(study),
    )


def _hp_space(study: StudyOutcome) -> str | None:
    name = study.attributes.get(HP_SPACE)
    return None if name is None else str(name)


def _validation(trainings: Iterable[Confirmation], metric: str) -> list[float]:
    return [(one.validation or {})[metric] for one in trainings]


def _mean(scores: Sequence[float]) -> float:
    return float(np.mean(scores))
