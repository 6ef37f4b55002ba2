"""The closed-form trial behind a gate: it trains as many epochs as a test lets through. Workers import it by name."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from trainables import report, restored_checkpoint, step_done
from trainables.learning_curve import LearningCurve
from trainables.spec import FineTuneSpec, Params
from trainables.worker.slot import Evaluation

SECONDS = 240.0  # that the gate may stay closed
POLL = 0.02
CURVE = "tests.support.gated:Gated"
FUNCTION = "tests.support.gated:train"
OBJECTIVE = {"metric": "accuracy", "mode": "max"}


class Gate:
    """A gate that lets so many epochs begin, of all trials together: a number in a file, and a byte for each begun one.

    Args:
        path: of the file, on no disk that fills up.
        epochs: that may begin; None: the gate is there already.
    """

    def __init__(self, path: Path | str, epochs: int | None = None) -> None:
        self._allowed, self._begun = Path(path), Path(f"{path}.begun")
        if epochs is not None:
            self._begun.touch()
            self.let(epochs)

    def fields(self, trainable: str = CURVE) -> dict[str, Any]:
        """Returns the fields of a spec whose trials wait at this gate."""
        return {"trainable": trainable, "objective": OBJECTIVE, "fixed": {"model.gate": str(self._allowed)}}

    def let(self, epochs: int) -> None:
        """Lets `count` more epochs begin; one that waits when its driver ends counts as begun."""
        new = self._allowed.with_suffix(".new")
        new.write_text(str(self._begun.stat().st_size + epochs))
        new.replace(self._allowed)

    def open(self) -> None:
        """Lets all epochs begin."""
        self.let(10**9)

    def wait(self) -> None:
        """Waits, in a trial, until its next epoch may begin.

        Raises:
            TimeoutError: nobody lets it.
        """
        with self._begun.open("ab") as file:
            file.write(b".")
            file.flush()
            number = file.tell()
        until = time.monotonic() + SECONDS
        while int(self._allowed.read_text()) < number:
            if time.monotonic() > until:
                raise TimeoutError(f"epoch {number} of all was not let through for {SECONDS:g} s")
            step_done()  # whoever waits here does not hang
            time.sleep(POLL)


class Gated(LearningCurve):
    """The learning curve with a gate, `model.gate`."""

    def advance(self, epochs: float) -> Evaluation:
        Gate(str(self.params["model.gate"])).wait()
        return super().advance(epochs)


def train(params: Params, *, spec: FineTuneSpec) -> None:
    """Trains the gated curve as a function trainable."""
    curve = Gated(params, spec)
    if (start := restored_checkpoint()) is not None:
        curve.restore(start)
    while curve.epoch < curve.horizon:
        epoch, metrics, _ = curve.advance(1)
        with tempfile.TemporaryDirectory() as folder:
            curve.save(Path(folder))
            report(metrics, epoch=epoch, checkpoint=folder)
