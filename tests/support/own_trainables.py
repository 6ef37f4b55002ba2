"""Trainables as a user writes them, in a module of their own that workers import by name."""

from __future__ import annotations

import builtins
import json
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Literal

from ray import get_runtime_context

from trainables import report, restored_checkpoint
from trainables.learning_curve import LearningCurve
from trainables.machine.devices import DeviceNotReady
from trainables.spec import FineTuneSpec, Params
from trainables.worker.slot import Evaluation, Scores


class FailsOnce(LearningCurve):
    """A trial that fails after its second epoch, unless the file `model.failed` exists, which it then creates."""

    def advance(self, epochs: float) -> Evaluation:
        marker = Path(str(self.params["model.failed"]))
        if self.epoch == 2 and not marker.exists():
            marker.touch()
            raise RuntimeError("out of luck")
        return super().advance(epochs)


ERRORS = {**vars(builtins), "DeviceNotReady": DeviceNotReady}


class Overfits(LearningCurve):
    """A trial whose accuracy falls with each epoch, the faster the better its rate."""

    def score(self, split: Literal["validation", "test"]) -> Scores:
        """Returns the metrics of a learning curve that is read from its end."""
        metrics = super().score(split).metrics
        return Scores({**metrics, "accuracy": 1 - metrics["accuracy"]}, rows=0)


class Raises(LearningCurve):
    """A trial that raises an error where the file `model.script` says, and with which type.

    The file maps a rate (or `null`, for all) to a method (built, advance, save or restore) and a type of error. Each
    construction adds a line to the file `model.lives`.
    """

    def __init__(self, params: Params, spec: FineTuneSpec) -> None:
        super().__init__(params, spec)
        with Path(str(params["model.lives"])).open("a") as lives:
            lives.write(f"{self.rate}\n")
        self._fail("built")

    def advance(self, epochs: float) -> Evaluation:
        self._fail("advance")
        return super().advance(epochs)

    def save(self, folder: Path, *, weights_only: bool = False) -> None:
        self._fail("save")
        super().save(folder, weights_only=weights_only)

    def restore(self, folder: Path, *, weights_only: bool = False) -> None:
        self._fail("restore")
        super().restore(folder, weights_only=weights_only)

    def _fail(self, now: str) -> None:
        script = json.loads(Path(str(self.params["model.script"])).read_text())
        where, kind = script.get(str(self.rate)) or script.get("null") or ("", "")
        if where == now:
            raise ERRORS[kind](f"no column x in process {os.getpid()}")


BLOCK = 2**25  # bytes


class Hog(LearningCurve):
    """A trial that takes memory after its first epoch until it is killed, if it has one of the two rates `model.hog`.

    With the first rate it always does, with the second once; the file `model.lives` keeps the count. `model.most` is
    the limit in bytes.
    """

    def advance(self, epochs: float) -> Evaluation:
        always, once = json.loads(str(self.params["model.hog"]))
        if self.epoch == 1 and (self.rate == always or (self.rate == once and self._first_life())):
            held = []
            while len(held) * BLOCK < int(str(self.params["model.most"])):
                held.append(bytearray(b"x") * BLOCK)  # of zeros it would hold none
                time.sleep(0.02)
            raise AssertionError(f"it holds {len(held)} blocks, and nobody has killed it")
        return super().advance(epochs)

    def _first_life(self) -> bool:
        with Path(str(self.params["model.lives"])).open("a+") as file:
            file.write("another\n")
            file.seek(0)
            return len(file.readlines()) == 1


class HogsTogether(Hog):
    """A `Hog` in several processes; the last of them takes the memory."""

    divides_rows = True

    def advance(self, epochs: float) -> Evaluation:
        return super().advance(epochs) if _is_last() else LearningCurve.advance(self, epochs)


class Hangs(LearningCurve):
    """A trial that hangs after its second epoch, once: files beside `model.hung` mark that it has.

    At the rate 2e-3 it is stopped, like a frozen container; at 3e-3 it waits for ever.
    """

    def advance(self, epochs: float) -> Evaluation:
        marker = Path(f"{self.params['model.hung']}-{self.rate}")
        if self.epoch == 2 and self.rate in (2e-3, 3e-3) and not marker.exists():
            marker.touch()
            if self.rate == 2e-3:
                os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(10_000)
        return super().advance(epochs)


class Held(LearningCurve):
    """Two members of a population, of which the slower one dies as it saves epoch 2, once.

    The first to reach epoch 2 writes its process and its actor to the file `model.held` when it has saved. The other
    one waits before epoch 2 for the file `model.go_on`.
    """

    def advance(self, epochs: float) -> Evaluation:
        if self.epoch == 1:
            self.first = self._is_new("first")
            go_on, deadline = Path(str(self.params["model.go_on"])), time.monotonic() + 200
            while not self.first and not go_on.exists():
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{go_on} does not come")
                time.sleep(0.05)
        return super().advance(epochs)

    def save(self, folder: Path, *, weights_only: bool = False) -> None:
        super().save(folder, weights_only=weights_only)
        if self.epoch == 2 and self.first:
            unfinished = Path(f"{self.params['model.held']}-unfinished")
            unfinished.write_text(json.dumps([os.getpid(), get_runtime_context().get_actor_id()]))
            unfinished.rename(str(self.params["model.held"]))
        elif self.epoch == 2 and self._is_new("died"):
            os.kill(os.getpid(), signal.SIGKILL)

    def _is_new(self, what: str) -> bool:
        try:
            Path(f"{self.params['model.held']}-{what}").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


class HangsTogether(Hangs):
    """A `Hangs` in several processes; the last of them hangs."""

    divides_rows = True

    def advance(self, epochs: float) -> Evaluation:
        return super().advance(epochs) if _is_last() else LearningCurve.advance(self, epochs)


def _is_last() -> bool:
    import torch.distributed as replicas

    return replicas.get_rank() == replicas.get_world_size() - 1


def hangs(params: Params, *, spec: FineTuneSpec) -> None:
    """Trains as a function, and hangs as `Hangs` does."""
    curve = Hangs(params, spec)
    while curve.epoch < curve.horizon:
        epoch, metrics, _ = curve.advance(1)
        report(metrics, epoch=epoch)


class Lucky(LearningCurve):
    """A trial whose rate 1e-3 is best by far with seed 0, that of the search, and worst with other seeds.

    What it does is appended to the file `model.log`. With seed 1001 the rate `model.fails` raises an error, and the
    rate `model.dies` ends the process.
    """

    def __init__(self, params: Params, spec: FineTuneSpec) -> None:
        super().__init__(params, spec)
        self.seed = spec.seed
        self._note("built")

    def advance(self, epochs: float) -> Evaluation:
        if self.seed == 1001 and self.params.get("model.fails") == self.rate:
            raise RuntimeError("out of luck")
        if self.seed == 1001 and self.params.get("model.dies") == self.rate:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().advance(epochs)

    def score(self, split: Literal["validation", "test"]) -> Scores:
        metrics = super().score(split).metrics
        if self.rate == 1e-3:
            metrics["accuracy"] += -0.5 if self.seed else 0.3
        if split == "validation":
            return Scores(metrics, 3)
        self._note("test")
        return Scores(metrics, 3, (0.0, 1.0, 1.0), (0.0, 1.0, float(self.seed % 2)))

    def _note(self, what: str) -> None:
        with Path(str(self.params["model.log"])).open("a") as file:
            file.write(json.dumps([what, self.seed, self.rate]) + "\n")


def train(params: Params, *, spec: FineTuneSpec) -> None:
    """Trains the learning curve as a function; also reports the progress at the start of each epoch."""
    curve = LearningCurve(params, spec)
    if (start := restored_checkpoint()) is not None:
        curve.restore(start)
    while curve.epoch < curve.horizon:
        begun = curve.progress
        epoch, metrics, _ = curve.advance(1)
        with tempfile.TemporaryDirectory() as folder:
            curve.save(Path(folder))
            report({**metrics, "begun": begun, "progress": curve.progress}, epoch=epoch, checkpoint=folder)


def train_and_count_starts(params: Params, *, spec: FineTuneSpec) -> None:
    """Trains as `train` does; each start adds a line to the file `model.starts`."""
    with Path(str(params["model.starts"])).open("a") as starts:
        starts.write("started\n")
    train(params, spec=spec)


def reports_nothing(params: Params, *, spec: FineTuneSpec) -> None:
    """Ends as a function without a report."""


def train_without_checkpoints(params: Params, *, spec: FineTuneSpec) -> None:
    """Trains the learning curve as a function, without checkpoints."""
    curve = LearningCurve(params, spec)
    while curve.epoch < curve.horizon:
        epoch, metrics, _ = curve.advance(1)
        report(metrics, epoch=epoch)
