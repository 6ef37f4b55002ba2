"""A trainable of a user's own, as it is shipped with a job: trains on an uploaded file, notes each epoch beside it."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from trainables import report, restored_checkpoint

PATIENCE = 300.0  # seconds that an epoch waits for the file `gate` to let it pass


def train(params: dict[str, Any], *, spec: Any) -> None:
    """Trains in no time, but waits after the epoch that a file `gate` beside the data names, until it names another.

    Fails where there is nothing to learn from.
    """
    data = Path(spec.data.path)
    if data.read_text() != "text,label\nfine,1\n":
        raise ValueError("there is nothing to learn here")
    start = restored_checkpoint()
    done = json.loads((start / "state.json").read_text())["epoch"] if start else 0
    for epoch in range(done + 1, int(spec.epochs) + 1):
        _pass(data.with_name("gate"), epoch)
        with data.with_name("epochs").open("a") as file:
            file.write(f"{params['learning_rate']} {epoch}\n")
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "state.json").write_text(json.dumps({"epoch": epoch}))
            report({"accuracy": 1 - 0.5**epoch}, epoch=epoch, checkpoint=folder)


def _pass(gate: Path, epoch: int) -> None:
    until = time.monotonic() + PATIENCE
    while gate.exists() and epoch > int(gate.read_text()):
        if time.monotonic() > until:
            raise TimeoutError(f"{gate} does not let epoch {epoch} pass")
        time.sleep(0.05)
