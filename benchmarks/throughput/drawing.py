"""Prints the figures of a session as a table, and plots them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.throughput.breakdown import PARTS

COLUMNS = ("arm", "wall s", "CPU-s", "limit/wall", "limit/CPU", "trials/device-h", "tokens", "written MB", "left MB")


def print_session(result: Mapping[str, Any], console: Console) -> None:
    """Prints everything that a session has measured so far, by precision."""
    for precision, found in result["precisions"].items():
        _print_precision(precision, found, console)
    for run in result["runs"]:
        if run["error"]:
            console.print(f"[red]{run['arm']} in {run['precision']}, repeat {run['repeat']}: {run['error']}[/red]")


def _print_precision(precision: str, found: Mapping[str, Any], console: Console) -> None:
    table = Table(
        *COLUMNS, title=precision, caption="median \\[range]; start-up counted, except in the limit's own loop"
    )
    arms = found["summary"]["arms"]
    for name, figures in arms.items():
        table.add_row(name, *_cells(figures))
        if "loop" in figures:
            loop = figures["loop"]
            table.add_row("  its loop", _range(loop["wall"]), _range(loop["cpu"]), "1.00", "1.00", "", "", "", "")
    console.print(table)
    for how, ratios in (("", "ratios"), (" by default", "default_ratios")):
        for peer, ratio in found["summary"][ratios].items():
            if ratio["wall"]:
                wall, cpu = (_range(ratio[kind], digits=2) for kind in ("wall", "cpu"))
                console.print(f"{peer}{how} takes {wall} x the wall time and {cpu} x the CPU time of tunefleet")
    if found.get("breakdown"):
        console.print(_breakdown(found["breakdown"]))
    if found.get("steady_state") is not None:
        console.print(f"steady state, limit / tunefleet in CPU per trial: {found['steady_state']:.3f}")
    if found.get("gate"):
        _print_gate(found["gate"], console)


def _cells(figures: Mapping[str, Any]) -> list[str]:
    efficiency = figures["efficiency"]
    return [
        _range(figures["wall_seconds"]),
        _range(figures["cpu_seconds"]),
        _range(efficiency["wall"], digits=2),
        _range(efficiency["cpu"], digits=2),
        _range(figures["trials_per_device_hour"], digits=0),
        f"{figures['tokens']:,}" if figures["tokens"] else "",
        _range(figures["bytes_written"], scale=1e-6, digits=0),
        _range(figures["bytes_left"], scale=1e-6, digits=0),
    ]


def _range(spread: Mapping[str, float] | None, *, digits: int = 1, scale: float = 1.0) -> str:
    if spread is None:
        return "failed"
    middle, low, high = (f"{spread[key] * scale:.{digits}f}" for key in ("median", "low", "high"))
    return middle if low == high else f"{middle} [{low}, {high}]"


def _breakdown(parts: Mapping[str, Any]) -> Table:
    table = Table("tunefleet, per trial", "wall s", "CPU-s", "first: wall s", "CPU-s", caption="medians over trials")
    for part in PARTS:
        first, later = parts["first_trials"][part], (parts["later_trials"] or {}).get(part)
        after = (f"{later['wall']:.2f}", f"{later['cpu']:.2f}") if later else ("", "")
        table.add_row(part, *after, f"{first['wall']:.2f}", f"{first['cpu']:.2f}")
    start = parts["start_up"]
    table.add_row("start-up of the run", "", "", f"{start['wall']:.2f}", f"{start['cpu_of_slots']:.2f} (slots)")
    table.add_row("end of the run", "", "", f"{parts['exit']['wall']:.2f}", "")
    table.add_row("outside the slots", "", "", "", f"{parts['cpu_outside_slots']:.2f}")
    return table


def _print_gate(gate: Mapping[str, Any], console: Console) -> None:
    same, count = gate["identical"], gate["trials"]
    console.print(
        f"gate: {same} of {count} trials equal a plain Trainer's on the same batches bit for bit"
        f" (largest difference of a loss: {gate['largest_difference']:.1e})"
    )
    if gate["identical_limit"] is not None:
        console.print(f"gate: {gate['identical_limit']} of {count} equal the limit's")
    for arm, other in gate["peers"].items():
        verdict = "within" if other["within"] else "OUTSIDE"
        console.print(
            f"gate: mean accuracy {other['difference']:+.4f} against {arm}, {verdict} the spread by seeds"
            f" (±{gate['allowed']:.4f})"
        )


def plot_session(result: Mapping[str, Any], path: Path) -> None:
    """Plots the efficiency by arm, in wall and CPU time, with ranges, a panel per precision; needs matplotlib."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    drawn = {precision: _efficiencies(found) for precision, found in result["precisions"].items()}
    height = sum(0.6 * len(arms) + 1 for arms in drawn.values()) + 0.6
    figure, panels = plt.subplots(len(drawn), figsize=(8, height), layout="constrained", sharex=True, squeeze=False)
    for axes, (precision, arms) in zip(panels[:, 0], drawn.items(), strict=True):
        _plot_precision(axes, precision, arms)
    work, device = result["workload"], result["machine"]["device"] or result["machine"]["cpu"]
    panels[-1, 0].set_xlabel("limit / arm (1: every second is training or evaluation)")
    panels[-1, 0].legend()
    figure.suptitle(f"{work['trials']} trials x {work['rows']} rows, {work['slots']} at a time; {device}", fontsize=10)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _efficiencies(found: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what is drawn of one precision: by arm, the efficiency in wall and CPU time."""
    arms = found["summary"]["arms"].items()
    return {name: f["efficiency"] for name, f in arms if f["efficiency"]["wall"] and name != "limit"}


def _plot_precision(axes: Any, precision: str, arms: Mapping[str, Any]) -> None:
    names = sorted(arms, key=lambda name: arms[name]["wall"]["median"])
    for offset, kind, label in ((-0.2, "wall", "wall time"), (0.2, "cpu", "CPU time")):
        spreads = [arms[name][kind] for name in names]
        middle = [spread["median"] for spread in spreads]
        errors = [[s["median"] - s["low"] for s in spreads], [s["high"] - s["median"] for s in spreads]]
        places = [number + offset for number in range(len(names))]
        axes.barh(places, middle, 0.38, xerr=errors, capsize=3, label=label)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.set_title(precision, fontsize=10, loc="left")
