"""What a comparison is made of: frozen rows, as the terminal, the page and `--format json` show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from trainables.spec import Params, Value
from tuning.budget import BudgetUse, Price
from tuning.outcome import Stretch, trial_name

if TYPE_CHECKING:
    import pandas as pd

Covers = Literal["rows", "trainings", "seeds"]  # what an interval would vary: test rows, trainings, whole searches


# What is said of a pair by `Comparison.worthwhile`; "better": it is not known by how much.
Answer = Literal["better by more", "better", "better by less", "no larger", "undecided"]


class Interval(NamedTuple):
    """A 95 % interval of a score or of a difference: where its value would lie if what it covers were drawn again."""

    low: float
    high: float
    rows: int  # of the test split behind it; 0: not known, or not covered
    seeds: int = 1  # search seeds behind it
    covers: tuple[Covers, ...] = ("rows",)


class Estimate(NamedTuple):
    """A mean score over seeds with its interval."""

    value: float
    interval: Interval | None  # None: nothing to tell its spread from


@dataclass(frozen=True)
class ChosenConfiguration:
    """A configuration with the score that it was chosen by."""

    trial: str  # trial id
    number: int  # of the trial, within its study
    epoch: float
    validation: float
    params: Params  # in force at the end
    searched: tuple[str, ...]  # names among them that the strategy chose; the others are fixed, or defaults
    schedule: tuple[Stretch, ...]  # one stretch, unless an exploit changed the values on the way
    hp_space: str | None = None  # the function that was given the searched values; what it returned was in force

    @property
    def name(self) -> str:
        """The trial, as people are told of it."""
        return trial_name(self.number, self.trial)


@dataclass(frozen=True)
class ConfirmedConfiguration:
    """The configuration that won a study's confirmation: trained again from the start, once per training seed."""

    configuration: ChosenConfiguration  # with the validation score that the search gave it
    rank: int  # by that score; 1: the search's own best, which is `StudyRow.chosen`
    seeds: tuple[int, ...]  # of the trainings
    validation: tuple[float, ...]  # one score per training
    mean: float  # of `validation`
    test: tuple[float, ...]  # one per training; () before the test split was looked at
    gap: float  # how much better the search's best score looked than `mean`: the winner's curse, where positive
    device_seconds: float  # of all confirmations of the study, those of the other configurations included


class CurvePoint(NamedTuple):
    """From this cost on, this is the best validation score so far."""

    cost: float  # device-seconds of the study until then: starts and idle slots included
    score: float


@dataclass(frozen=True)
class Curve:
    """The best validation score of one study against what the study had cost by then: a step function."""

    seed: int
    steps: tuple[CurvePoint, ...]  # the first report and each better one after it; () before the first
    end: float  # device-seconds of the whole study; from the last step to here, and beyond, the best stays
    confirming: float = 0.0  # device-seconds of its confirmations, which come after `end`
    confirmed: float | None = None  # mean validation score of the confirmed configuration; None: not confirmed
    test: float | None = None  # of what was chosen

    def __repr__(self) -> str:
        return f"<Curve of seed {self.seed}: {len(self.steps)} steps in {self.end:g} device-seconds>"


@dataclass(frozen=True)
class AnytimeCurves:
    """A strategy's curves, and their mean over seeds, at costs that all strategies share.

    While a seed has no score there is no mean. The band holds the whole mean curve of endless seeds at once, in 95 % of
    experiments; it takes three seeds.
    """

    strategy: str
    curves: tuple[Curve, ...]
    cost: tuple[float, ...]  # device-seconds, from 0 to the most expensive study of the experiment
    mean: tuple[float | None, ...]  # one per cost
    low: tuple[float | None, ...]  # the worse end of the band; None: fewer than three seeds, or all have the same curve
    high: tuple[float | None, ...]  # its better end
    regret: tuple[float | None, ...]  # how much worse `mean` is than the best score of the experiment: 0 or more

    def __repr__(self) -> str:
        return f"<Anytime of {self.strategy}: {len(self.curves)} seeds at {len(self.cost)} costs>"


@dataclass(frozen=True)
class ExpectedBest:
    """The expected best validation score of a random search of n trials, predicted from one of more, with its band."""

    strategy: str
    seeds: int
    draws: int  # trials that it rests on, of all seeds: those that ended
    failed: int  # of them: without a score, so worse than any
    cut_off: int  # trials that did not end: not counted
    trials: tuple[int, ...]  # n; from 1, or where no search is of failed trials alone, to the trials of one seed
    cost: tuple[float, ...]  # device-seconds of n trials, at what one took on average, idle slots and starts included
    expected: tuple[float, ...]
    low: tuple[float | None, ...]  # the worse end of the band: at each n at once, 95 % (simulated: 90 to 98 %)
    high: tuple[float | None, ...]  # its better end; None beyond half of the trials: no band can be had there


@dataclass(frozen=True)
class TargetCost:
    """What it cost to reach the target, seed by seed."""

    costs: tuple[float | None, ...]  # device-seconds, in order of the studies; None: not reached
    reached: int  # seeds that did
    median: float | None  # over all seeds, those that did not reach it counting as dearer than any; None: half did not
    at_least: float | None  # where `median` is None: the median cost of the seeds that did not, at their end


@dataclass(frozen=True)
class StudyRow:
    """One strategy x one seed."""

    seed: int
    finished: bool
    chosen: ChosenConfiguration | None  # None before the first report
    confirmed: ConfirmedConfiguration | None  # None: not confirmed
    test: float | None  # of the chosen configuration, or the mean over the trainings of the confirmed one
    interval: Interval | None  # around `test`: of rows, and of trainings where there are several; never of seeds
    device_seconds: float
    epochs: float  # trained by all trials together
    reports: int
    budget: BudgetUse | None  # None: it had none
    origin: str | None = None  # where the chosen configuration comes from; None: not recorded, or nothing is chosen


@dataclass(frozen=True)
class StrategyRow:
    """One strategy over its seeds. Costs and counts are sums; scores are of `best`, medians, and the mean test."""

    strategy: str
    kind: str
    studies: tuple[StudyRow, ...]
    best: StudyRow | None  # the seed with the best validation score; where all are confirmed, by the confirmed one
    median_validation: float | None
    median_test: float | None
    test: Estimate | None  # the mean over seeds; None unless every study has a test score
    worst_test: float | None  # of the seeds that have a test score
    middle_test: float | None  # their interquartile mean: without the best and the worst quarter
    gap: float | None  # the mean winner's curse over the confirmed seeds: positive where the search looked too good
    anytime: AnytimeCurves
    reach: TargetCost | None  # of `Comparison.target`
    device_seconds: float  # of the search
    confirming: float  # device-seconds of the confirmations
    money: float | None  # what search and confirmation cost at `Comparison.price`
    epochs: float
    trials: int
    completed: int
    stopped: int
    failed: int
    running: int


@dataclass(frozen=True)
class Pair:
    """Two strategies on the test split, seed by seed. The first has the better mean."""

    first: str
    second: str
    means: tuple[float, float]  # of first and second, over the seeds that both have
    difference: float  # first - second: positive where higher scores are better
    better: float  # the chance that a search of the first beats one of the second: every seed against every other
    interval: Interval | None  # of the difference, simultaneous: all of them hold at once in 95 % of experiments
    test: str  # what was tested and how, in words
    about: Literal["strategies", "configurations", "models"]  # what `p` is about: one seed tells nothing of strategies
    p: float | None  # two-sided; None: nothing to test with
    corrected: float | None  # for all pairs, those with the baseline first
    permutation: float | None  # the exact sign-flip test over seeds, as a check that assumes no normal distribution
    seeds: int  # that both have a test score of
    rows: int  # test rows that both predicted; 0: not known
    shown: bool  # a difference between the strategies, at a familywise 5 %
    withheld: str | None  # why nothing is claimed of it whatever p is, in words; None: nothing stands against it
    detectable: float | None  # the smallest true difference that these seeds and rows show in 80 % of experiments
    seeds_needed: int | None  # in all, to show one of `Comparison.worthwhile` as often; None: unknown, or more than 100
    beyond: bool  # more than 100 seeds
    too_few_rows: bool  # and no number of seeds is enough on these test rows
    answer: Answer | None  # None: one seed tells nothing of strategies, or what would matter is not told


@dataclass(frozen=True)
class SameChoice:
    """Two strategies that have chosen the same configuration."""

    first: str
    second: str
    same: int  # seeds with which both have chosen the same
    seeds: int  # seeds with which both have chosen one


@dataclass(frozen=True)
class TiedConfigurations:
    """Configurations that the validation split cannot tell apart, of all studies together."""

    best: float  # validation score
    equal: int  # configurations that have it
    within: int  # those, and those that lie within one row of it
    rows: int | None  # of the validation split; None: not told
    row: float | None  # what one row is worth; None: not known, or the metric is no share of rows


@dataclass(frozen=True)
class StrategyRanks:
    """A strategy's ranks, one per seed that all strategies have; 1 is the best, ties share their mean."""

    strategy: str
    ranks: tuple[float, ...]
    mean: float


@dataclass(frozen=True)
class Comparison:
    """All strategies of one experiment, in its order."""

    experiment: str
    metric: str
    mode: Literal["max", "min"]
    device: str
    rows: tuple[StrategyRow, ...]
    best: StrategyRow | None  # whose configuration is the one to copy: by validation, never by test
    target: float | None  # validation score that `reach` is about
    baseline: str  # the strategy whose contrasts with all others are tested first
    worthwhile: float | None  # smallest difference of test scores that matters; None: not told
    pairs: tuple[Pair, ...]  # every two strategies: those with the baseline first, then the smallest p
    expected: tuple[ExpectedBest, ...]  # one per random search whose trials are independent draws
    no_expected: str | None  # why there is none
    ranks: tuple[StrategyRanks, ...]  # the best first; () with one strategy
    ranked_by: Literal["test", "validation"]
    price: Price | None  # of a device-hour; None: not known, so nothing is told in money
    alike: tuple[SameChoice, ...]  # strategies that have chosen the same configuration, the most often first
    ties: TiedConfigurations | None  # None: the best configuration stands alone
    advice: str  # which configuration to use, chosen by what, and its test score
    verdict: str  # what the test split says of the strategies
    caveats: tuple[str, ...]

    @property
    def best_params(self) -> dict[str, Value]:
        """The values that the strategy of `best` has chosen, by hyperparameter; of a schedule, those at its end.

        Values that are fixed in the spec, and defaults, are left out.

        Raises:
            InputError: no trial has a score yet.
        """
        from tuning.comparison.dataframe import best_params

        return best_params(self)

    def to_dataframe(self) -> pd.DataFrame:
        """A pandas frame with a row per strategy and seed, and one per strategy over its seeds (`seed` is "all")."""
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
