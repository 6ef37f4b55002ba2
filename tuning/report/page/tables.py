"""Builds the tables of the page: scores, costs, pairs, trials and environment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import TYPE_CHECKING

from trainables.user_trainer.hp_space import suggested_values
from tuning.comparison.formatting import decimals_for
from tuning.outcome import ExperimentOutcome, StudyOutcome
from tuning.report.page.figure import Cell, DataTable, format_number, table_cell
from tuning.report.page.winners import TrialKey

if TYPE_CHECKING:
    from tuning.comparison import Comparison, Interval, Pair, StrategyRow

VARIES = "differs between studies: "


def score_table(comparison: Comparison) -> DataTable:
    """Returns the scores of each strategy, a row each."""
    ranks = {rank.strategy: rank.mean for rank in comparison.ranks}
    return _strategy_table(
        comparison,
        {
            "strategy": lambda row: row.strategy,
            "test, mean": lambda row: row.test.value if row.test else row.median_test,
            "95 % interval": lambda row: _interval(row.test.interval, [row.test.value]) if row.test else None,
            "test, worst seed": lambda row: row.worst_test if len(row.studies) > 1 else None,
            "test, interquartile mean": lambda row: row.middle_test if len(row.studies) > 1 else None,
            f"mean rank by {comparison.ranked_by}": lambda row: ranks.get(row.strategy),
            "validation, best seed": lambda row: row.best.chosen.validation if row.best and row.best.chosen else None,
            "validation, median": lambda row: row.median_validation,
            "confirmed, median": lambda row: _median(s.confirmed.mean for s in row.studies if s.confirmed),
            "search too good by": lambda row: row.gap,
            "seeds": lambda row: len(row.studies),
        },
    )


def cost_table(comparison: Comparison) -> DataTable:
    """Returns the costs of each strategy and its cost to reach the target, a row each."""
    return _strategy_table(
        comparison,
        {
            "strategy": lambda row: row.strategy,
            "device-s, search": lambda row: row.device_seconds,
            "of these busy": lambda row: row.busy_device_seconds,
            "device-s, confirming": lambda row: row.confirming or None,
            f"device-s to {format_number(comparison.target)}": lambda row: row.reach.median if row.reach else None,
            _money(comparison): lambda row: row.money,
            "epochs": lambda row: row.epochs,
            "trials": lambda row: row.trials,
            "completed": lambda row: row.completed,
            "stopped": lambda row: row.stopped,
            "failed": lambda row: row.failed,
            "running": lambda row: row.running or None,
        },
    )


def _strategy_table(comparison: Comparison, columns: Mapping[str, Callable[[StrategyRow], Cell]]) -> DataTable:
    """Builds a table with a row per strategy, without columns that have no value."""
    used = {name: value for name, value in columns.items() if any(value(row) is not None for row in comparison.rows)}
    return DataTable(tuple(used), tuple(tuple(value(row) for value in used.values()) for row in comparison.rows))


def pair_table(comparison: Comparison) -> DataTable:
    """Returns a row per pair of strategies: the difference, its p, and the seeds needed to detect one that matters."""
    columns: dict[str, Callable[[Pair], Cell]] = {
        "pair": lambda pair: f"{pair.first} against {pair.second}",
        "difference on test": lambda pair: pair.difference,
        "95 % interval": lambda pair: _interval(pair.interval, pair.means),
        "p, corrected": lambda pair: pair.corrected,
        "probability that the first is better": lambda pair: pair.better,
        "seeds": lambda pair: pair.seeds,
        "can detect from": lambda pair: pair.detectable,
        **({f"seeds to detect {comparison.worthwhile:g}": _needed} if comparison.worthwhile is not None else {}),
        "shown": lambda pair: pair.answer or ("yes" if pair.shown else "no"),
    }
    if common_test(comparison) is None:
        columns["how tested"] = lambda pair: pair.test
    return DataTable(
        tuple(columns), tuple(tuple(value(pair) for value in columns.values()) for pair in comparison.pairs)
    )


def common_test(comparison: Comparison) -> str | None:
    """Returns the statistical test of all pairs; None if they differ."""
    tests = {pair.test for pair in comparison.pairs}
    return tests.pop() if len(tests) == 1 else None


def trial_table(outcome: ExperimentOutcome, winner: TrialKey | None = None) -> DataTable:
    """Returns a row per trial and a column per hyperparameter, with the values in force at its best score."""
    metric = outcome.studies[0].metric
    found = [
        (study, trial, trial.best_report(metric, study.mode)) for study in outcome.studies for trial in study.trials
    ]
    proposed = [trial.proposed(best) if best else trial.params for _, trial, best in found]
    names = list(dict.fromkeys(name for params in proposed for name in params))
    rows = []
    for (study, trial, best), params in zip(found, proposed, strict=True):
        values = {**params, **({n: v for n, v in suggested_values(best.params).items() if n in params} if best else {})}
        rows.append(
            (
                study.strategy,
                study.seed,
                trial.name,
                trial.state.value,
                best.metrics[metric] if best else None,
                best.epoch if best else None,
                trial.epochs_trained,
                trial.device_seconds,
                *(table_cell(values[name]) if name in values else None for name in names),
                trial.error,
            )
        )
    keys = [TrialKey(study.strategy, study.seed, trial.name) for study, trial, _ in found]
    columns = ("strategy", "seed", "trial", "state", f"best {metric}", "at epoch", "epochs", "device-seconds")
    return DataTable((*columns, *names, "error"), tuple(rows), keys.index(winner) if winner in keys else None)


def provenance_table(studies: Iterable[StudyOutcome]) -> DataTable:
    """Returns the environment of the studies: versions, fingerprint of the data, devices."""
    found: dict[str, list[str]] = {}
    for study in studies:
        for name, value in {
            **study.attributes,
            "device": study.device,
            "devices per trial": study.devices_per_trial,
        }.items():
            values = found.setdefault(name, [])
            if str(value) not in values:
                values.append(str(value))
    return DataTable(
        ("name", "value"),
        tuple((name, values[0] if len(values) == 1 else VARIES + ", ".join(values)) for name, values in found.items()),
    )


def _needed(pair: Pair) -> Cell:
    unknown = "more test rows" if pair.too_few_rows else "more than 100" if pair.beyond else None
    return unknown if pair.seeds_needed is None else pair.seeds_needed


def _money(comparison: Comparison) -> str:
    return "cost" if comparison.price is None else f"cost, {comparison.price.currency}".rstrip(", ")


def _interval(interval: Interval | None, around: Iterable[float]) -> str | None:
    digits = decimals_for(around)
    return None if interval is None else f"{interval.low:.{digits}f} to {interval.high:.{digits}f}"


def _median(values: Iterable[float]) -> float | None:
    found = list(values)
    return median(found) if found else None
