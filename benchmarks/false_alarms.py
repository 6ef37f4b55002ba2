"""Measures, in simulated experiments, how often the comparison claims falsely, and how often it finds a difference.

A false claim is a difference where there is none, or "no difference that matters" where there is one.

    python -m benchmarks.false_alarms                      # every regime, 4,000 experiments each
    python -m benchmarks.false_alarms --count 500 "7 x 5"  # those whose name contains a word, nothing written

Experiments are simulated, and judged by the comparison's own functions. A model gets a row right with a probability
that the row's difficulty, the seed of its search and that of its training decide. Strategies differ by chance alone; or
(`taste`) each has rows that it is better at, which even out over all rows there could be, not over the test split.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from tuning.comparison.imputation import impute_failed
from tuning.comparison.pairs import pairs_of
from tuning.comparison.resampling import METRICS, row_weights
from tuning.comparison.scores import StudyScores, with_bootstrap
from tuning.comparison.types import Pair
from tuning.comparison.verdict_levels import level_share
from tuning.outcome import ScoredRows, StudyOutcome, StudyState

COUNT = 4000
LIFT = 0.315  # logits: makes up for one search in ten that is 3 logits worse
RESULTS = Path(__file__).parent / "results"
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


class Found(NamedTuple):
    """Counts what the comparison claimed in simulated experiments."""

    experiments: int
    false: float  # share of experiments with a claim between strategies that do not differ
    true: float  # share with a claim that the better one is better
    each: float  # share of the pairs with a difference in which it was claimed


def simulated(rng: np.random.Generator, setting: Setting) -> tuple[Pair, ...]:
    """Simulates one experiment; returns its pairs, of all its verdicts. Strategies are called 0, 1, ..."""
    shape = (setting.strategies, setting.seeds, setting.trainings)
    seeds = setting.spread * NOISES[setting.noise](rng, shape[:2])
    seeds[-1] *= setting.spread_of_last
    seeds[0] += setting.ahead
    if setting.lift_of_last:
        seeds[-1] += setting.lift_of_last - 3.0 * (rng.random(setting.seeds) < 0.1)
    shifts = seeds[..., None] + setting.training_spread * rng.normal(size=shape)
    labels, predictions = (_values if setting.metric in ("mse", "loss") else _classes)(rng, setting, shifts)
    tests, studies = _tests(setting, labels, predictions, seeds)
    lost: Mapping[str, frozenset[int]] = {}
    if setting.fails:
        completed = impute_failed(studies, tests)
        tests, lost = completed.tests, completed.lost
        if completed.imputed:
            tests = with_bootstrap(tests, setting.metric)
    found: list[Pair] = []
    for number, seeds_so_far in enumerate(range(setting.first_seeds or setting.seeds, setting.seeds + 1), 1):
        found += pairs_of(
            {name: of_strategy[:seeds_so_far] for name, of_strategy in tests.items()},
            setting.metric,
            "min" if setting.metric in ("mse", "loss") else "max",
            baseline=str(setting.baseline),
            worthwhile=true_difference(setting) if setting.margin else None,
            lost=lost,
            share=level_share(number, setting.verdicts),
        )
    return tuple(found)


@functools.cache
def true_difference(setting: Setting) -> float:
    """Returns by how much the first strategy is better in accuracy than others, over all rows and seeds."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    spread = math.hypot(1.5, setting.taste, setting.training_spread)
    seeds = setting.spread * NOISES[setting.noise](np.random.default_rng(0), (50_000, 1))
    logits = setting.easy + seeds + spread * nodes
    gained = 1 / (1 + np.exp(-logits - setting.ahead)) - 1 / (1 + np.exp(-logits))
    return float((gained @ weights).mean() / weights.sum())


def small_claims(setting: Setting, count: int, seed: int = 0) -> Found:
    """Counts in how many of `count` experiments a difference is called no larger than what matters.

    Those of the first strategy are as large (false), those of the others are not (true).
    """
    rng = np.random.default_rng(seed)
    false, true, each = 0, 0, 0
    for _ in range(count):
        said = [pair for pair in simulated(rng, setting) if pair.answer in ("no larger", "better by less")]
        wrong = [pair for pair in said if "0" in (pair.first, pair.second)]
        false += bool(wrong)
        true += len(wrong) < len(said)
        each += len(said) - len(wrong)
    others = math.comb(setting.strategies - 1, 2)
    return Found(count, false / count, true / count, each / count / others if others else 0.0)


def claims(setting: Setting, count: int, seed: int = 0) -> Found:
    """Counts what is claimed in `count` experiments."""
    if setting.margin:
        return small_claims(setting, count, seed)
    rng = np.random.default_rng(seed)
    false, true, each = 0, 0, 0
    for _ in range(count):
        shown = [pair for pair in simulated(rng, setting) if pair.shown]
        right = [pair for pair in shown if setting.ahead and pair.first == "0"]
        false += len(right) < len(shown)
        true += bool(right)
        each += len({pair.second for pair in right})
    return Found(count, false / count, true / count, each / count / (setting.strategies - 1))


def _classes(rng: np.random.Generator, setting: Setting, shifts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    hard = setting.easy + 1.5 * rng.normal(size=setting.rows)
    own = hard + setting.taste * rng.normal(size=(setting.strategies, setting.rows))
    labels = (rng.random(setting.rows) < setting.positives).astype(float)
    labels[:2] = 0.0, 1.0  # both classes occur
    logits = own[:, None, None] + shifts[..., None]
    right = rng.random(logits.shape) < 1 / (1 + np.exp(-logits))
    return labels, np.where(right, labels, 1 - labels)


def _values(rng: np.random.Generator, setting: Setting, shifts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.standard_t(2.5, size=setting.rows)
    own = setting.taste * rng.normal(size=(setting.strategies, setting.rows)) + 0.3
    noise = rng.normal(size=(*shifts.shape, setting.rows)) * 0.3
    return labels, own[:, None, None] - shifts[..., None] + noise


def _tests(
    setting: Setting, labels: np.ndarray, predictions: np.ndarray, seeds: np.ndarray
) -> tuple[dict[str, list[StudyScores | None]], dict[str, list[StudyOutcome]]]:
    """Returns scores as `with_bootstrap` does, without its texts and tuples: so a thousand experiments take seconds."""
    flat = predictions.reshape(-1, setting.rows)
    score = METRICS["mse" if setting.metric == "loss" else setting.metric]
    own = score(np.ones((1, setting.rows)), labels, flat)[0].reshape(predictions.shape[:-1])
    drawn = None
    if setting.kept and setting.metric in METRICS:
        drawn = score(_weights(setting.rows), labels, flat).reshape(-1, *predictions.shape[:-1])
    said = tuple(labels.tolist())
    worst = seeds[-1] < setting.spread * float(ndtri(setting.fails)) if setting.fails else np.zeros(setting.seeds)
    whole = drawn is not None and bool(setting.fails or setting.seeds == 1)  # something looks at single predictions
    bare = (ScoredRows(said, ()),) * setting.trainings if drawn is not None else ()
    tests: dict[str, list[StudyScores | None]] = {}
    studies: dict[str, list[StudyOutcome]] = {}
    for place in range(setting.strategies):
        name = str(place)
        tests[name], studies[name] = [], []
        for seed in range(setting.seeds):
            rows = tuple(ScoredRows(said, tuple(row.tolist())) for row in predictions[place, seed]) if whole else bare
            test = StudyScores(
                seed,
                tuple(own[place, seed].tolist()),
                setting.rows,
                rows,
                tuple(range(setting.trainings)),
                None if drawn is None else drawn[:, place, seed].mean(axis=1),
            )
            gone = place == setting.strategies - 1 and worst[seed]
            tests[name].append(None if gone else test)
            studies[name].append(StudyOutcome(name, name, seed, StudyState.FINISHED, setting.metric, "max"))
    return tests, studies


@functools.lru_cache(maxsize=4)
def _weights(rows: int) -> np.ndarray:
    return np.concatenate(list(row_weights(rows)))


def main(words: Sequence[str] | None = None) -> None:
    """Simulates the regimes that the command line names, prints their tables and writes the full form down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "name", nargs="?", default="", help="regimes whose name contains it; default: all, written down"
    )
    parser.add_argument("--count", type=int, default=COUNT, help=f"experiments per regime; default {COUNT:,}")
    arguments = parser.parse_args(words)
    record: dict[str, dict[str, object]] = {kind: {} for kind in REGIMES}
    began = time.monotonic()
    for kind, settings in REGIMES.items():
        for name, setting in settings.items():
            if arguments.name in name:
                found = claims(setting, arguments.count)
                record[kind][name] = {**setting._asdict(), **found._asdict()}
                print(line_of(name, found, planted="planted" in kind), flush=True)
    if not arguments.name:
        command = f"python -m benchmarks.false_alarms --count {arguments.count}"
        told = {"command": command, "seconds": round(time.monotonic() - began), **record}
        RESULTS.joinpath("false_alarms.json").write_text(json.dumps(told, indent=2) + "\n")


def line_of(name: str, found: Found, *, planted: bool) -> str:
    """Returns a row of the table in benchmarks/README.md."""
    if planted:
        return f"| {name} | {found.true:.1%} | {found.each:.1%} | {found.false:.1%} |"
    return f"| {name} | {found.false:.1%} |"


if __name__ == "__main__":
    main()
