"""Folders of models that tests damage, and what is found wrong in one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trainables.models.encoders import check_model
from trainables.spec import FineTuneSpec

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 133466304\n"


def spec_of(model: Path, **changes: Any) -> FineTuneSpec:
    """Returns a spec of a fine-tuning of the model in a folder."""
    return FineTuneSpec(task="reviews", epochs=1, model=str(model), **changes)


def only_fault(model: Path, **changes: Any) -> str:
    """Returns the message about the folder of a model with one fault."""
    [(path, message)] = check_model(spec_of(model, **changes))
    assert path == "model"
    return message


def change(path: Path, **values: Any) -> None:
    """Sets keys of a JSON file; None removes one."""
    content = json.loads(path.read_text()) | values
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))
