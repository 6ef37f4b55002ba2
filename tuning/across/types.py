"""The parts of a comparison over several experiments as frozen dataclasses, which are also its JSON schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tuning.comparison import Interval


@dataclass(frozen=True)
class TaskRow:
    """One task (experiment). Values per strategy are in the order of `Across.strategies`."""

    experiment: str
    metric: str
    mode: Literal["max", "min"]
    seeds: tuple[int, ...]  # of the searches, with which each strategy has a test score
    scores: tuple[tuple[float, ...], ...]  # test scores, by strategy and seed
    means: tuple[float, ...]  # of the test scores over seeds
    ranks: tuple[float, ...]  # of the means: 1 is the best, ties share their mean rank
    normalised: tuple[float, ...] | None  # of the means: 0 is the worst, 1 the best; None: all are equal
    device_seconds: tuple[float, ...]  # of searches and confirmations


@dataclass(frozen=True)
class AcrossRow:
    """One strategy over all tasks."""

    strategy: str
    rank: float  # the mean over tasks
    best_in: int  # number of tasks in which no strategy has a better mean
    middle: float | None  # interquartile mean of all normalised scores; None: all strategies are equal in each task
    interval: Interval | None  # of `middle`, for other seeds on these tasks; None: unknown
    profile: tuple[float, ...]  # share of searches with a higher normalised score, at `Across.thresholds`
    profile_low: tuple[float, ...]  # pointwise 95 % band, for other seeds on these tasks; (): none
    profile_high: tuple[float, ...]
    device_seconds: float


@dataclass(frozen=True)
class AcrossPair:
    """Two strategies, compared over tasks. The first is ahead by the signed ranks of their differences."""

    first: str
    second: str
    wins: int  # number of tasks in which the first has the better mean
    losses: int  # number of tasks in which the second has
    better: float  # probability that a search of the first beats one of the second, as the mean over tasks
    interval: Interval | None  # of `better`, for other seeds on these tasks; None: unknown
    difference: float  # what the first gains in `Across.differences`, whatever their direction: Hodges and Lehmann's
    difference_interval: Interval | None  # of that, for other tasks; simultaneous over all pairs; None: unknown
    p: float  # two-sided, of Wilcoxon's signed-rank test over tasks
    corrected: float  # p, corrected for all pairs by Holm's method; those with the baseline come first
    shown: bool  # True: a significant difference over tasks, at a familywise 5 %


@dataclass(frozen=True)
class Friedman:
    """Friedman's test of whether all strategies are equal over tasks."""

    statistic: float  # chi squared of the ranks
    p: float  # by permutation of the ranks within each task
    exact: bool  # True: over all permutations; False: over 9,999 random ones


@dataclass(frozen=True)
class Across:
    """The comparison over several experiments, each a task, of the strategies that all have."""

    tasks: tuple[TaskRow, ...]  # in the order given
    strategies: tuple[str, ...]  # in the order of the first experiment
    rows: tuple[AcrossRow, ...]  # the best mean rank first
    baseline: str | None  # the strategy that all others are tested against first; None: the tasks share none
    pairs: tuple[AcrossPair, ...]  # all pairs: those with the baseline first, then by p
    friedman: Friedman | None  # None: there are two strategies only, which their pair compares
    least_p: float  # the smallest p that a test of two strategies over these tasks can have
    least_corrected: float  # the same, corrected for all pairs
    tasks_needed: int  # fewest tasks with which a pair can differ significantly, if all tasks agree
    differences: str  # the score that the signed-rank tests compare: the common metric, or normalised scores
    thresholds: tuple[float, ...]  # normalised scores at which `AcrossRow.profile` is given; (): none
    left_out: tuple[str, ...]  # strategies and experiments that are left out, and why
    withheld: str | None  # why no difference is claimed whatever p is; None: no such reason
    scale: str  # how scores are normalised, in words
    verdict: str
    caveats: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<Across {', '.join(task.experiment for task in self.tasks)}: {self.verdict}>"

    def __str__(self) -> str:
        """Returns the text that `tunefleet compare --across` prints."""
        from tuning.across.text import across_text

        return across_text(self)
