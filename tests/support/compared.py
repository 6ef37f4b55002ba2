"""Studies of a grid and of a population with known scores, and their comparison without a spec."""

from __future__ import annotations

import dataclasses
from typing import Any

from tests.support.outcomes import make_report, population, scored, study, trial
from tuning.budget import BudgetUse
from tuning.comparison import Comparison, compare
from tuning.outcome import ExperimentOutcome, StudyOutcome


def compared(*studies: StudyOutcome) -> Comparison:
    """Compares studies of one experiment."""
    return compare(ExperimentOutcome("e", "d", studies))


def grid(accuracy: float = 0.8, test: float | None = 0.78, rows: int = 1000, **others: Any) -> StudyOutcome:
    """Makes a study of two trials, of which the first reaches `accuracy`; `test` is its score on `rows` test rows."""
    trials = [
        trial(0, [make_report(1, accuracy - 0.1), make_report(2, accuracy)]),
        trial(1, [make_report(1, 0.3), make_report(2, 0.4)]),
    ]
    return study("grid", trials, test=None if test is None else scored("t0", 2, test, rows), **others)


def pbt(test: float | None = 0.79, rows: int = 1000, **others: Any) -> StudyOutcome:
    """Makes a study of two members, of which the second takes over weights of the first."""
    return study("pbt", list(population()), test=None if test is None else scored("t1", 3, test, rows), **others)


def many(strategy: str, *tests: float, rows: int = 1000) -> list[StudyOutcome]:
    """Makes a study of `strategy` per test score, each with a seed of its own."""
    return [
        dataclasses.replace(grid(0.8 + 0.001 * s, test, rows, seed=s), strategy=strategy, kind=strategy)
        for s, test in enumerate(tests)
    ]


def with_budget(outcome: StudyOutcome, spent: float, *, reached: bool = False) -> StudyOutcome:
    """Returns the study under a budget of 100 device-seconds, of which it has spent `spent`."""
    return dataclasses.replace(outcome, budget=BudgetUse("device_seconds", 100.0, spent, reached))
