"""Follows the experiment's spec from the command to the first trial: a small experiment in simulated Ray, traced.

    python spec_path.py FILE    # what `trace_spec` runs, in the folder of the experiment and with a checkout's packages

It is run as a file, by path: that checkout may be an older one, without this module.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

PACKAGES = ("cluster", "trainables", "tuning")
SPEC_CLASS = "ExperimentSpec"
# An experiment in closed form, run by the command from its first line to its first trial.
EXPERIMENT = """\
name: measured
trainable: learning_curve
task: reviews
epochs: 2
space: {learning_rate: {loguniform: [1e-4, 1e-2]}}
strategies: [{kind: random, trials: 2}]
"""


@dataclass(frozen=True)
class SpecPath:
    """The path of the experiment's spec, as an argument, from the command to the first trial."""

    modules: tuple[str, ...]  # in order of first entry
    upward: int  # calls that pass it back to a module that it entered before the caller's
    reentries: int  # calls that pass it from one module to another that it has been in before


def trace_spec(checkout: Path) -> SpecPath:
    """Runs `EXPERIMENT` from `checkout` in simulated Ray, in a process of its own, and follows the spec.

    Raises:
        subprocess.CalledProcessError: the experiment does not run there; standard error tells why.
    """
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "experiment.yaml").write_text(EXPERIMENT)
        paths = os.pathsep.join(map(str, (checkout, checkout / "tuning" / "api")))
        command = [sys.executable, str(Path(__file__).resolve()), "traced.json"]
        environment = {**os.environ, "PYTHONPATH": paths, "TUNEFLEET_STORE": "", "WANDB_MODE": "disabled"}
        subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)
        traced = json.loads((Path(folder) / "traced.json").read_text())
    return SpecPath(tuple(traced["modules"]), traced["upward"], traced["reentries"])


class SpecTracer:
    """A profile function that follows arguments of the spec's class through the product's modules.

    Attributes:
        done: true once the first trial has begun; later calls are not followed.
    """

    def __init__(self) -> None:
        self.modules: list[str] = []
        self.upward, self.reentries, self.done = 0, 0, False

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        """Called by the interpreter for each call and return in its thread."""
        if self.done or event != "call":
            return
        module = frame.f_globals.get("__name__", "")
        if module == "trainables.learning_curve" and frame.f_code.co_name == "advance":
            self.done = True
        if _is_product(module) and frame.f_code.co_name[0] != "<" and _takes_spec(frame):
            self._enter(module, frame)

    def _enter(self, module: str, frame: FrameType) -> None:
        caller = next((name for name in _callers(frame) if name in self.modules), None)
        if module not in self.modules:
            self.modules.append(module)
        elif caller is not None and caller != module:
            self.reentries += 1
            self.upward += self.modules.index(module) < self.modules.index(caller)

    def result(self) -> SpecPath:
        """Returns what was followed so far."""
        return SpecPath(tuple(self.modules), self.upward, self.reentries)


def _is_product(module: str) -> bool:
    return module.partition(".")[0] in PACKAGES and not module.startswith("tuning.testing")


def _takes_spec(frame: FrameType) -> bool:
    """True if an argument of the call is the spec; the spec's own methods do not count."""
    code = frame.f_code
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    holders = [name for name in names if type(frame.f_locals.get(name)).__name__ == SPEC_CLASS]
    return bool(holders) and holders[0] != "self"


def _callers(frame: FrameType) -> Iterator[str]:
    """Yields the product's modules on the call stack, the caller's first."""
    outer = frame.f_back
    while outer is not None:
        if _is_product(module := outer.f_globals.get("__name__", "")):
            yield module
        outer = outer.f_back


def _trace_here(target: Path) -> None:
    """Runs the experiment of the working directory under a tracer, and writes what it found to `target`."""
    import threading

    from tuning.cli import main
    from tuning.testing.simulated_ray import simulated_ray

    tracer = SpecTracer()
    with simulated_ray():
        threading.setprofile(tracer)
        sys.setprofile(tracer)
        try:
            status = main(["run", "experiment.yaml"])
        finally:
            sys.setprofile(None)
            threading.setprofile(None)  # type: ignore[arg-type]
    if status or not tracer.done:
        raise SystemExit(f"the experiment ended with status {status}; a trial has{'' if tracer.done else ' not'} begun")
    target.write_text(json.dumps(asdict(tracer.result())))


if __name__ == "__main__":
    _trace_here(Path(sys.argv[1]))
