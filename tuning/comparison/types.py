"""The parts of a comparison as frozen dataclasses. Their fields are the schema of `tunefleet compare --format json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from trainables.spec import Params, Value
from tuning.budget import BudgetUse, Price
from tuning.outcome import Stretch, trial_name

if TYPE_CHECKING:
    import pandas as pd

Covers = Literal["rows", "trainings", "seeds", "tasks"]  # the sources of variation of an interval


# How the difference of a pair compares with `Comparison.worthwhile`; "better": by an unknown amount.
Answer = Literal["better by more", "better", "better by less", "no larger", "undecided"]


class Interval(NamedTuple):
    """A 95 % confidence interval of a score or difference, over new draws of what it covers."""

    low: float
    high: float
    rows: int  # test rows behind it; 0: unknown, or not covered
    seeds: int = 1  # search seeds behind it
    covers: tuple[Covers, ...] = ("rows",)


class Estimate(NamedTuple):
    """A mean score over seeds with its confidence interval."""

    value: float
    interval: Interval | None  # None: its spread is unknown


@dataclass(frozen=True)
class ChosenConfiguration:
    """A configuration that a search chose, with the validation score that it was chosen by."""

    trial: str  # trial id
    number: int  # of the trial, within its study
    epoch: float
    validation: float
    params: Params  # in force at the end of training
    searched: tuple[str, ...]  # the params that the strategy chose; others are fixed or defaults
    schedule: tuple[Stretch, ...]  # one stretch, unless an exploit changed values during training
    hp_space: str | None = None  # the function that maps the searched values to the values in force, if any

    @property
    def name(self) -> str:
        """The display name of its trial."""
        return trial_name(self.number, self.trial)


@dataclass(frozen=True)
class ConfirmedConfiguration:
    """The configuration that won a study's confirmation, trained again from scratch once per training seed."""

    configuration: ChosenConfiguration  # with its validation score in the search
    rank: int  # by that score; 1 is the best of the search, `StudyRow.chosen`
    seeds: tuple[int, ...]  # of the trainings
    validation: tuple[float, ...]  # one score per training
    mean: float  # of `validation`
    test: tuple[float, ...]  # one score per training; () before the evaluation on test
    gap: float  # best score of the search minus `mean`, positive if the search was too optimistic (winner's curse)
    device_seconds: float  # of all confirmations of the study, including other configurations


class CurvePoint(NamedTuple):
    """One step of a best-so-far curve: from this cost on the best validation score is `score`."""

    cost: float  # device-seconds of the study so far, including starts and idle slots
    score: float


@dataclass(frozen=True)
class Curve:
    """The best-so-far curve of one study: best validation score over cost, a step function."""

    seed: int
    steps: tuple[CurvePoint, ...]  # the first report and each improvement; () before the first report
    end: float  # device-seconds of the whole study; the best score stays from the last step on
    confirming: float = 0.0  # device-seconds of its confirmations, which follow `end`
    confirmed: float | None = None  # mean validation score of the confirmed configuration; None: none
    test: float | None = None  # of the chosen configuration

    def __repr__(self) -> str:
        return f"<Curve of seed {self.seed}: {len(self.steps)} steps in {self.end:g} device-seconds>"


@dataclass(frozen=True)
class AnytimeCurves:
    """The anytime performance of a strategy: its curves, their mean over seeds, and a simultaneous 95 % band.

    All strategies share the same costs. The mean starts where every seed has a score. The band contains the whole
    expected curve in 95 % of experiments; it needs three seeds.
    """

    strategy: str
    curves: tuple[Curve, ...]
    cost: tuple[float, ...]  # device-seconds, from 0 to the most expensive study of the experiment
    mean: tuple[float | None, ...]  # one per cost
    low: tuple[float | None, ...]  # the worse end of the band; None: too few seeds, or equal curves
    high: tuple[float | None, ...]  # the better end of the band
    regret: tuple[float | None, ...]  # best score of the experiment minus `mean` (or reverse if lower is better): >= 0

    def __repr__(self) -> str:
        return f"<Anytime of {self.strategy}: {len(self.curves)} seeds at {len(self.cost)} costs>"


@dataclass(frozen=True)
class ExpectedBest:
    """The expected best validation score of smaller random searches, estimated from one that was run, with a band."""

    strategy: str
    seeds: int
    draws: int  # trials that ended, over all seeds; the estimate rests on these
    failed: int  # of these, trials without a score, which count as worse than any
    cut_off: int  # trials that did not end and are not counted
    trials: tuple[int, ...]  # n, from the first with an expected score to the trials of one seed
    cost: tuple[float, ...]  # device-seconds of n average trials, including idle slots and starts
    expected: tuple[float, ...]
    low: tuple[float | None, ...]  # the worse end of the simultaneous 95 % band (simulated: 90 to 98 %)
    high: tuple[float | None, ...]  # the better end; None beyond half of the trials, where no band is reliable


@dataclass(frozen=True)
class TargetCost:
    """The cost of reaching a target score, per seed."""

    costs: tuple[float | None, ...]  # device-seconds, in order of the studies; None: not reached
    reached: int  # number of seeds that reached it
    median: float | None  # over all seeds, infinite for those that did not reach it; None: infinite
    at_least: float | None  # if `median` is None: the median total cost of the seeds that did not reach it


@dataclass(frozen=True)
class StudyRow:
    """One study of the comparison: one strategy with one seed."""

    seed: int
    finished: bool
    chosen: ChosenConfiguration | None  # None before the first report
    confirmed: ConfirmedConfiguration | None  # None: not confirmed
    test: float | None  # of the chosen configuration, or the mean over the trainings of the confirmed one
    interval: Interval | None  # of `test`, over rows and, if there are several, trainings; never seeds
    device_seconds: float
    busy_device_seconds: float  # the part in which trials were at work
    epochs: float  # trained by all trials
    reports: int
    budget: BudgetUse | None  # None: no budget
    origin: str | None = None  # what proposed the chosen configuration; None: not recorded, or none


@dataclass(frozen=True)
class StrategyRow:
    """One strategy over all its seeds. Costs and counts are sums over seeds."""

    strategy: str
    kind: str
    studies: tuple[StudyRow, ...]
    best: StudyRow | None  # the seed with the best validation score, confirmed if all are
    median_validation: float | None
    median_test: float | None
    test: Estimate | None  # the mean over seeds; None unless every seed has a test score
    worst_test: float | None  # over the seeds with a test score
    middle_test: float | None  # their interquartile mean
    gap: float | None  # mean of `ConfirmedConfiguration.gap` over the confirmed seeds
    anytime: AnytimeCurves
    reach: TargetCost | None  # for `Comparison.target`
    device_seconds: float  # of the search
    busy_device_seconds: float  # the part of these in which trials were at work
    confirming: float  # device-seconds of the confirmations
    money: float | None  # price of search and confirmation, at `Comparison.price`
    epochs: float
    trials: int
    completed: int
    stopped: int
    failed: int
    running: int


@dataclass(frozen=True)
class Pair:
    """Two strategies, compared on the test split seed by seed. The first has the better mean."""

    first: str
    second: str
    means: tuple[float, float]  # of first and second, over common seeds
    difference: float  # first - second; positive if higher scores are better
    better: float  # probability that a search of the first beats one of the second, over all pairs of seeds
    interval: Interval | None  # of the difference; simultaneous over all pairs
    test: str  # name of the statistical test
    about: Literal["strategies", "configurations", "models"]  # what `p` is about; with one seed not strategies
    p: float | None  # two-sided; None: no test is possible
    corrected: float | None  # p, corrected for all pairs; those with the baseline come first
    permutation: float | None  # p of the sign-flip permutation test over seeds, which assumes no normal distribution
    seeds: int  # seeds with which both have a test score
    rows: int  # test rows that both predicted; 0: unknown
    shown: bool  # True: a significant difference between the strategies, at a familywise 5 %
    withheld: str | None  # why no difference is claimed whatever p is; None: no such reason
    detectable: float | None  # the true difference that these seeds and rows detect with 80 % power
    seeds_needed: int | None  # to detect `Comparison.worthwhile` with that power; None: unknown, or > 100
    beyond: bool  # True: it needs more than 100 seeds
    too_few_rows: bool  # True: no number of seeds is enough with these test rows
    answer: Answer | None  # None: one seed only, or no `Comparison.worthwhile`


@dataclass(frozen=True)
class SameChoice:
    """Two strategies that chose the same configuration with some seeds."""

    first: str
    second: str
    same: int  # seeds with which both chose the same
    seeds: int  # seeds with which both chose one


@dataclass(frozen=True)
class TiedConfigurations:
    """Configurations of all studies whose validation scores cannot be distinguished from the best."""

    best: float  # validation score
    equal: int  # configurations with that score
    within: int  # configurations with that score or within one row of it
    rows: int | None  # of the validation split; None: not recorded
    row: float | None  # score of one row; None: unknown, or the metric is no share of rows


@dataclass(frozen=True)
class StrategyRanks:
    """The ranks of a strategy, one per seed that all strategies have. 1 is the best; ties share their mean rank."""

    strategy: str
    ranks: tuple[float, ...]
    mean: float


@dataclass(frozen=True)
class FrontPoint:
    """A configuration on the front of several objectives."""

    strategy: str
    seed: int  # of the search
    trial: str  # trial id
    number: int  # of the trial in its study
    epoch: float
    validation: Mapping[str, float]  # the objectives, and the metrics of constraints
    test: Mapping[str, float] | None  # the same on the test split; None: not evaluated
    params: Mapping[str, Value]  # the searched values

    @property
    def pick(self) -> str:
        """The name of the point for `tunefleet train-final --pick`."""
        return f"{self.trial}@{self.epoch:g}"


@dataclass(frozen=True)
class Comparison:
    """The comparison of all strategies of one experiment, in its order."""

    experiment: str
    metric: str
    mode: Literal["max", "min"]
    device: str
    rows: tuple[StrategyRow, ...]
    best: StrategyRow | None  # the strategy with the best configuration, by validation, never by test
    target: float | None  # the validation score of `StrategyRow.reach`
    baseline: str  # the strategy that all others are tested against first
    worthwhile: float | None  # the smallest difference of test scores that matters; None: not set
    pairs: tuple[Pair, ...]  # all pairs: those with the baseline first, then by p
    expected: tuple[ExpectedBest, ...]  # one per random search with independent trials
    no_expected: str | None  # why `expected` is empty
    ranks: tuple[StrategyRanks, ...]  # the best first; () with one strategy
    ranked_by: Literal["test", "validation"]
    price: Price | None  # of a device-hour; None: unknown, so there are no costs in money
    alike: tuple[SameChoice, ...]  # strategies that chose the same configuration, most often first
    ties: TiedConfigurations | None  # None: no other configuration is as good as the best
    advice: str  # which configuration to use, why, and its test score
    verdict: str  # the conclusion from the test scores
    caveats: tuple[str, ...]
    front: tuple[FrontPoint, ...] = ()  # of several objectives, all studies together; (): there is one objective
    goal: str = ""  # several objectives and their constraints in words; "": there is one

    @property
    def best_params(self) -> dict[str, Value]:
        """The hyperparameters that the strategy of `best` chose, by name; of a schedule, those at its end.

        Fixed values and defaults are left out.

        Raises:
            InputError: no trial has a score yet.
        """
        from tuning.comparison.dataframe import best_params

        return best_params(self)

    def to_dataframe(self) -> pd.DataFrame:
        """Returns a data frame with a row per study, and one per strategy over its seeds (`seed` is "all")."""
        from tuning.comparison.dataframe import comparison_frame

        return comparison_frame(self)

    def __repr__(self) -> str:
        from tuning.comparison.display import comparison_repr

        return comparison_repr(self)

    def __str__(self) -> str:
        """The text that `tunefleet compare` prints."""
        from tuning.comparison.display import comparison_text

        return comparison_text(self)

    def _repr_html_(self) -> str:
        """The HTML that a notebook shows."""
        from tuning.comparison.display import comparison_html

        return comparison_html(self)
