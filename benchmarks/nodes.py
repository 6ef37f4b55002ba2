"""Loses nodes in the middle of a study: `python -m benchmarks.nodes`.

Three nodes on this machine, 4 logical GPUs each, and one study of 60 closed-form trials over all of them. In the middle
one worker is killed, later the other is cut off from the network, silently. Where this process may make namespaces the
workers have a host name and a shared memory of their own, and the one that is cut off is behind its own network
interface; elsewhere it is stopped (SIGSTOP). What came of every trial is read from the study store.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.machine import machine
from cluster.nodes.start import HEALTH
from tests.support.raylets import Cable, RayNode, cables_are_permitted, can_disguise, ray_nodes

if TYPE_CHECKING:
    from tuning.outcome import StudyOutcome

GPUS = 4  # of each node, logical
STRATEGIES: dict[str, dict[str, Any]] = {
    "grid": {"kind": "grid", "points": 60},
    "hyperopt_asha": {"kind": "hyperopt_asha", "trials": 60},
    "pbt": {"kind": "pbt", "population": 60},
}


def main(argv: list[str] | None = None) -> int:
    """Runs the study; exit status 1 if a trial has failed or not ended."""
    given = sys.argv[1:] if argv is None else argv
    options = _parse(given)
    disguised, cabled = can_disguise(), not options.stop and cables_are_permitted()
    result: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "benchmarks.nodes", *given]),
        "machine": machine(),
        "nodes": f"3 x {GPUS} logical GPUs; " + ("own host names and shared memories" if disguised else "raylets only"),
        "cut_off_by": "its network interface" if cabled else "SIGSTOP",
        "health_check": " ".join(options.health) or "Ray's defaults",
    }
    with tempfile.TemporaryDirectory(prefix="tfn", dir="/tmp", ignore_cleanup_errors=True) as folder:
        result |= measure(options, Path(folder), disguised=disguised, cabled=cabled)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    return 0 if result["states"].keys() <= {"completed", "stopped"} and result["status"] == 0 else 1


def measure(options: argparse.Namespace, folder: Path, *, disguised: bool, cabled: bool) -> dict[str, Any]:
    """Measures one study with two losses."""
    from tuning import load_spec
    from tuning.store.study_store import StudyStore

    health = {name: value for name, _, value in (entry.partition("=") for entry in options.health)}
    cable = Cable.between(os.getpid()) if cabled else None
    try:
        with ray_nodes(folder, disguised=disguised, HOME=str(folder), **health) as nodes:
            if cable:
                nodes.address = cable.here
            head = nodes.start("head", cpus=GPUS, gpus=GPUS)
            first = nodes.start("first", cpus=GPUS, gpus=GPUS)
            second = nodes.start("second", cpus=GPUS, gpus=GPUS, cable=cable)
            spec = folder / "spec.yaml"
            spec.write_text(json.dumps(experiment(options, head, folder)))
            losses, status = _run(spec, options, folder, first, second, cable)
            loaded = load_spec(spec)
            (study,) = StudyStore(loaded.store_url).load(loaded.name).studies
    finally:
        if cable:
            cable.remove()
    return {"status": status, "strategy": options.strategy, **summary(study, losses, options.seconds)}


def experiment(options: argparse.Namespace, head: RayNode, folder: Path) -> dict[str, Any]:
    """Returns an experiment of 60 trials, each with a durable state per epoch."""
    return {
        "name": "nodes",
        "trainable": "learning_curve",
        "task": "reviews",
        "epochs": options.epochs,
        "space": {"learning_rate": {"loguniform": [1e-5, 1e-2]}},
        "fixed": {"model.seconds_per_epoch": options.seconds},
        "strategies": [STRATEGIES[options.strategy]],
        "checkpoint": {"every_epochs": 1},
        "cluster": {"storage": str(folder / "runs"), "address": head.address, "allow_unauthenticated": True},
        "test": False,
        "wandb": {"mode": "disabled"},
    }


def _run(
    spec: Path, options: argparse.Namespace, folder: Path, first: RayNode, second: RayNode, cable: Cable | None
) -> tuple[dict[str, float], int]:
    """Returns when each node was lost (seconds since 1970), and the command's exit status."""
    command = [sys.executable, "-m", "tuning.cli", "run", str(spec)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}
    environment = {**kept, "HOME": str(folder), "RAY_AUTH_MODE": "disabled"}
    losses: dict[str, float] = {}
    reports = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            reports += " epoch " in line and " trial " in line
            if "killed" not in losses and reports >= options.kill_after:
                losses["killed"] = time.time()
                first.kill()
            elif "cut_off" not in losses and reports >= options.cut_after:
                losses["cut_off"] = time.time()
                if cable:
                    cable.cut()
                else:
                    second.signal(signal.SIGSTOP)
    return losses, process.returncode


def summary(study: StudyOutcome, losses: dict[str, float], seconds: float) -> dict[str, Any]:
    """Returns the figures: how the trials ended, and what each loss has cost them.

    Args:
        losses: when each node was lost, in seconds since 1970.
        seconds: that an epoch takes.
    """
    states = [trial.state.value for trial in study.trials]
    told: dict[str, Any] = {
        "trials": len(study.trials),
        "states": {state: states.count(state) for state in sorted(set(states))},
        "failures_counted": states.count("failed"),
        "wall_seconds": round(study.wall_seconds, 1),
        "slots_on_average": round((study.slot_seconds or 0.0) / study.wall_seconds, 2),
        "slots_used_on_average": round(sum(t.device_seconds for t in study.trials) / study.wall_seconds, 2),
    }
    moments = sorted(losses.items(), key=lambda item: item[1])
    for number, (name, moment) in enumerate(moments):
        until = moments[number + 1][1] if number + 1 < len(moments) else float("inf")
        lost = [loss for loss in study.node_losses if moment <= loss.time < until]
        trials = {trial.id: trial for trial in study.trials}
        again, repeated = [], []
        for loss in lost:
            new = [report for report in trials[loss.trial].reports if report.time >= loss.time]
            if new:  # its seconds begin with its process, and hold what was made again before it
                again.append(new[0].time - new[0].device_seconds - moment)
                made_again = new[0].device_seconds / seconds - (new[0].epoch - loss.epoch)
                repeated.append(loss.reported - loss.epoch + max(0.0, made_again))
        told[name] = {
            "trials": len(lost),
            "noticed_after_seconds": _spread([loss.time - moment for loss in lost]),
            "runs_again_after_seconds": _spread(again),
            "epochs_computed_again": _spread(repeated),
        }
    return told


def _spread(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {
        "low": round(min(values), 1), "median": round(statistics.median(values), 1), "high": round(max(values), 1)
    }  # fmt: skip


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nodes", description=__doc__)
    parser.add_argument("--strategy", choices=list(STRATEGIES), default="grid")
    parser.add_argument("--epochs", type=int, default=6, help="of each trial")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each epoch")
    parser.add_argument("--kill-after", type=int, default=60, help="reports")
    parser.add_argument("--cut-after", type=int, default=180, help="reports")
    parser.add_argument("--stop", action="store_true", help="cut off by SIGSTOP, even where an interface could be")
    ours = [f"{name}={value}" for name, value in HEALTH.items()]
    parser.add_argument("--health", nargs="*", default=ours, metavar="RAY_health_check_...=N", help="none: Ray's own")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/nodes.json"))
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
