"""Runs the same list of trials on one GPU, 1, 2, 4, 8 at a time, with and without MPS: `python -m benchmarks.packing`.

Each run is the command itself, `tunefleet run`, in fresh processes and a fresh folder; the order rotates from repeat to
repeat. The arm `auto` lets the program measure and choose. What each run said of how it shared the device is kept with
its figures: a run "with MPS" on a machine that permits none is one without, and says so.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine
from benchmarks.throughput.arms import tunefleet, workload_in
from benchmarks.throughput.session import RUN, Arm, run_arm
from benchmarks.throughput.summary import spread
from benchmarks.workload import Workload, default_data

AUTO = "auto"
COLUMNS = ("trials per GPU", "wall s", "study s", "trials/GPU-h", "x one per GPU", "how")


def main(argv: list[str] | None = None) -> int:
    """Runs all arms; exit status 1 if one has failed, 2 without a GPU."""
    options = _parse(sys.argv[1:] if argv is None else argv)
    on = machine()
    if on["device"] is None:
        print(
            "benchmarks.packing: packs trials on a GPU, and torch finds no CUDA device on this machine", file=sys.stderr
        )
        return 2
    arms = arms_of(options.per_gpu)
    result: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "benchmarks.packing", *(sys.argv[1:] if argv is None else argv)]),
        "machine": on,
        "workload": options.workload.model_dump(exclude={"data", "slots"}),
        "runs": [],
    }
    folder = Path(tempfile.mkdtemp(prefix="tfp-", dir=options.folder))
    try:
        for repeat in range(options.repeats):
            shift = repeat % len(arms)
            for number, (count, mps) in enumerate(arms[shift:] + arms[:shift]):
                run = _run(count, mps, options, folder / f"{repeat}-{number}")
                result["runs"].append(run | {"repeat": repeat})
                result["summary"] = summarise(result["runs"], options.workload.trials)
                options.out.parent.mkdir(parents=True, exist_ok=True)
                options.out.write_text(json.dumps(result, indent=1) + "\n")
                print(run["trials_per_gpu"], "MPS" if mps else "no MPS", run["error"] or run["how"], flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    Console(width=None if sys.stdout.isatty() else 150).print(table(result["summary"]))
    return 1 if any(run["error"] for run in result["runs"]) else 0


def arms_of(per_gpu: Sequence[int]) -> list[tuple[int | str, bool]]:
    """Returns the arms: trials per GPU, with MPS or not. One trial per GPU shares nothing; users choose `auto`."""
    shared = [(count, mps) for count in per_gpu if count > 1 for mps in (False, True)]
    return [(1, True), *shared, (AUTO, True)]


def experiment(workload: Workload, count: int | str, mps: bool, storage: Path) -> dict[str, Any]:
    """Returns the list as an experiment with `count` trials on each GPU."""
    raw = workload.experiment(tunefleet.NAME, storage)
    share = AUTO if count == AUTO else 1 / int(count)
    raw["cluster"] |= {"gpus_per_trial": share, "mps": mps, "max_concurrent": None if count == AUTO else int(count)}
    return raw


def _run(count: int | str, mps: bool, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    slots = 1 if count == AUTO else int(count)
    workload = options.workload.model_copy(update={"slots": slots})

    def write_spec(folder: Path) -> None:
        raw = experiment(workload_in(folder), count, mps, folder / "runs")
        (folder / tunefleet.SPEC).write_text(json.dumps(raw, indent=1))

    arm = Arm(f"{count} per GPU", RUN, write_spec, tunefleet.collect, {})
    run = run_arm(arm, workload, folder, options.timeout)
    log = (folder / "log.txt").read_text(errors="replace")
    if run["error"]:
        print(log[-3000:], file=sys.stderr)
    return {
        "trials_per_gpu": count,
        "mps": mps,
        "how": shared_how(log),
        "wall_seconds": run["usage"] and run["usage"]["wall_seconds"],
        "study_seconds": None if run["error"] else _study_seconds(folder),
        "error": run["error"] and run["error"].replace(str(folder), "FOLDER"),
    }


def shared_how(log: str) -> str:
    """Returns how the run's header describes the sharing; without that, each trial has its own GPU."""
    header = next((line for line in log.splitlines() if " at a time, " in line), "")
    return next((part for part in header.split("; ") if " per GPU (" in part), "one trial per GPU")


def _study_seconds(folder: Path) -> float:
    """Returns the seconds of the study, without the start of Ray and the measured trial of `auto`."""
    from tuning.spec.loading import load_spec
    from tuning.store.study_store import StudyStore

    return StudyStore(load_spec(folder / tunefleet.SPEC).store_url).load(tunefleet.NAME).study("grid", 0).wall_seconds


def summarise(runs: Sequence[dict[str, Any]], trials: int) -> list[dict[str, Any]]:
    """Returns one row per arm over its finished repeats: median, range, and the speed relative to one trial per GPU."""
    arms = list(dict.fromkeys((run["trials_per_gpu"], run["mps"]) for run in runs))
    rows = []
    for count, mps in arms:
        own = [run for run in runs if (run["trials_per_gpu"], run["mps"]) == (count, mps) and run["error"] is None]
        walls = [run["wall_seconds"] for run in own]
        rows.append(
            {
                "trials_per_gpu": count,
                "mps": mps,
                "how": own[0]["how"] if own else "failed",
                "wall_seconds": spread(walls),
                "study_seconds": spread([run["study_seconds"] for run in own]),
                "trials_per_gpu_hour": spread([trials * 3600 / wall for wall in walls]),
                "gain": spread([alone["wall_seconds"] / run["wall_seconds"] for alone, run in _pairs(runs, own)]),
            }
        )
    return rows


def _pairs(
    runs: Sequence[dict[str, Any]], own: Sequence[dict[str, Any]]
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Pairs each run with the one of its repeat that had one trial per GPU."""
    alone = {run["repeat"]: run for run in runs if run["trials_per_gpu"] == 1 and run["error"] is None}
    return [(alone[run["repeat"]], run) for run in own if run["repeat"] in alone]


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """Returns the table that is printed."""
    drawn = Table(*COLUMNS, caption="median \\[range] over repeats; wall: start-up counted, measured trial of auto too")
    for row in rows:
        figures = (row["wall_seconds"], row["study_seconds"], row["trials_per_gpu_hour"], row["gain"])
        drawn.add_row(str(row["trials_per_gpu"]), *map(_range, figures), row["how"])
    return drawn


def _range(figures: dict[str, float] | None) -> str:
    if figures is None:
        return ""
    return f"{figures['median']:.4g} \\[{figures['low']:.4g}, {figures['high']:.4g}]"


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.packing", description=__doc__)
    for name, default in (("trials", 32), ("rows", 512), ("validation-rows", 249), ("batch-size", 16), ("epochs", 1)):
        parser.add_argument(f"--{name}", type=int, default=default, help="default: %(default)s")
    parser.add_argument("--model", default="minilm", help="default: %(default)s")
    parser.add_argument("--data", default=default_data(), help="RTE's local files (default: below TUNEFLEET_DATA)")
    parser.add_argument("--per-gpu", type=int, nargs="+", default=[1, 2, 4, 8], help="default: 1 2 4 8")
    parser.add_argument("--repeats", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds for one run (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results/packing.json"), help="default: %(default)s"
    )
    parser.add_argument("--folder", default="/tmp", help="for what the runs write; a short path (default: %(default)s)")
    options = parser.parse_args(argv)
    sizes = {name: getattr(options, name) for name in Workload.model_fields if hasattr(options, name)}
    options.workload = Workload(device="cuda", **sizes)
    return options


if __name__ == "__main__":
    sys.exit(main())
