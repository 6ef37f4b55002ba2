"""A comparison or an experiment's results as text: a table for the terminal, Markdown, or JSON."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import IO, TYPE_CHECKING, Any

import yaml

from trainables.spec import TUNABLES, Value
from tuning.comparison import Chosen, Comparison, StrategyRow, StudyRow
from tuning.outcome import ExperimentOutcome, Exploit, Stretch, TrialState

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

COMPARISON_VERSION = 1  # of the JSON; moves when a key does
TEST = "test [95 %]"  # an interval on two lines cannot be read
COLUMNS = ("strategy", "validation", TEST, "device-s", "epochs", "done/stop/fail")
NUMBERS = ("device-s", "epochs")


def print_comparison(comparison: Comparison, file: IO[str] | None = None) -> None:
    """The table, the verdict, what to beware of, and the best configuration ready to copy. 80 columns are enough."""
    console = _console(file)
    console.print(f"{comparison.experiment}: {_scores_in(comparison)}", highlight=False)
    console.print(_table(comparison))
    console.print(comparison.verdict, highlight=False, style="bold")
    for caveat in comparison.caveats:
        console.print(f"- {caveat}", highlight=False)
    console.print()
    # As it is: a wrapped line would no longer be YAML.
    console.print(best_configuration(comparison), highlight=False, soft_wrap=True)


def comparison_markdown(comparison: Comparison) -> str:
    """The same as Markdown."""
    rows = [_cells(row) for row in comparison.rows]
    lines = [
        f"## {comparison.experiment}",
        "",
        f"{_scores_in(comparison)}.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * len(COLUMNS)}",
        *(f"| {' | '.join(cells)} |" for cells in rows),
        "",
        f"**{comparison.verdict}**",
        "",
        *(f"- {caveat}" for caveat in comparison.caveats),
        "",
        "```yaml",
        best_configuration(comparison),
        "```",
    ]
    return "\n".join(lines) + "\n"


def comparison_json(comparison: Comparison) -> str:
    """All fields of the comparison, named as in `tuning.comparison`; named tuples as mappings."""
    plain = {"schema_version": COMPARISON_VERSION, **asdict(comparison)}
    return json.dumps(_mappings(plain), indent=2, allow_nan=False)


def results_json(outcome: ExperimentOutcome) -> str:
    """`tunefleet results --json`: the schema of `ExperimentOutcome.to_json`."""
    return json.dumps(outcome.to_json(), indent=2, allow_nan=False)


def print_results(outcome: ExperimentOutcome, file: IO[str] | None = None) -> None:
    """Every trial of every study: state, epochs, best score, params at the start, error."""
    console = _console(file)
    for study in outcome.studies:
        console.print(
            f"{study.strategy}, seed {study.seed}: {study.state.value}; "
            f"{study.device_seconds:,.0f} device-seconds ({study.device}s)",
            style="bold",
            highlight=False,
        )
        table = _empty_table("trial", "state", "epochs", f"best {study.metric}", "params")
        for trial in study.trials:
            best = trial.best_report(study.metric, study.mode)
            score = "-" if best is None else f"{best.metrics[study.metric]:.4f} @ {best.epoch:g}"
            told = _shown_params(trial.params)
            told += "".join(f"\n{_shown_exploit(exploit)}" for exploit in trial.lineage)
            if trial.state is TrialState.FAILED:
                told += f"\n{trial.error}"
            table.add_row(trial.id, trial.state.value, f"{trial.epochs_trained:g}", score, told)
        console.print(table)


def best_configuration(comparison: Comparison) -> str:
    """YAML lines for a spec's `fixed:`, with a comment on where they come from. Defaults that no strategy chose are
    left out: the spec has them anyway.
    """
    row = comparison.best
    if row is None or row.best is None or row.best.chosen is None:
        return "# no trial has reported a score yet"
    chosen: Chosen = row.best.chosen
    origin = f"{row.strategy}, seed {row.best.seed}, trial {chosen.trial} after epoch {chosen.epoch:g}"
    lines = [
        f"# best configuration: {origin}",
        f"# validation {comparison.metric} {chosen.validation:.4f}; what is not named has its default",
    ]
    if len(chosen.schedule) > 1:
        lines += ["# It is a schedule: what stands below are the values at its end. In force were", *_schedule(chosen)]
    return "\n".join([*lines, yaml.safe_dump({"fixed": _to_copy(chosen)}, sort_keys=False).rstrip()])


def _to_copy(chosen: Chosen) -> dict[str, Value]:
    def is_default(name: str, value: Value) -> bool:
        return name not in chosen.searched and name in TUNABLES and value == TUNABLES[name].default

    return {name: value for name, value in chosen.params.items() if not is_default(name, value)}


def _schedule(chosen: Chosen) -> list[str]:
    """One comment line per stretch, with the values that change along the schedule."""
    moving = [
        name for name in chosen.params if len({repr(stretch.params.get(name)) for stretch in chosen.schedule}) > 1
    ]

    def line(stretch: Stretch) -> str:
        values = {name: stretch.params.get(name) for name in moving}
        return f"#   epochs {stretch.start:g} to {stretch.end:g}: {_shown_params(values)}"

    return [line(stretch) for stretch in chosen.schedule]


def _table(comparison: Comparison) -> Table:
    table = _empty_table(*COLUMNS)
    for row in comparison.rows:
        cells = _cells(row)
        table.add_row(*cells, style="bold" if row is comparison.best else None)
        if len(row.studies) > 1:
            for study in row.studies:
                table.add_row(*_study_cells(study), style="dim")
    return table


def _empty_table(*columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=0)  # the columns are one blank apart
    for column in columns:
        side = "right" if column in NUMBERS else "left"
        table.add_column(column, justify=side, overflow="fold", no_wrap=column == TEST)  # type: ignore[arg-type]
    return table


def _cells(row: StrategyRow) -> list[str]:
    best = row.best
    validation = "-" if best is None or best.chosen is None else f"{best.chosen.validation:.4f}"
    if len(row.studies) > 1 and row.median_validation is not None:
        validation += f" (median {row.median_validation:.4f})"
    ends = f"{row.completed}/{row.stopped}/{row.failed}"
    return [
        row.strategy,
        validation,
        _test(best),
        f"{row.device_seconds:,.0f}",
        f"{row.epochs:g}",
        f"{ends} +{row.running} running" if row.running else ends,
    ]


def _study_cells(study: StudyRow) -> list[str]:
    validation = "-" if study.chosen is None else f"{study.chosen.validation:.4f}"
    return [
        f"  seed {study.seed}",
        validation,
        _test(study),
        f"{study.device_seconds:,.0f}",
        f"{study.epochs:g}",
        "",
    ]


def _test(study: StudyRow | None) -> str:
    if study is None or study.test is None:
        return "-"
    if study.interval is None:
        return f"{study.test:.4f}"
    return f"{study.test:.3f} [{study.interval.low:.3f}, {study.interval.high:.3f}]"


def _scores_in(comparison: Comparison) -> str:
    better = "higher" if comparison.mode == "max" else "lower"
    return f"{comparison.metric}, {better} is better; device: {comparison.device}"


def _shown_exploit(exploit: Exploit) -> str:
    changed = {name: value for name, value in exploit.new.items() if value != exploit.old.get(name)}
    return f"from {exploit.donor} at epoch {exploit.epoch:g} on: {_shown_params(changed) or 'the same values'}"


def _shown_params(params: Mapping[str, Value]) -> str:
    shown = {name: f"{value:.3g}" if isinstance(value, float) else str(value) for name, value in params.items()}
    return ", ".join(f"{name}={value}" for name, value in shown.items())


def _mappings(value: Any) -> Any:
    """Named tuples as mappings, tuples as lists, NaN as null."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(key): _mappings(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no word for it
    return [_mappings(item) for item in value] if isinstance(value, list | tuple) else value


def _console(file: IO[str] | None) -> Console:
    """Plain text, 80 columns, where `file` is no terminal."""
    from rich.console import Console

    return Console(file=file or sys.stdout, markup=False)  # brackets are intervals, not markup
