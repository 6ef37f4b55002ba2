"""Simulated experiments in which no strategy is better than another, and how often the comparison says that one is.

    python -m tests.support.no_difference 1000    # every setting, a thousand experiments each: some ten minutes

A model gets a row right with a probability that its difficulty, the seed of its search and that of its training decide.
Strategies differ by chance alone; or (`taste`) each has rows that it is better at, which even out over all rows there
could be, not over the test split.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np

from tuning.comparison.pairs import pairs_of
from tuning.comparison.scores import Scored, with_draws
from tuning.comparison.shapes import Pair
from tuning.outcome import ScoredRows

STRATEGIES = 3
NOISES = {
    "normal": lambda rng, n: rng.normal(size=n),
    "heavy tails": lambda rng, n: rng.standard_t(2, size=n) / 2,
    "skewed": lambda rng, n: 1 - rng.exponential(size=n),
    "one of two": lambda rng, n: rng.choice((-1.0, 1.0), size=n),
    "a rare failure": lambda rng, n: -5.0 * (rng.random(n) < 0.1),
}


class Setting(NamedTuple):
    """How experiments are made; spreads in logits."""

    seeds: int
    rows: int
    seed_spread: float  # between searches of one strategy
    trainings: int = 1  # of each confirmed configuration
    training_spread: float = 0.0
    taste: float = 0.0
    noise: str = "normal"  # how seeds are distributed
    rows_kept: bool = True
    ahead: float = 0.0  # how much better the first strategy is: 0 for no difference


SETTINGS = {
    "one seed, seeds differ much": Setting(1, 277, 0.5),
    "one seed, seeds do not differ": Setting(1, 277, 0.0),
    "one seed, five trainings": Setting(1, 277, 0.5, 5, 0.3),
    "three seeds": Setting(3, 277, 0.3),
    "five seeds that do not differ": Setting(5, 277, 0.0),
    "five seeds that differ little": Setting(5, 277, 0.05),
    "five seeds that differ much": Setting(5, 277, 0.5),
    "five seeds, three trainings": Setting(5, 277, 0.5, 3, 0.2),
    "five seeds, each strategy its own rows": Setting(5, 277, 0.1, taste=1.0),
    "five seeds, heavy tails": Setting(5, 1000, 1.0, noise="heavy tails"),
    "five seeds, skewed": Setting(5, 1000, 0.5, noise="skewed"),
    "five seeds, one of two": Setting(5, 1000, 0.5, noise="one of two"),
    "five seeds, a rare failure": Setting(5, 1000, 0.5, noise="a rare failure"),
    "five seeds, rows not recorded": Setting(5, 277, 0.5, rows_kept=False),
    "ten seeds": Setting(10, 277, 0.3),
}


def simulated(rng: np.random.Generator, setting: Setting) -> tuple[Pair, ...]:
    """The pairs of one experiment."""
    hard = 1.0 + 1.5 * rng.normal(size=setting.rows)
    labels = rng.integers(2, size=setting.rows).astype(float)
    tests: dict[str, list[Scored | None]] = {}
    for place in range(STRATEGIES):
        own = hard + setting.taste * rng.normal(size=setting.rows) + (setting.ahead if place == 0 else 0.0)
        seeds = setting.seed_spread * NOISES[setting.noise](rng, setting.seeds)
        shifts = seeds[:, None] + setting.training_spread * rng.normal(size=(setting.seeds, setting.trainings))
        right = rng.random((*shifts.shape, setting.rows)) < 1 / (1 + np.exp(-(own + shifts[..., None])))
        tests[str(place)] = [_scored(seed, labels, right[seed], setting.rows_kept) for seed in range(setting.seeds)]
    return pairs_of(with_draws(tests, "accuracy"), "accuracy", "max")


def claimed(setting: Setting, count: int, seed: int = 0) -> float:
    """The share of experiments in which at least one difference between strategies is claimed."""
    rng = np.random.default_rng(seed)
    return sum(any(pair.shown for pair in simulated(rng, setting)) for _ in range(count)) / count


def _scored(seed: int, labels: np.ndarray, right: np.ndarray, rows_kept: bool) -> Scored:
    said = [ScoredRows(tuple(labels), tuple(np.where(row, labels, 1 - labels))) for row in right]
    scores = tuple(float(row.mean()) for row in right)
    return Scored(seed, scores, len(labels), tuple(said) if rows_kept else (), tuple(range(len(scores))))


if __name__ == "__main__":
    for name, setting in SETTINGS.items():
        print(f"{name}: {claimed(setting, int(sys.argv[1])):.1%}", flush=True)
    for ahead in (0.25, 0.5, 1.0):
        rate = claimed(Setting(5, 1000, 0.2, ahead=ahead), int(sys.argv[1]) // 5)
        print(f"five seeds, 1,000 rows, the first ahead by {ahead} logits: {rate:.1%}", flush=True)
