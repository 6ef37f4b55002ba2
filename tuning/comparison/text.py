"""Formats a comparison as text: tables for the terminal, Markdown, JSON, CSV."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import IO, TYPE_CHECKING, Any

import yaml

from trainables.spec import Value
from trainables.tunables import TUNABLES
from trainables.user_trainer.hp_space import suggested_values
from tuning.comparison.front import value_cells
from tuning.comparison.tables import INTERVAL, NUMBERS, TextTable, comparison_tables
from tuning.comparison.types import ChosenConfiguration, Comparison, StrategyRow, StudyRow
from tuning.outcome import Stretch
from tuning.outcome.attributes import HP_SPACE

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

CSV_COLUMNS = (
    *("strategy", "kind", "seed", "validation", "confirmed", "test", "test_low", "test_high", "mean_rank"),
    *("cost_to_target", "device_seconds", "busy_device_seconds", "confirming", "money", "epochs", "reports"),
    *("trials", "completed", "stopped", "failed", "running"),
)
COMPARISON_VERSION = 4  # of the JSON schema; increases when a key changes


def print_comparison(comparison: Comparison, file: IO[str] | None = None) -> None:
    """Prints advice, tables, verdict, caveats, and the best configuration as YAML. It fits in 80 columns."""
    console = console_for(file)
    console.print(f"{comparison.experiment}: {_metric_line(comparison)}", highlight=False)
    console.print(comparison.advice, highlight=False, style="bold")
    for table in comparison_tables(comparison):
        console.print(rich_table(table))
    console.print(comparison.verdict, highlight=False, style="bold")
    for caveat in comparison.caveats:
        console.print(f"- {caveat}", highlight=False)
    console.print()
    # Not wrapped: a wrapped line would be no YAML.
    console.print(best_configuration(comparison), highlight=False, soft_wrap=True)


def comparison_markdown(comparison: Comparison) -> str:
    """Formats the same content as Markdown."""
    lines = [f"## {comparison.experiment}", "", f"{_metric_line(comparison)}.", "", f"**{comparison.advice}**", ""]
    for table in comparison_tables(comparison):
        lines += [f"| {' | '.join(table.columns)} |", f"|{'---|' * len(table.columns)}"]
        lines += [f"| {' | '.join(line.cells)} |" for line in table.lines]
        lines.append("")
    lines += [f"**{comparison.verdict}**", "", *(f"- {caveat}" for caveat in comparison.caveats), ""]
    return "\n".join([*lines, "```yaml", best_configuration(comparison), "```"]) + "\n"


def comparison_csv(comparison: Comparison) -> str:
    """Formats a line per study, and one per strategy over its seeds (seed: all), as CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    ranks = {rank.strategy: rank.mean for rank in comparison.ranks}
    for row in comparison.rows:
        for study in row.studies:
            writer.writerow({"strategy": row.strategy, "kind": row.kind, **_study_values(study)})
        values = _strategy_values(row)
        writer.writerow({"strategy": row.strategy, "kind": row.kind, **values, "mean_rank": ranks.get(row.strategy)})
    return text.getvalue()


def comparison_json(comparison: Comparison) -> str:
    """Formats all fields of the comparison as JSON, named as in `tuning.comparison.types`."""
    plain = {"schema_version": COMPARISON_VERSION, **asdict(comparison)}
    return json.dumps(to_plain_json(plain), indent=2, allow_nan=False)


def best_configuration(comparison: Comparison) -> str:
    """Formats the best configuration as YAML for a spec's `fixed:`, with a comment on its origin.

    Defaults that no strategy chose are left out.
    """
    if comparison.goal:
        return _front_as_yaml(comparison)
    row = comparison.best
    if row is None or row.best is None or row.best.chosen is None:
        return "# no trial has reported a score yet"
    confirmed = row.best.confirmed
    chosen = row.best.chosen if confirmed is None else confirmed.configuration
    origin = f"{row.strategy}, seed {row.best.seed}, trial {chosen.name} after epoch {chosen.epoch:g}"
    again = "" if confirmed is None else f", confirmed {confirmed.mean:.4f} over {len(confirmed.seeds)} trainings"
    lines = [
        f"# best configuration: {origin}",
        f"# validation {comparison.metric} {chosen.validation:.4f}{again}; all other values are defaults",
    ]
    if len(chosen.schedule) > 1:
        lines += ["# It is a schedule; the values below are those at its end. In force were", *_schedule(chosen)]
    if chosen.hp_space is not None:
        lines.append("# The values below are inputs of the function; what it returns was in force.")
    given = {} if chosen.hp_space is None else {HP_SPACE: chosen.hp_space}
    return "\n".join([*lines, yaml.safe_dump({**given, "fixed": _to_copy(chosen)}, sort_keys=False).rstrip()])


def _front_as_yaml(comparison: Comparison) -> str:
    """Formats each configuration of the front as YAML for a spec's `fixed:`, one document each."""
    if not comparison.front:
        return "# no trial has a report that keeps the constraints yet"
    documents = []
    for point in comparison.front:
        values = ", ".join(f"{name} {value}" for name, value in value_cells(point).items())
        heading = f"# {point.strategy}, seed {point.seed}, trial {point.number} after epoch {point.epoch:g}: {values}"
        documents.append(f"{heading}\n{yaml.safe_dump({'fixed': dict(point.params)}, sort_keys=False).rstrip()}")
    return "\n---\n".join(documents)


def _to_copy(chosen: ChosenConfiguration) -> dict[str, Value]:
    def is_default(name: str, value: Value) -> bool:
        return name not in chosen.searched and name in TUNABLES and value == TUNABLES[name].default

    if chosen.hp_space is not None:
        return {name: value for name, value in suggested_values(chosen.params).items() if name in chosen.searched}
    return {name: value for name, value in chosen.params.items() if not is_default(name, value)}


def _schedule(chosen: ChosenConfiguration) -> list[str]:
    """Returns a comment line per stretch, with the values that change along the schedule."""
    moving = [
        name for name in chosen.params if len({repr(stretch.params.get(name)) for stretch in chosen.schedule}) > 1
    ]

    def line(stretch: Stretch) -> str:
        values = {name: stretch.params.get(name) for name in moving}
        return f"#   epochs {stretch.start:g} to {stretch.end:g}: {format_params(values)}"

    return [line(stretch) for stretch in chosen.schedule]


def rich_table(table: TextTable) -> RichTable:
    """Formats a table for the terminal."""
    drawn = empty_table(*table.columns)
    for line in table.lines:
        drawn.add_row(*line.cells, style=line.emphasis or None)
    return drawn


def empty_table(*columns: str) -> RichTable:
    """Returns a table for the terminal without rows; one space separates its columns."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=0)
    for column in columns:
        side = "right" if column in NUMBERS else "left"
        table.add_column(column, justify=side, overflow="fold", no_wrap=column.endswith(INTERVAL))  # type: ignore[arg-type]
    return table


def _study_values(study: StudyRow) -> dict[str, object]:
    interval = study.interval
    return {
        "seed": study.seed,
        "validation": None if study.chosen is None else study.chosen.validation,
        "confirmed": None if study.confirmed is None else study.confirmed.mean,
        "test": study.test,
        "test_low": None if interval is None else interval.low,
        "test_high": None if interval is None else interval.high,
        "device_seconds": study.device_seconds,
        "busy_device_seconds": study.busy_device_seconds,
        "epochs": study.epochs,
        "reports": study.reports,
    }


def _strategy_values(row: StrategyRow) -> dict[str, object]:
    interval = None if row.test is None else row.test.interval
    costs = ("device_seconds", "busy_device_seconds", "confirming", "money", "epochs")
    names = (*costs, "trials", "completed", "stopped", "failed", "running")
    return {
        "seed": "all",
        "validation": row.median_validation,
        "test": None if row.test is None else row.test.value,
        "test_low": None if interval is None else interval.low,
        "test_high": None if interval is None else interval.high,
        "cost_to_target": None if row.reach is None else row.reach.median,
        **{name: getattr(row, name) for name in names},
    }


def _metric_line(comparison: Comparison) -> str:
    better = "higher" if comparison.mode == "max" else "lower"
    if comparison.goal:
        return f"{comparison.goal}; compared by {comparison.metric}, {better} is better; device: {comparison.device}"
    return f"{comparison.metric}, {better} is better; device: {comparison.device}"


def format_params(params: Mapping[str, Value]) -> str:
    """Formats hyperparameters with three significant digits."""
    shown = {name: f"{value:.3g}" if isinstance(value, float) else str(value) for name, value in params.items()}
    return ", ".join(f"{name}={value}" for name, value in shown.items())


def to_plain_json(value: Any) -> Any:
    """Converts named tuples to mappings, tuples to lists, and numbers that are not finite to None."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(key): to_plain_json(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no such number
    return [to_plain_json(item) for item in value] if isinstance(value, list | tuple) else value


def console_for(file: IO[str] | None) -> Console:
    """Returns a console that writes to `file` (default: stdout), as plain text of 80 columns if it is no terminal."""
    from rich.console import Console

    # Brackets are intervals, not markup. In a notebook rich would display the text instead of writing it to `file`.
    return Console(file=file or sys.stdout, markup=False, force_jupyter=None if file is None else False)
