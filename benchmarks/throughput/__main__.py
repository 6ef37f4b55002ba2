"""Runs the arms in turn, several times, and writes the result: `python -m benchmarks.throughput`.

The order of the arms rotates from repeat to repeat, and each arm runs in one precision after the other. After every run
everything so far is in the JSON file.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, get_args

from rich.console import Console

from benchmarks.machine import machine
from benchmarks.throughput import summary
from benchmarks.throughput.arms import gate as gate_arm
from benchmarks.throughput.breakdown import breakdown, read_stamps
from benchmarks.throughput.drawing import plot_session, print_session
from benchmarks.throughput.session import ARMS, BREAKDOWN, GATE, Arm, run_arm
from benchmarks.workload import Precision, Workload, default_data


def main(argv: list[str] | None = None) -> int:
    """Runs a session; exit status 1 if an arm has failed."""
    options = _parse(sys.argv[1:] if argv is None else argv)
    result: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "benchmarks.throughput", *(argv or sys.argv[1:])]),
        "machine": machine(),
        "workload": options.workload.model_dump(exclude={"data", "precision"}),
        "learning_rates": options.workload.learning_rates,
        "runs": [],
        "precisions": {precision: {} for precision in options.precision},
    }
    session = Session(options, result)
    try:
        for repeat in range(options.repeats):
            shift = repeat % len(options.arms)
            for name in options.arms[shift:] + options.arms[:shift]:
                for precision in options.precision:
                    session.measure(name, ARMS[name], repeat, precision)
        for precision in options.precision:
            session.explain(precision)
    finally:
        session.close()
    if options.out.suffix == ".json" and not options.no_plot:
        plot_session(result, options.out.with_suffix(".png"))
    return 1 if any(run["error"] for run in result["runs"]) else 0


class Session:
    """The result as it grows, the folder below which the arms run, the terminal."""

    def __init__(self, options: argparse.Namespace, result: dict[str, Any]) -> None:
        self.options, self.result = options, result
        self.console = Console(width=None if sys.stdout.isatty() else 150)
        self.folder = Path(tempfile.mkdtemp(prefix="tfb-", dir=options.folder))
        self._count = 0

    def measure(self, name: str, arm: Arm, repeat: int, precision: Precision) -> tuple[dict[str, Any], Path]:
        """Runs one arm once and adds it to the result; its folder is kept until the session ends."""
        folder = self.folder / str(self._count)
        self._count += 1
        measured = run_arm(arm, self._workload(precision), folder, self.options.timeout)
        run = {"arm": name, "precision": precision, "repeat": repeat, **measured}
        if run["error"]:
            self.console.print((folder / "log.txt").read_text(errors="replace")[-3000:], markup=False, highlight=False)
            run["error"] = run["error"].replace(str(folder), "FOLDER")
        if name in ARMS:
            self.result["runs"].append(run)
        usage = run["usage"] or {"wall_seconds": 0, "cpu_seconds": 0}
        told = run["error"] or f"{usage['wall_seconds']:.1f} s, {usage['cpu_seconds']:.1f} CPU-s"
        self.console.print(f"{arm.summary} ({precision}, repeat {repeat}): {told}", highlight=False)
        self._write()
        return run, folder

    def _workload(self, precision: Precision) -> Workload:
        workload: Workload = self.options.workload
        return workload.model_copy(update={"precision": precision})

    def explain(self, precision: Precision) -> None:
        """Runs the breakdown of a tunefleet run and the correctness gate, once in that precision."""
        if "tunefleet" not in self.options.arms:
            return
        found = self.result["precisions"][precision]
        run, folder = self.measure("breakdown", BREAKDOWN, 0, precision)
        if run["error"] is None:
            found["breakdown"] = parts = breakdown(read_stamps(folder), run["usage"])
            runs = [run for run in self.result["runs"] if run["precision"] == precision]
            found["steady_state"] = summary.steady_state(runs, parts["cpu_between_reports"])
        if not self.options.no_gate:
            run, folder = self.measure("gate", GATE, 0, precision)
            if run["error"] is None:
                spread = json.loads((folder / gate_arm.SPREAD).read_text())
                self._gate(precision, run["trials"], spread)

    def _gate(self, precision: Precision, plain: list[dict[str, Any]], spread: dict[str, Any]) -> None:
        good = [run for run in self.result["runs"] if run["precision"] == precision and run["error"] is None]
        first = {run["arm"]: run["trials"] for run in reversed(good)}
        if "tunefleet" in first:
            peers = {arm: trials for arm, trials in first.items() if arm in summary.PEERS}
            found = summary.gate(first["tunefleet"], plain, first.get("limit", []), peers, spread["accuracies"])
            self.result["precisions"][precision]["gate"] = found | {"spread": spread}

    def _write(self) -> None:
        for precision, found in self.result["precisions"].items():
            tokens = found.get("breakdown", {}).get("tokens")
            found["summary"] = summary.summarise(self.result["runs"], self._workload(precision), tokens)
        out = self.options.out
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = out.with_suffix(".part")
        beside.write_text(json.dumps(self.result, indent=1) + "\n")
        beside.replace(out)

    def close(self) -> None:
        """Prints and writes the result, and removes the folders."""
        self._write()
        print_session(self.result, self.console)
        if not self.options.keep:
            shutil.rmtree(self.folder, ignore_errors=True)


def _parse(argv: list[str]) -> argparse.Namespace:
    fields = Workload.model_fields
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__)

    def add(name: str, **how: Any) -> None:
        field = fields[name]
        told = f"{field.description or ''} (default: %(default)s)".strip()
        parser.add_argument(f"--{name.replace('_', '-')}", default=field.default, help=told, **how)

    for name in ("trials", "slots", "rows", "validation_rows", "batch_size", "max_length", "seed"):
        add(name, type=int)
    add("epochs", type=int)
    add("device", choices=("cpu", "cuda"))
    add("task")
    add("model")
    parser.add_argument("--data", default=default_data(), help="the task's local files (default: RTE, TUNEFLEET_DATA)")
    parser.add_argument("--text", nargs="+", help="text columns, where the task does not know them")
    parser.add_argument("--label", help="label column, where the task does not know it")
    parser.add_argument("--precision", help="of all arms: fp32, bf16 or fp32,bf16 (default: fp32; on a GPU bf16)")
    parser.add_argument("--repeats", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--arms", default=",".join(ARMS), help="default: %(default)s")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds for one run (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/throughput.json"), help="JSON and PNG")
    parser.add_argument("--folder", default="/tmp", help="for what the arms write; a short path (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="keep the arms' folders and logs")
    parser.add_argument("--no-gate", action="store_true", help="leave the correctness gate out")
    parser.add_argument("--no-plot", action="store_true", help="leave the plot out; it needs matplotlib")
    options = parser.parse_args(argv)
    options.arms = options.arms.split(",")
    if unknown := [name for name in options.arms if name not in ARMS]:
        parser.error(f"--arms: {unknown[0]!r} is none of {', '.join(ARMS)}")
    precisions = (options.precision or ("fp32" if options.device == "cpu" else "bf16")).split(",")
    if unknown := [name for name in precisions if name not in get_args(Precision)]:
        parser.error(f"--precision: {unknown[0]!r} is none of {', '.join(get_args(Precision))}")
    if options.repeats < 1:
        parser.error(f"--repeats: {options.repeats}: must be at least 1")
    if not options.no_plot and importlib.util.find_spec("matplotlib") is None:  # told before hours of measuring
        parser.error("the plot needs matplotlib: pip install 'tunefleet[benchmarks]', or add --no-plot")
    options.text = tuple(options.text) if options.text else None
    sizes = {name: getattr(options, name) for name in fields if name != "precision" and hasattr(options, name)}
    options.workload, options.precision = Workload(**sizes), list(dict.fromkeys(precisions))
    return options


if __name__ == "__main__":
    sys.exit(main())
