"""Measures the driver's cost per report with many closed-form trials: `python -m benchmarks.controller`.

A trial of `learning_curve` computes for a microsecond, so what a study takes is tunefleet and Ray Tune. The peer is
Tune alone: the same trials without recorder, checkpoints or a strategy of ours.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine

SPACE = {"learning_rate": {"loguniform": [1e-5, 1e-1]}}
SIZED_BY = ("points", "population", "trials")  # what a strategy calls the number of its trials
TUNE = "tune"  # the peer
TARGET = 10.0  # milliseconds per report


def main(argv: list[str] | None = None) -> int:
    """Runs the studies one after the other; exit status 1 if one has failed."""
    given = sys.argv[1:] if argv is None else argv
    options = _parse(given)
    result: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "benchmarks.controller", *given]),
        "machine": machine(),
        "slots": options.slots,
        "studies": {},
    }
    os.environ.update({"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"})
    with tempfile.TemporaryDirectory(prefix="tfb-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        _start_ray(options.slots, folder)
        for name in options.strategies:
            try:
                result["studies"][name] = measure(name, options, Path(folder))
            except Exception as problem:  # the others go on
                result["studies"][name] = {"error": f"{type(problem).__name__}: {problem}"}
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(result, indent=1) + "\n")
        _stop_ray()
    Console(width=None if sys.stdout.isatty() else 120).print(_table(result))
    return 1 if any("error" in study for study in result["studies"].values()) else 0


def measure(name: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Runs one study.

    Returns:
        trials, reports, wall and CPU seconds of the driver (this process), and both per report in milliseconds.
    """
    run = _tune_alone if name == TUNE else _tunefleet
    started, used = time.monotonic(), time.process_time()
    reports = run(name, options, folder)
    wall, cpu = time.monotonic() - started, time.process_time() - used
    return {
        "trials": options.trials,
        "reports": reports,
        "wall_seconds": wall,
        "driver_cpu_seconds": cpu,
        "wall_ms_per_report": 1000 * wall / reports,
        "driver_ms_per_report": 1000 * cpu / reports,
    }


def experiment(name: str, strategy: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Returns the experiment of one measured study."""
    return {
        "name": name,
        "task": "reviews",
        "trainable": "learning_curve",
        "epochs": options.reports,
        "objective": {"metric": "accuracy", "mode": "max"},
        "space": SPACE,
        "strategies": [sized(strategy, options.trials)],
        "test": False,
        "wandb": {"mode": "disabled"},
        "cluster": {"storage": str(folder), "gpus_per_trial": 0, "max_concurrent": options.slots},
    }


def sized(kind: str, trials: int) -> dict[str, Any]:
    """Returns the strategy with `trials` trials, by its only field that counts them."""
    from tuning.strategies import find_strategies

    (field,) = (name for name in SIZED_BY if name in find_strategies()[kind].model_fields)
    return {"kind": kind, field: trials}


def _tunefleet(name: str, options: argparse.Namespace, folder: Path) -> int:
    from tuning import load_spec, run_experiment

    outcome = run_experiment(load_spec(experiment(f"controller-{name}", name, options, folder)), progress=False)
    return sum(len(trial.reports) for study in outcome.studies for trial in study.trials)


def _tune_alone(name: str, options: argparse.Namespace, folder: Path) -> int:
    """Runs the grid's trials under `tune.run`, with Tune's own settings but for its output and its result files."""
    from ray import tune

    from trainables.worker.slot import make_trainable
    from tuning import load_spec
    from tuning.tune_compat.settings import tune_settings

    spec = load_spec(experiment(name, "grid", options, folder))
    rates = [config["learning_rate"] for config in spec.space.grid(options.trials)]
    with tune_settings():
        analysis = tune.run(
            make_trainable(spec.trial_spec(0), devices=1),
            config={"learning_rate": tune.grid_search(rates)},
            resources_per_trial={"cpu": 1},
            reuse_actors=True,
            storage_path=str(folder / "tune"),
            verbose=0,
        )
    return sum(int(trial.last_result["training_iteration"]) for trial in analysis.trials)


def _start_ray(slots: int, folder: str) -> None:
    import ray

    ray.init(num_cpus=slots, include_dashboard=False, log_to_driver=False, logging_level="error", _temp_dir=folder)


def _stop_ray() -> None:
    import ray

    ray.shutdown(wait_for_processes=True)


def _table(result: dict[str, Any]) -> Table:
    table = Table("study", "trials", "reports", "wall s", "ms per report", "driver CPU ms per report")
    for name, study in result["studies"].items():
        if "error" in study:
            table.add_row(name, study["error"])
            continue
        wall, cpu = study["wall_ms_per_report"], study["driver_ms_per_report"]
        counts = (str(study["trials"]), str(study["reports"]), f"{study['wall_seconds']:.1f}")
        table.add_row(name, *counts, f"{wall:.2f}", f"{cpu:.2f}")
    return table


def _parse(argv: list[str]) -> argparse.Namespace:
    from tuning.strategies import find_strategies

    parser = argparse.ArgumentParser(prog="python -m benchmarks.controller", description=__doc__)
    parser.add_argument("--trials", type=int, default=1000, help="per study (default: %(default)s)")
    parser.add_argument("--reports", type=int, default=10, help="per trial at most (default: %(default)s)")
    parser.add_argument("--slots", type=int, default=8, help="logical, whatever the cores (default: %(default)s)")
    parser.add_argument("--strategies", default=f"{TUNE},grid,hyperopt_asha,pbt", help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/controller.json"))
    options = parser.parse_args(argv)
    options.strategies = options.strategies.split(",")
    known = [TUNE, *(kind for kind, strategy in find_strategies().items() if strategy.searches)]
    if unknown := [name for name in options.strategies if name not in known]:
        parser.error(f"--strategies: {unknown[0]!r} is none of {', '.join(known)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
