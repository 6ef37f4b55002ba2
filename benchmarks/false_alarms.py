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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from benchmarks.false_alarm_regimes import NOISES, REGIMES, Setting
from tuning.comparison.imputation import impute_failed
from tuning.comparison.pairs import pairs_of
from tuning.comparison.resampling import METRICS, row_weights
from tuning.comparison.scores import StudyScores, with_bootstrap
from tuning.comparison.types import Pair
from tuning.comparison.verdict_levels import level_share
from tuning.outcome import ScoredRows, StudyOutcome, StudyState

COUNT = 4000
RESULTS = Path(__file__).parent / "results"


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
