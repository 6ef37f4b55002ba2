"""Runs arms one after the other, each in a fresh tree of processes and a fresh folder, and keeps their results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.process_tree import GRACE
from benchmarks.throughput import arms
from benchmarks.throughput.arms import limit, tunefleet
from benchmarks.throughput.breakdown import FOLDER_VARIABLE
from benchmarks.workload import Workload

ROOT = Path(__file__).parents[2]
# Settings of the shell that would make one tool behave otherwise than by itself.
CLEARED = ("RAY_", "TUNE_", "TUNEFLEET_STORE", "OMP_", "MKL_", "WANDB_")
# No arm tells Ray's makers about itself; and Ray, started without tunefleet, would leave a token in the home folder.
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "HF_HUB_DISABLE_TELEMETRY": "1"}
PEER_SETTINGS = {"RAY_AUTH_MODE": "disabled"}


@dataclass(frozen=True)
class Arm:
    """One way to run the list."""

    summary: str
    command: tuple[str, ...]
    before: Callable[[Path], None] = lambda folder: None  # not measured
    after: Callable[[Path], None] = lambda folder: None  # not measured
    settings: Mapping[str, str] | None = None


def _program(name: str, *variant: str) -> tuple[str, ...]:
    return (sys.executable, "-m", f"benchmarks.throughput.arms.{name}", "{folder}", *variant)


RUN = (str(Path(sys.executable).parent / "tunefleet"), "run", tunefleet.SPEC)

ARMS: Mapping[str, Arm] = {
    "limit": Arm("a warm loop in plain PyTorch, one process per slot", _program("limit"), settings=PEER_SETTINGS),
    "ray": Arm(
        'hyperparameter_search(backend="ray") as documented', _program("ray", "documented"), settings=PEER_SETTINGS
    ),
    "ray_expert": Arm("the same: length groups, no checkpoint", _program("ray", "expert"), settings=PEER_SETTINGS),
    "optuna": Arm('hyperparameter_search(backend="optuna")', _program("optuna"), settings=PEER_SETTINGS),
    "ray_function": Arm("a plain Ray Tune function", _program("ray_function"), settings=PEER_SETTINGS),
    "drop_in": Arm(
        "the first one's Trainer in tunefleet.hyperparameter_search", _program("drop_in", "documented"), settings={}
    ),
    "drop_in_expert": Arm("the same: length groups", _program("drop_in", "expert"), settings={}),
    "tunefleet": Arm(
        "tunefleet run", RUN, lambda folder: tunefleet.write_spec(folder, timed=False), tunefleet.collect, {}
    ),
}
# Once per session, not part of the comparison.
BREAKDOWN = Arm(
    "tunefleet run with stamps", RUN, lambda folder: tunefleet.write_spec(folder, timed=True), tunefleet.collect, {}
)
GATE = Arm("plain Trainer with tunefleet's order of rows", _program("gate"), settings=PEER_SETTINGS)


def run_arm(arm: Arm, workload: Workload, folder: Path, timeout: float) -> dict[str, Any]:
    """Runs the list once.

    Args:
        folder: new; its path must be short (Ray puts sockets below it).
        timeout: seconds until the arm is stopped.

    Returns:
        `usage` (see `process_tree.Usage`), `trials` (see `TrialRecord`), `bytes_left` (what its folder holds at the
        end), `loop` (the limit's own time), and `error`: None, or why the figures must not be used.
    """
    folder.mkdir(parents=True)
    (folder / arms.WORKLOAD).write_text(workload.model_dump_json())
    arm.before(folder)
    usage, error = _measure([part.format(folder=folder) for part in arm.command], arm, folder, timeout)
    if error is None:
        try:
            arm.after(folder)
        except Exception as problem:  # whatever it is, the other arms go on
            error = f"its results cannot be read: {type(problem).__name__}: {problem}"
    trials = arms.read(folder)
    if error is None and [trial.learning_rate for trial in trials] != workload.learning_rates:
        error = f"{len(trials)} of {workload.trials} trials came to an end"
    loop = folder / limit.LOOP
    return {
        "usage": usage,
        "trials": [trial.model_dump(exclude_none=True) for trial in trials],
        "bytes_left": sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()),
        "loop": json.loads(loop.read_text()) if loop.exists() else None,
        "error": error,
    }


def _measure(command: list[str], arm: Arm, folder: Path, timeout: float) -> tuple[dict[str, Any] | None, str | None]:
    result, log = folder / "usage.json", folder / "log.txt"
    supervisor = [sys.executable, "-m", "benchmarks.process_tree", str(result), *command]
    with log.open("w") as output:
        process = subprocess.Popen(
            supervisor, cwd=folder, env=_environment(arm, folder), stdout=output, stderr=subprocess.STDOUT
        )
        try:
            process.wait(timeout)
            error = None
        except subprocess.TimeoutExpired:
            process.terminate()  # the supervisor hands it on
            process.wait(GRACE * 3)
            error = f"stopped after {timeout:g} s"
    usage = json.loads(result.read_text()) if result.exists() else None
    if error is None and process.returncode:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        error = f"exit status {process.returncode}: {lines[-1] if lines else 'no output'}"
    return usage, error


def _environment(arm: Arm, folder: Path) -> dict[str, str]:
    """Returns the shell's environment without settings of the tools, and with new caches for each arm."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(CLEARED)}
    own = {"TMPDIR": "tmp", "TUNEFLEET_CACHE": "cache", "HF_DATASETS_CACHE": "datasets", FOLDER_VARIABLE: ""}
    for name in own.values():
        (folder / name).mkdir(exist_ok=True)
    fresh = {name: str(folder / value) for name, value in own.items()}
    if arm.settings:
        fresh["RAY_TMPDIR"] = str(folder / "tmp")
    return kept | fresh | SETTINGS | dict(arm.settings or {}) | {"PYTHONPATH": str(ROOT)}
