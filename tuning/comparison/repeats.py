"""Finds search seeds that are no independent observations, because they led to the same trained model.

Two searches that choose the same hyperparameters get the same model if the training seeds are fixed (`data_order_seed`
and `head_seed`). This also holds for confirmations of older versions, whose training seeds were the same for all
searches.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias

from trainables.reporting import Report
from trainables.spec import Value
from trainables.tunables import TRAINING_SEEDS
from tuning.outcome import Confirmation, Stretch, StudyOutcome

Model: TypeAlias = tuple[Hashable, ...]


class HasModels(Protocol):
    """A test score of one search seed, with the models that were scored."""

    @property
    def seed(self) -> int:
        """The seed of the search."""

    @property
    def models(self) -> frozenset[Model]:
        """The models that were scored; empty: unknown."""


def confirmed_models(trainings: Iterable[Confirmation]) -> frozenset[Model]:
    """Returns the models of the trainings of a confirmed configuration."""
    return frozenset(_model(one.schedule, one.seed) for one in trainings)


def searched_models(study: StudyOutcome) -> frozenset[Model]:
    """Returns the model of a study's tested checkpoint; empty if its values or seeds are not recorded."""
    seeds = [study.attributes.get(name) for name in TRAINING_SEEDS]
    if study.test is None or None in seeds:
        return frozenset()
    place = study.test.trial, study.test.epoch
    found = ((trial, report) for trial in study.trials for report in trial.reports if (trial.id, report.epoch) == place)
    return frozenset(_model(stretches_of(study.history(*one)), *seeds) for one in found)


def stretches_of(history: Iterable[Report]) -> tuple[Stretch, ...]:
    """Merges consecutive reports with equal hyperparameters to stretches."""
    stretches: list[Stretch] = []
    for report in history:
        if stretches and stretches[-1].params == report.params:
            stretches[-1] = stretches[-1]._replace(end=report.epoch)
        else:
            stretches.append(Stretch(stretches[-1].end if stretches else 0.0, report.epoch, report.params))
    return tuple(stretches)


def distinct_seeds(*strategies: Mapping[int, HasModels]) -> list[int]:
    """Returns the search seeds that all strategies have, without those that repeat another seed.

    Seeds that share a model in one of the strategies, directly or through others, are one observation; the first is
    kept.

    Args:
        strategies: test scores by seed, one mapping per strategy.
    """
    seeds = sorted(set.intersection(*(set(found) for found in strategies)))
    groups: list[list[int]] = []
    for seed in seeds:
        same = [group for group in groups if any(_shared(found, seed, group) for found in strategies)]
        groups = [group for group in groups if group not in same]
        groups.append(sorted([seed, *(one for group in same for one in group)]))
    return sorted(group[0] for group in groups)


def repeated_seeds(tests: Sequence[HasModels]) -> list[int]:
    """Returns the seeds of one strategy that led to the same model as an earlier seed."""
    by_seed = {test.seed: test for test in tests}
    return sorted(by_seed.keys() - set(distinct_seeds(by_seed)))


def _shared(found: Mapping[int, HasModels], seed: int, others: Iterable[int]) -> bool:
    return any(found[seed].models & found[other].models for other in others)


def _model(schedule: Iterable[Stretch], *seeds: Value) -> Model:
    values = tuple((one.end, *sorted((name, repr(value)) for name, value in one.params.items())) for one in schedule)
    return values, seeds
