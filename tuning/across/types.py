"""What a comparison over several experiments is made of: frozen rows, as terminal, page and JSON show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tuning.comparison import Interval


@dataclass(frozen=True)
class TaskRow:
    """One experiment; what there is one of per strategy stands in the order of `Across.strategies`."""

    experiment: str
    metric: str
    mode: Literal["max", "min"]
    seeds: tuple[int, ...]  # of the search, with which each strategy has a test score
    scores: tuple[tuple[float, ...], ...]  # test scores, by strategy and seed
    means: tuple[float, ...]
    ranks: tuple[float, ...]  # of the means: 1 is the best, ties share their mean
    normalised: tuple[float, ...] | None  # of the means: 0 the worst, 1 the best of them; None: all are equal
    device_seconds: tuple[float, ...]  # of the searches and their confirmations


@dataclass(frozen=True)
class AcrossRow:
    """One strategy over all tasks."""

    strategy: str
    rank: float  # the mean over tasks
    best_in: int  # tasks in which no other has a better mean
    middle: float | None  # interquartile mean of the normalised scores of all searches; None: no task tells any apart
    interval: Interval | None  # of `middle`, for other seeds on these tasks; None: nothing to tell it from
    profile: tuple[float, ...]  # by `Across.thresholds`: the share of searches whose normalised score is above
    profile_low: tuple[float, ...]  # pointwise 95 % band, for other seeds on these tasks; () without one
    profile_high: tuple[float, ...]
    device_seconds: float


@dataclass(frozen=True)
class AcrossPair:
    """Two strategies, task by task. The first is ahead by the signed ranks of their differences."""

    first: str
    second: str
    wins: int  # tasks in which the first has the better mean
    losses: int
    better: float  # the chance that a search of the first beats one of the second: the mean over tasks
    interval: Interval | None  # of `better`, for other seeds on these tasks; None: nothing to tell it from
    p: float  # of Wilcoxon's signed-rank test over tasks, two-sided
    corrected: float  # for all pairs, by Holm
    shown: bool  # a difference over tasks, at a familywise 5 %


@dataclass(frozen=True)
class Friedman:
    """Whether all strategies could be alike over tasks."""

    statistic: float  # chi squared of the ranks
    p: float  # by permutation of the ranks within each task
    exact: bool  # every permutation was gone through; False: 9,999 of them, drawn at random


@dataclass(frozen=True)
class Across:
    """Several experiments, each a task, and the strategies that all of them have."""

    tasks: tuple[TaskRow, ...]  # in the order given
    strategies: tuple[str, ...]  # in the order of the first experiment
    rows: tuple[AcrossRow, ...]  # the best mean rank first
    pairs: tuple[AcrossPair, ...]  # the smallest p first
    friedman: Friedman | None  # None: two strategies, about whom their pair tells all
    least_p: float  # that a test of two strategies over so many tasks can have
    tasks_needed: int  # for one of the pairs to be shown to differ, where every task says the same
    differences: str  # what the signed-rank tests are about: the metric that all tasks share, or normalised scores
    thresholds: tuple[float, ...]  # normalised scores that `AcrossRow.profile` is given at; () without one
    left_out: tuple[str, ...]  # strategies and experiments that are not in it, and why
    withheld: str | None  # why nothing is claimed over tasks whatever p is; None: nothing stands against it
    scale: str  # how scores were normalised, in words
    verdict: str
    caveats: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<Across {', '.join(task.experiment for task in self.tasks)}: {self.verdict}>"

    def __str__(self) -> str:
        """The text that `tunefleet compare --across` prints."""
        from tuning.across.text import across_text

        return across_text(self)
