"""A trainable of a user's own, as it is shipped with a job: trains on an uploaded file, notes each epoch beside it."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from trainables import report, restored_checkpoint


def train(params: dict[str, Any], *, spec: Any) -> None:
    """Half a second per epoch; fails where there is nothing to learn from, and at a rate of 1."""
    data = Path(spec.data.path)
    if data.read_text() != "text,label\nfine,1\n":
        raise ValueError("there is nothing to learn here")
    if params["learning_rate"] >= 1:
        raise ValueError("it diverges")
    start = restored_checkpoint()
    done = json.loads((start / "state.json").read_text())["epoch"] if start else 0
    for epoch in range(done + 1, int(spec.epochs) + 1):
        time.sleep(0.5)
        with data.with_name("epochs").open("a") as file:
            file.write(f"{params['learning_rate']} {epoch}\n")
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "state.json").write_text(json.dumps({"epoch": epoch}))
            report({"accuracy": 1 - 0.5**epoch}, epoch=epoch, checkpoint=folder)
