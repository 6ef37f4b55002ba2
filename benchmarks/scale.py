"""Measures the driver, its memory and the study store with many trials on many logical slots.

    python -m benchmarks.scale

A trial of `learning_curve` computes for a microsecond and sleeps for the rest of its epoch, so what is measured is what
tunefleet and Ray need to hand out trials and to write down what they say. Each study runs in a driver of its own, which
is watched while it runs. `benchmarks/SCALE.md` takes the figures on to a thousand GPUs.
"""

from __future__ import annotations

import argparse
import bisect
import json
import os
import shlex
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import create_engine, make_url, text

from benchmarks.driver_watch import DriverWatch, Sample
from benchmarks.machine import machine

SPACE = {"learning_rate": {"loguniform": [1e-5, 1e-1]}}
RAY = {
    **{"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"},
}
COUNTS = {"grid": "points", "hyperopt_asha": "trials", "pbt": "population"}
STORE = "store"  # not a study: the store's writer alone
WRITES = 2000  # of the writer alone


def main(argv: list[str] | None = None) -> int:
    """Runs the requested measurements one after the other; exit status 1 if one has failed."""
    given = sys.argv[1:] if argv is None else argv
    options = _parse(given)
    result: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "benchmarks.scale", *_without_store(given)]),
        "database": make_url(options.store).get_backend_name() if options.store else "sqlite",
        "machine": machine(),
        "slots": options.slots,
        "studies": {},
    }
    for name in options.what:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as own_process:
            try:
                found = own_process.submit(write_alone if name == STORE else measure, name, options).result()
            except Exception as problem:  # the others go on
                found = {"error": f"{type(problem).__name__}: {problem}"}
        result[STORE if name == STORE else "studies"] = found if name == STORE else result["studies"] | {name: found}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    Console(width=None if sys.stdout.isatty() else 140).print(_table(result))
    return 1 if any("error" in study for study in (*result["studies"].values(), result.get(STORE, {}))) else 0


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Runs one study of `options.trials` trials, and watch this process.

    Returns:
        trials, reports, seconds of wall and of this process's CPU time, bytes of memory and of the store, the load of
        the machine before and after, and samples over time.
    """
    os.environ.update(RAY)
    os.environ.pop("TUNEFLEET_STORE", None)
    with tempfile.TemporaryDirectory(prefix="tfs-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        _start_ray(options.slots, folder)
        from tuning import load_spec, run_experiment

        if options.store:
            os.environ["TUNEFLEET_STORE"] = options.store
        spec = load_spec(experiment(name, options, Path(folder)))
        load, started, used = os.getloadavg()[0], time.monotonic(), time.process_time()
        with DriverWatch() as watch:
            outcome = run_experiment(spec, progress=False)
        wall, cpu = time.monotonic() - started, time.process_time() - used
        reports = sorted(report.time for study in outcome.studies for t in study.trials for report in t.reports)
        ended = [trial.state.value for study in outcome.studies for trial in study.trials]
        store = store_bytes(spec.store_url)
        files = [path.stat().st_size for path in spec.run_folder.rglob("*") if path.is_file()]
        _stop_ray()
    return {
        "trials": len(ended),
        "ended": {state: ended.count(state) for state in sorted(set(ended))},
        "reports": len(reports),
        "wall_seconds": wall,
        "driver_cpu_seconds": cpu,
        "driver_ms_per_report": 1000 * cpu / len(reports),
        "reports_per_second": len(reports) / wall,
        "store_bytes": store,
        "run_folder": {"files": len(files), "bytes": sum(files)},
        "load": [load, os.getloadavg()[0]],
        **watched(watch.samples, reports),
    }


def watched(samples: list[Sample], reports: list[float]) -> dict[str, Any]:
    """Summarises the samples of one study: memory, slots at work, and whether a report costs more in the end.

    Args:
        samples: over the whole run.
        reports: when each was made, seconds since 1970, ascending.
    """
    busy = [sample for sample in samples if reports[0] <= sample.clock <= reports[-1]]
    quarters = [busy[i * len(busy) // 4 : (i + 1) * len(busy) // 4 + 1] for i in range(4)]
    return {
        "first_report_seconds": reports[0] - samples[0].clock,
        "slots_at_work": max(sample.slots for sample in samples),
        "slots_bytes": max(sample.slot_bytes for sample in samples),
        "driver_bytes": {"start": samples[0].driver_bytes, "most": max(sample.driver_bytes for sample in samples)},
        "driver_ms_per_report_by_quarter": [_cpu_per_report(part, reports) for part in quarters],
        "samples": [
            {**sample._asdict(), "reports": bisect.bisect(reports, sample.clock)}
            for sample in samples[:: max(1, len(samples) // 50)]
        ],
    }


def _cpu_per_report(part: list[Sample], reports: list[float]) -> float | None:
    """Returns the milliseconds of the driver for each report that was made between the first and the last sample."""
    if len(part) < 2:
        return None
    made = bisect.bisect(reports, part[-1].clock) - bisect.bisect(reports, part[0].clock)
    return 1000 * (part[-1].cpu_seconds - part[0].cpu_seconds) / made if made else None


def store_bytes(url: str) -> int:
    """Returns the size of the database in bytes; for a server, of all that is in it."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        assert parsed.database
        return Path(parsed.database).stat().st_size
    engine = create_engine(parsed.set(drivername="postgresql+psycopg"))
    with engine.connect() as connection:
        return int(connection.execute(text("select pg_database_size(current_database())")).scalar_one())


def experiment(strategy: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Returns the experiment of one measured study; its name is new each time, as a server keeps its records."""
    return {
        "name": f"scale-{strategy}-{time.time_ns()}",
        "task": "reviews",
        "trainable": "learning_curve",
        "epochs": options.reports,
        "objective": {"metric": "accuracy", "mode": "max"},
        "space": SPACE,
        "fixed": {"model.seconds_per_epoch": options.seconds},
        "strategies": [{"kind": strategy, COUNTS[strategy]: options.trials}],
        "test": False,
        "wandb": {"mode": "disabled"},
        "cluster": {"storage": str(folder), "gpus_per_trial": 0, "max_concurrent": options.slots},
    }


def write_alone(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measures one transaction: reports through the store's writer and nothing else.

    Returns:
        milliseconds of wall and of this process's CPU time per report.
    """
    from trainables.reporting import Report
    from trainables.spec import Objective
    from tuning.store.study_store import StudyStore, sqlite_url

    with tempfile.TemporaryDirectory(prefix="tfs-", dir=options.out.parent) as folder:
        store = StudyStore(options.store or sqlite_url(Path(folder) / "study.db"))
        writer = store.open_study(
            experiment=f"scale-{name}-{time.time_ns()}", digest="none", strategy="grid", kind="grid", seed=0,
            objective=Objective(metric="accuracy", mode="max"), slots=1, devices_per_trial=1, device="CPU core",
            attributes={}, spec_yaml="epochs: 1\n",
        )  # fmt: skip
        writer.begin_trial("a", {"learning_rate": 0.1}, {})
        report = Report(0.0, {"accuracy": 0.5, "loss": 1.0}, {"learning_rate": 0.1}, 1.0, time.time())
        started, used = time.monotonic(), time.process_time()
        for epoch in range(1, WRITES + 1):
            writer.add_report("a", report._replace(epoch=float(epoch)))
        wall, cpu = time.monotonic() - started, time.process_time() - used
        store.close()
    return {"writes": WRITES, "wall_ms_per_report": 1000 * wall / WRITES, "cpu_ms_per_report": 1000 * cpu / WRITES}


def _start_ray(slots: int, folder: str) -> None:
    import ray

    ray.init(num_cpus=slots, include_dashboard=False, log_to_driver=False, logging_level="error", _temp_dir=folder)


def _stop_ray() -> None:
    import ray

    ray.shutdown(wait_for_processes=True)


def _table(result: dict[str, Any]) -> Table:
    columns = ("trials", "reports", "wall s", "reports/s", "driver CPU ms per report", "by quarter", "driver MiB")
    table = Table("study", *columns, "store MiB", title=f"{result['slots']} slots, {result['database']}")
    for name, study in result["studies"].items():
        if "error" in study:
            table.add_row(name, study["error"])
            continue
        memory = study["driver_bytes"]
        table.add_row(
            name,
            str(study["trials"]),
            str(study["reports"]),
            f"{study['wall_seconds']:.0f}",
            f"{study['reports_per_second']:.1f}",
            f"{study['driver_ms_per_report']:.2f}",
            " ".join("-" if ms is None else f"{ms:.1f}" for ms in study["driver_ms_per_report_by_quarter"]),
            f"{memory['start'] / 2**20:.0f} -> {memory['most'] / 2**20:.0f}",
            f"{study['store_bytes'] / 2**20:.1f}",
        )
    if alone := result.get(STORE):
        told = alone.get("error") or f"{alone['wall_ms_per_report']:.2f} ms, CPU {alone['cpu_ms_per_report']:.2f} ms"
        table.caption = f"one report through the store's writer alone: {told}"
    return table


def _without_store(argv: list[str]) -> list[str]:
    """Removes the URL of the store, which may hold a password."""
    return [arg for i, arg in enumerate(argv) if not arg.startswith("--store") and "--store" not in argv[i - 1 : i]]


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000, help="per study (default: %(default)s)")
    parser.add_argument("--reports", type=int, default=4, help="per trial at most (default: %(default)s)")
    parser.add_argument("--slots", type=int, default=64, help="logical, whatever the cores (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.5, help="that an epoch takes, asleep (default: %(default)s)")
    known = [*COUNTS, STORE]
    parser.add_argument(
        "--what", default="grid,hyperopt_asha,store", help=f"of {','.join(known)}; default: %(default)s"
    )
    parser.add_argument("--store", help="the URL of a server's store; default: SQLite in the run folder")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/scale.json"))
    options = parser.parse_args(argv)
    options.what = options.what.split(",")
    if unknown := [name for name in options.what if name not in known]:
        parser.error(f"--what: {unknown[0]!r} is none of {', '.join(known)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
