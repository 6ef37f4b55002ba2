"""The tables of the page: the comparison, the trials, what the experiment was made with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tuning.outcome import ExperimentOutcome, StudyOutcome
from tuning.page.figure import Table
from tuning.page.lineage import shown

if TYPE_CHECKING:
    from tuning.comparison import Comparison, Interval

VARIES = "differs between studies: "


def comparison_table(comparison: Comparison) -> Table:
    """A row per strategy."""
    metric = comparison.metric
    return Table(
        (
            "strategy", f"validation {metric}, best seed", "median", f"test {metric}", "95 % interval", "seeds",
            "device-seconds", "epochs", "trials", "completed", "stopped", "failed", "running",
        ),
        tuple(
            (
                row.strategy,
                row.best.chosen.validation if row.best and row.best.chosen else None,
                row.median_validation,
                row.best.test if row.best else None,
                _interval(row.best.interval if row.best else None),
                len(row.studies),
                row.device_seconds,
                row.epochs,
                row.trials,
                row.completed,
                row.stopped,
                row.failed,
                row.running,
            )
            for row in comparison.rows
        ),
    )  # fmt: skip


def trial_table(outcome: ExperimentOutcome) -> Table:
    """A row per trial of every study."""
    metric = outcome.studies[0].metric
    return Table(
        ("strategy", "seed", "trial", "state", f"best {metric}", "at epoch", "epochs", "device-seconds", "values",
         "error"),
        tuple(
            (
                study.strategy,
                study.seed,
                trial.id,
                trial.state.value,
                best.metrics[metric] if best else None,
                best.epoch if best else None,
                trial.epochs_trained,
                trial.device_seconds,
                ", ".join(f"{name} {shown(value)}" for name, value in (best.params if best else trial.params).items()
                          if name in trial.params),
                trial.error,
            )
            for study in outcome.studies
            for trial in study.trials
            for best in [trial.best_report(metric, study.mode)]
        ),
    )  # fmt: skip


def provenance_table(studies: Iterable[StudyOutcome]) -> Table:
    """What the studies were made with: versions, the data's fingerprint, the devices."""
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
    return Table(
        ("name", "value"),
        tuple((name, values[0] if len(values) == 1 else VARIES + ", ".join(values)) for name, values in found.items()),
    )


def _interval(interval: Interval | None) -> str | None:
    return None if interval is None else f"{interval.low:.3f} to {interval.high:.3f}"
