"""Collects the test scores of the strategies that several experiments have in common, one task per experiment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from trainables.errors import InputError
from tuning.comparison.baseline import declared_baseline
from tuning.comparison.formatting import join_names
from tuning.comparison.hypervolume import scored_by_volume
from tuning.comparison.imputation import impute_failed
from tuning.comparison.repeats import distinct_seeds
from tuning.comparison.scores import StudyScores, study_scores
from tuning.outcome import ExperimentOutcome, StudyOutcome, StudyState

FEWEST = 2  # tasks, and strategies
CHANGES = 10  # label changes that a split needs so that two equal lists of labels are no coincidence
DIFFERENT = 3  # distinct scores that an experiment needs so that two equal tables of scores are no coincidence

BySeed = Mapping[int, StudyScores]


@dataclass(frozen=True)
class TaskScores:
    """The test scores of the common strategies in one experiment."""

    experiment: str
    metric: str
    mode: Literal["max", "min"]
    seeds: tuple[int, ...]
    scores: np.ndarray  # (strategies, seeds)
    device_seconds: tuple[float, ...]  # by strategy
    data: frozenset[object]  # fingerprints of data and scores; empty: none recorded
    unfinished: tuple[str, ...]  # studies that have not finished
    imputed: tuple[str, ...]  # failed searches with an imputed score
    lost: tuple[str, ...]  # searches without a score, even an imputed one, if another strategy has one
    baseline: str | None  # the strategy that its spec declares; None: none

    @property
    def means(self) -> tuple[float, ...]:
        """The means over seeds by strategy, rounded to 12 digits so that rounding errors break no ties."""
        return tuple(float(f"{math.fsum(row) / len(row):.12g}") for row in self.scores.tolist())

    @property
    def ahead(self) -> np.ndarray:
        """The scores, negated if lower is better."""
        return self.scores if self.mode == "max" else -self.scores


@dataclass(frozen=True)
class TaskSet:
    """The tasks that can be compared, their common strategies, and what is left out."""

    tasks: tuple[TaskScores, ...]
    strategies: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def baseline(self) -> str | None:
        """The baseline that all tasks declare, if it is one of the common strategies."""
        declared = {task.baseline for task in self.tasks}
        return next((name for name in self.strategies if declared == {name}), None)


def collect_tasks(outcomes: Sequence[ExperimentOutcome], specs: Sequence[Mapping[str, Any] | None] = ()) -> TaskSet:
    """Collects the tasks, with the strategies that all experiments have under the same name and kind.

    Args:
        outcomes: of the experiments.
        specs: see `compare_across`.

    Raises:
        InputError: fewer than two experiments, one given twice, one without a study, fewer than two strategies in
            common, or fewer than two experiments in which all of these have a test score.
    """
    given = [outcome.name for outcome in outcomes]
    _check(outcomes, given)
    kinds = {outcome.name: {study.strategy: study.kind for study in outcome.studies} for outcome in outcomes}
    everywhere = list(dict.fromkeys(name for found in kinds.values() for name in found))
    strategies = [name for name in everywhere if len({found.get(name) for found in kinds.values()}) == 1]
    left_out = [_why_left_out(name, kinds) for name in everywhere if name not in strategies]
    if len(strategies) < FEWEST:
        lists = "; ".join(f"{name} has {', '.join(found)}" for name, found in kinds.items())
        rule = f"have {'one strategy' if strategies else 'no strategies'} in common ({lists})"
        raise InputError("experiments", ", ".join(given), rule, "name experiments that share at least two strategies")
    tasks = []
    for outcome, spec in zip(outcomes, specs or [None] * len(outcomes), strict=True):
        task = _task(outcome, strategies, declared_baseline(kinds[outcome.name], spec or {}))
        if isinstance(task, str):
            left_out.append(task)
        else:
            tasks.append(task)
    if len(tasks) < FEWEST:
        rule = f"fewer than two of them can be compared; left out: {'; '.join(left_out)}"
        step = "name others, or score these on test (`test: true`)"
        raise InputError("experiments", ", ".join(given), rule, step)
    return TaskSet(tuple(tasks), tuple(strategies), tuple(left_out))


def same_data_pairs(tasks: Sequence[TaskScores]) -> list[tuple[str, str]]:
    """Returns pairs of experiments with the same data or equal scores, which are the same task."""
    return [
        (one.experiment, other.experiment)
        for index, one in enumerate(tasks)
        for other in tasks[index + 1 :]
        if one.data & other.data
    ]


def _check(outcomes: Sequence[ExperimentOutcome], given: Sequence[str]) -> None:
    if len(given) < FEWEST:
        step = "name another experiment, or omit --across"
        raise InputError("experiments", ", ".join(given), "a comparison over tasks needs two experiments", step)
    if twice := [name for name in dict.fromkeys(given) if given.count(name) > 1]:
        raise InputError("experiments", twice[0], "is given twice, but each task counts once", "leave one out")
    if bare := [outcome.name for outcome in outcomes if not outcome.studies]:
        raise InputError("experiments", bare[0], "holds no study", "run it first")


def _why_left_out(strategy: str, kinds: Mapping[str, Mapping[str, str]]) -> str:
    missing = [name for name, found in kinds.items() if strategy not in found]
    if missing:
        return f"{strategy} (not in {join_names(missing)})"
    return f"{strategy} ({', '.join(f'of kind {found[strategy]} in {name}' for name, found in kinds.items())})"


def _task(outcome: ExperimentOutcome, strategies: Sequence[str], baseline: str | None) -> TaskScores | str:
    """Returns the task, or why it is left out; one of several objectives is scored by hypervolume."""
    if (volumes := scored_by_volume(outcome)) is not None:
        outcome = volumes.outcome
    studies: dict[str, list[StudyOutcome]] = {}
    for study in outcome.studies:
        studies.setdefault(study.strategy, []).append(study)
    completed = impute_failed(
        studies, {name: [study_scores(study) for study in found] for name, found in studies.items()}
    )
    by_seed = {name: {test.seed: test for test in completed.tests[name] if test is not None} for name in strategies}
    if bare := [name for name in strategies if not by_seed[name]]:
        return f"{outcome.name} (no test score of {join_names(bare)})"
    seeds = distinct_seeds(*by_seed.values())
    if not seeds:
        return f"{outcome.name} (no seed with a test score of each strategy)"
    first = outcome.studies[0]
    own = [study for name in strategies for study in studies[name]]
    return TaskScores(
        experiment=outcome.name,
        metric=first.metric,
        mode=first.mode,
        seeds=tuple(seeds),
        scores=np.array([[by_seed[name][seed].score for seed in seeds] for name in strategies]),
        device_seconds=tuple(math.fsum(map(_cost, studies[name])) for name in strategies),
        data=_data(own, list(by_seed.values())),
        unfinished=tuple(f"{one.strategy} seed {one.seed}" for one in own if one.state is not StudyState.FINISHED),
        imputed=tuple(f"{one.strategy} seed {one.seed}" for one in completed.imputed if one.strategy in strategies),
        lost=tuple(
            f"{name} seed {seed}"
            for name in strategies
            for seed in sorted(completed.lost[name])
            if any(seed in found for found in by_seed.values())
        ),
        baseline=baseline,
    )


def _cost(study: StudyOutcome) -> float:
    return study.device_seconds + sum(one.device_seconds for one in study.confirmations)


def _data(studies: Sequence[StudyOutcome], by_seed: Sequence[BySeed]) -> frozenset[object]:
    """Returns fingerprints that identify the data.

    These are the fingerprints of all rows; the labels of the test rows, which do not depend on the subset of train; and
    all scores, which are equal if one experiment was run under two names.
    """
    found: set[object] = {mark for one in studies if (mark := one.attributes.get("data_fingerprint")) is not None}
    for tests in by_seed:
        for test in tests.values():
            for one in test.scored_rows:
                if int((np.diff(one.labels) != 0).sum()) >= CHANGES:
                    found.add(one.labels)
    scores = tuple((seed, test.score) for tests in by_seed for seed, test in sorted(tests.items()))
    if len({score for _, score in scores}) >= DIFFERENT:
        found.add(scores)
    return frozenset(found)
