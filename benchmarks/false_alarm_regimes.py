"""The simulated experiments of `benchmarks.false_alarms`, by what is true of their strategies.

A regime is a mapping of settings by name. Each name is that of a row in benchmarks/README.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

LIFT = 0.315  # logits: makes up for one search in ten that is 3 logits worse
Noise = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
NOISES: Mapping[str, Noise] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "heavy tails": lambda rng, shape: rng.standard_t(2, size=shape) / 2,
    "skewed": lambda rng, shape: 1 - rng.exponential(size=shape),
    "one of two": lambda rng, shape: rng.choice((-1.0, 1.0), size=shape),
    "a rare failure": lambda rng, shape: -5.0 * (rng.random(shape) < 0.1),
}


class Setting(NamedTuple):
    """The parameters of simulated experiments; spreads in logits (of `mse`: in units of the labels' noise)."""

    strategies: int
    seeds: int
    rows: int
    spread: float  # between searches of one strategy
    metric: str = "accuracy"
    trainings: int = 1  # of each confirmed configuration
    training_spread: float = 0.0
    taste: float = 0.0
    noise: str = "normal"  # how seeds are distributed
    positives: float = 0.5  # share of class 1
    easy: float = 1.0  # mean of the rows, in logits
    kept: bool = True  # the rows are recorded
    spread_of_last: float = 1.0  # times `spread`: the last strategy's
    lift_of_last: float = 0.0  # the last strategy is better by that, but for one search in ten, which is 3 logits worse
    fails: float = 0.0  # the chance of a search of the last strategy to have no score: its worst ones
    ahead: float = 0.0  # how much better the first strategy is: 0 for no difference
    baseline: int = 0  # the strategy that the others are compared with first
    margin: bool = False  # what matters is as much as the first strategy is ahead: no claim of "no larger" is right
    first_seeds: int = 0  # a verdict with so many seeds, and one more after each that is added; 0: one with all
    verdicts: int = 1  # that are planned


# No strategy is better: a share of at most 5 % and the error of the simulation may claim one.
EQUAL: Mapping[str, Setting] = {
    **{f"{k} x {n}": Setting(k, n, 277, 0.3) for k in (2, 7) for n in (3, 5, 10)},
    **{f"3 x {n}, each strategy its own rows": Setting(3, n, 277, 0.1, taste=1.0) for n in (3, 5, 10)},
    "3 x 5, seeds that do not differ": Setting(3, 5, 277, 0.0),
    "3 x 5, three trainings each": Setting(3, 5, 277, 0.5, trainings=3, training_spread=0.2),
    "3 x 5, rows not recorded": Setting(3, 5, 277, 0.5, kept=False),
    "3 x 5, 20 rows": Setting(3, 5, 20, 0.3),
    "3 x 5, 20 rows, ties": Setting(3, 5, 20, 0.0, easy=3.0),
    "3 x 5, F1, 8 % positive of 100 rows": Setting(3, 5, 100, 0.3, "f1", positives=0.08),
    "3 x 5, MCC, 8 % positive of 100 rows": Setting(3, 5, 100, 0.3, "matthews_correlation", positives=0.08),
    "3 x 5, MSE, errors of t(2.5)": Setting(3, 5, 277, 0.1, "mse"),
    "3 x 5, a metric without rows": Setting(3, 5, 277, 0.1, "loss", taste=1.0),
    "2 x 5, the worst 30 % lost": Setting(2, 5, 277, 0.5, fails=0.3, kept=False),
    "2 x 10, the worst 30 % lost": Setting(2, 10, 277, 0.5, fails=0.3, kept=False),
    "3 x 5, skewed": Setting(3, 5, 1000, 0.5, noise="skewed"),
    "3 x 5, one of two": Setting(3, 5, 1000, 0.5, noise="one of two"),
    "3 x 5, heavy tails": Setting(3, 5, 1000, 1.0, noise="heavy tails"),
    # Those that seem hardest beside the review's:
    "7 x 3, the last spread fourfold": Setting(7, 3, 277, 0.2, spread_of_last=4.0),
    "3 x 3, skewed, own rows": Setting(3, 3, 277, 0.5, noise="skewed", taste=0.5),
    "2 x 5, the worst 30 % lost, rows recorded": Setting(2, 5, 277, 0.5, positives=0.6, fails=0.3),
    "5 x 5, one is better: claims between the others": Setting(5, 5, 277, 0.1, taste=0.5, ahead=1.0),
}
# Equal means, of which no test over so few seeds can know: a tenth of one strategy's searches come to little, and most
# often none of five does. Told by the worst seed beside the mean, and here for what it is.
UNKNOWABLE: Mapping[str, Setting] = {
    f"2 x {n}, equal means, one search in ten much worse": Setting(2, n, 277, 0.2, lift_of_last=LIFT) for n in (5, 10)
}
# The same with a verdict after each added seed: the share of experiments in which one of them claims a difference.
GROWING: Mapping[str, Setting] = {
    "3 x 3 to 10, a verdict after each seed, all planned": Setting(3, 10, 277, 0.3, first_seeds=3, verdicts=8),
    "3 x 3 to 10, a verdict after each seed, one planned": Setting(3, 10, 277, 0.3, first_seeds=3),
    "2 x 3 to 10, a verdict after each seed, three planned": Setting(2, 10, 277, 0.3, first_seeds=3, verdicts=3),
    "2 x 3 to 10, a verdict after each seed, one planned": Setting(2, 10, 277, 0.3, first_seeds=3),
    "7 x 3 to 10, a verdict after each seed, one planned": Setting(7, 10, 277, 0.3, first_seeds=3),
}
# One strategy is better: the more claims the better.
PLANTED: Mapping[str, Setting] = {
    f"3 x 5, 1,000 rows, {one} ahead by {ahead} logit": Setting(3, 5, 1000, 0.05, ahead=ahead, baseline=baseline)
    for ahead in (0.2, 0.3)
    for baseline, one in ((1, "one"), (0, "the baseline"))
}
# The first strategy is better by exactly what matters: a share of at most 5 % and the error of the simulation may claim
# that it is better by less. Small spreads and many rows, or nothing would be claimed at all.
AS_LARGE: Mapping[str, Setting] = {
    "2 x 3, as large as matters": Setting(2, 3, 4000, 0.05, ahead=0.3, margin=True),
    "2 x 5, as large as matters": Setting(2, 5, 4000, 0.05, ahead=0.3, margin=True),
    "2 x 10, as large as matters": Setting(2, 10, 1000, 0.2, ahead=0.3, margin=True),
    "3 x 5, as large as matters": Setting(3, 5, 4000, 0.05, ahead=0.3, margin=True),
    "7 x 5, as large as matters": Setting(7, 5, 2000, 0.05, ahead=0.5, margin=True),
    "3 x 5, three trainings each, as large as matters": Setting(
        3, 5, 2000, 0.1, trainings=3, training_spread=0.2, ahead=0.5, margin=True
    ),
    "3 x 5, rows not recorded, as large as matters": Setting(3, 5, 4000, 0.05, kept=False, ahead=0.5, margin=True),
    "2 x 5, skewed, as large as matters": Setting(2, 5, 2000, 0.2, noise="skewed", ahead=0.5, margin=True),
    "2 x 5, heavy tails, as large as matters": Setting(2, 5, 2000, 0.2, noise="heavy tails", ahead=0.5, margin=True),
}
# The same with a verdict after each added seed: what that costs.
GROWING_PLANTED: Mapping[str, Setting] = {
    f"3 x 3 to 10, 1,000 rows, the baseline ahead by 0.2 logit, {words}": Setting(
        3, 10, 1000, 0.05, ahead=0.2, first_seeds=first, verdicts=verdicts
    )
    for words, first, verdicts in (
        ("one verdict", 10, 1),
        ("8 verdicts, all planned", 3, 8),
        ("8 verdicts, one planned", 3, 1),
    )
}
REGIMES: Mapping[str, Mapping[str, Setting]] = {
    "no difference": EQUAL,
    "growing": GROWING,
    "unknowable": UNKNOWABLE,
    "planted": PLANTED,
    "growing, planted": GROWING_PLANTED,
    "as large as matters": AS_LARGE,
}
