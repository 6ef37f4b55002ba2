"""Measures the driver on up to ten thousand slots, in virtual time: `python -m benchmarks.simulated_scale`.

The driver is the real one: controller, recorder and store, keeper of checkpoints, schedulers, searchers, snapshots.
Simulated are Ray and the trials, which only take their seconds (`tuning.testing.simulated_ray`). The CPU time of the
driver's main thread passes on the virtual clock, too, so a driver that cannot follow leaves slots idle. Not in it: what
Ray's own client costs the driver, and its threads.

An arm is named SLOTSxTRIALSxREPORTS@SECONDS, after the seconds that a trial takes on average. Its trials take between a
half and one and a half times as long, but those of a grid, which are all alike.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import resource
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from unittest import mock

from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine

COUNTS = {"grid": "points", "random": "trials", "random_asha": "trials", "hyperopt_asha": "trials"}
PARTS = 10  # of a run, whose costs are compared
START_SECONDS = 5.0  # of a process, all of them at once
HEARTBEAT_SECONDS = 600.0  # as those of a fine-tuning: the driver reads all heartbeats every five
TICK = 600.0  # virtual seconds that pass without an event at most
ARMS = "8x1000x10@0.2,64x10000x4@0.8,64x640x4@3600,256x1024x4@3600,1000x3000x4@3600,10000x15000x2@3600"
MEMORY = Path("/dev/shm")  # nobody waits for a disk


class Arm(NamedTuple):
    """Describes one study to measure: its slots, and its trials."""

    slots: int
    trials: int
    reports: int  # of a trial
    seconds: float  # that a trial takes on average

    @classmethod
    def parse(cls, text: str) -> Arm:
        """Reads an arm's name.

        Raises:
            ValueError: it is none.
        """
        found = re.fullmatch(r"(\d+)x(\d+)x(\d+)@(\d+(?:\.\d+)?)", text)
        if found is None or not all(map(float, found.groups())):
            raise ValueError(f"--arms: {text!r} is no SLOTSxTRIALSxREPORTS@SECONDS, such as 64x640x4@3600")
        slots, trials, reports, seconds = found.groups()
        return cls(int(slots), int(trials), int(reports), float(seconds))

    def __str__(self) -> str:
        return f"{self.slots}x{self.trials}x{self.reports}@{self.seconds:g}"


def main(argv: list[str] | None = None) -> int:
    """Runs the arms one after the other; exit status 1 if one has failed."""
    given = sys.argv[1:] if argv is None else argv
    options = _parse(given)
    command = shlex.join(["python", "-m", "benchmarks.simulated_scale", *given])
    result: dict[str, Any] = {"command": command, "machine": machine(), "arms": {}}
    for arm in options.arms:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as own_process:
            try:
                found = own_process.submit(measure, arm, options.strategy).result()
            except Exception as problem:  # the others go on
                found = {"error": f"{type(problem).__name__}: {problem}"}
        result["arms"][str(arm)] = {"strategy": options.strategy, **found}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    Console(width=None if sys.stdout.isatty() else 140).print(_table(result))
    return 1 if any("error" in arm for arm in result["arms"].values()) else 0


def measure(arm: Arm, strategy: str) -> dict[str, Any]:
    """Runs one study in virtual time, in this process.

    Returns:
        what the study was, milliseconds of the driver's CPU time per report (over all, and by parts of the run), those
        of HyperOpt per trial (they are part of the others), the share of time in which slots trained, and bytes: of
        memory, of the store, of the files of snapshots.
    """
    from tuning import load_spec, run_experiment
    from tuning.testing.simulated_ray import SimulatedNode, simulated_ray

    os.environ.pop("TUNEFLEET_STORE", None)
    before = _resident()
    with TemporaryDirectory(prefix="tfs-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        spec = load_spec(experiment(arm, strategy, folder))
        node = SimulatedNode(cpus=arm.slots)
        with simulated_ray(node, start_seconds=START_SECONDS, tick=TICK, driver_time=True) as ray:
            del os.environ["TUNE_GLOBAL_CHECKPOINT_S"]  # snapshots as in a real run, not at each event
            costs: list[float] = []
            ray.after(lambda actor, method, value: costs.append(ray.driver_seconds) if method == "train" else None)
            with _hyperopt_time() as hyperopt:
                (study,) = run_experiment(spec, progress=False).studies
        snapshots = [path for path in spec.run_folder.glob("studies/*/snapshots/*") if path.is_file()]
        store = spec.run_folder / "study.db"
        return {
            "trials": len(study.trials),
            "reports": len(costs),
            "virtual_seconds": ray.seconds,
            "driver_cpu_seconds": ray.driver_seconds,
            "driver_ms_per_report": 1000 * ray.driver_seconds / len(costs),
            "driver_ms_per_report_by_part": by_parts(costs),
            "hyperopt_ms_per_trial": 1000 * sum(hyperopt) / len(study.trials),
            "slots_busy": slots_busy(study.trials, arm.slots),
            "driver_bytes": {"before": before, "most": _resident()},
            "store_bytes": store.stat().st_size,
            "snapshot_bytes": max(snapshots, key=lambda path: path.name).stat().st_size,
            "ended_bytes": sum(path.stat().st_size for path in snapshots if path.name.startswith("ended")),
        }


def experiment(arm: Arm, strategy: str, folder: str) -> dict[str, Any]:
    """Returns the experiment of one arm."""
    epoch, seconds = arm.seconds / arm.reports, "model.seconds_per_epoch"
    space: dict[str, Any] = {"learning_rate": {"loguniform": [1e-5, 1e-1]}}
    varied = {} if strategy == "grid" else {seconds: {"uniform": [0.5 * epoch, 1.5 * epoch]}}
    return {
        "name": "scale",
        "task": "reviews",
        "trainable": "learning_curve",
        "epochs": arm.reports,
        "objective": {"metric": "accuracy", "mode": "max"},
        "space": space | varied,
        "fixed": {} if varied else {seconds: epoch},
        "strategies": [{"kind": strategy, COUNTS[strategy]: arm.trials}],
        "test": False,
        "wandb": {"mode": "disabled"},
        "cluster": {
            "storage": folder,
            "gpus_per_trial": 0,
            "max_concurrent": arm.slots,
            "heartbeat_seconds": HEARTBEAT_SECONDS,
        },
    }


@contextlib.contextmanager
def _hyperopt_time() -> Iterator[list[float]]:
    """Yields the CPU seconds that HyperOpt takes in the block for its proposals, and to hear of ended trials."""
    from ray.tune.search.hyperopt import HyperOptSearch

    spent: list[float] = []

    def timed(method: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **options: Any) -> Any:
            began = time.thread_time()
            try:
                return method(*arguments, **options)
            finally:
                spent.append(time.thread_time() - began)

        return called

    with contextlib.ExitStack() as stack:
        for name in ("suggest", "on_trial_complete"):
            stack.enter_context(mock.patch.object(HyperOptSearch, name, timed(getattr(HyperOptSearch, name))))
        yield spent


def by_parts(costs: list[float]) -> list[float]:
    """Returns the milliseconds per report in each part of a run.

    Args:
        costs: CPU seconds of the driver until each report.
    """
    places = [number * len(costs) // PARTS for number in range(PARTS + 1)]
    until = [0.0, *costs]
    return [1000 * (until[end] - until[begin]) / (end - begin) for begin, end in pairwise(places) if end > begin]


def slots_busy(trials: Any, slots: int) -> float:
    """Returns the share of time in which slots trained, from the first step until the last trial's start.

    Args:
        trials: outcomes; each report has its time and the seconds that it took.
        slots: of the study.
    """
    spans = [[(report.time - report.device_seconds, report.time) for report in trial.reports] for trial in trials]
    first, last = min(one[0][0] for one in spans), max(one[0][0] for one in spans)
    trained = sum(max(0.0, min(end, last) - begin) for one in spans for begin, end in one)
    return float(trained / (slots * (last - first)))


def _resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _table(result: dict[str, Any]) -> Table:
    columns = ("reports", "driver CPU ms per report", "by part", "slots busy", "driver MiB", "store MiB")
    table = Table("arm", *columns, "snapshot, ended MiB")
    for name, arm in result["arms"].items():
        if "error" in arm:
            table.add_row(name, arm["error"])
            continue
        memory = arm["driver_bytes"]
        table.add_row(
            name,
            str(arm["reports"]),
            f"{arm['driver_ms_per_report']:.2f}",
            " ".join(f"{ms:.1f}" for ms in arm["driver_ms_per_report_by_part"]),
            f"{arm['slots_busy']:.3f}",
            f"{memory['before'] / 2**20:.0f} -> {memory['most'] / 2**20:.0f}",
            f"{arm['store_bytes'] / 2**20:.1f}",
            f"{arm['snapshot_bytes'] / 2**20:.2f}, {arm['ended_bytes'] / 2**20:.1f}",
        )
    return table


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulated_scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--arms", default=ARMS, help="default: %(default)s")
    parser.add_argument("--strategy", default="random", choices=[*COUNTS], help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/simulated_scale.json"))
    options = parser.parse_args(argv)
    try:
        options.arms = [Arm.parse(text) for text in options.arms.split(",")]
    except ValueError as mistake:
        parser.error(str(mistake))
    return options


if __name__ == "__main__":
    sys.exit(main())
