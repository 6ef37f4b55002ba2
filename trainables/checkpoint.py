"""What a checkpoint folder holds, written and read back.

    weights.safetensors   the model's weights
    position.json         epoch, examples seen, the values in force while they were trained
    moments.pt            optimizer state and random states, tensors and plain numbers only (`weights_only` loads it)

A checkpoint can be a donor's. What it may bring is state (weights, moments, position, random state); what it may not
bring is values: `restore` puts the optimizer's own rate, decay, betas and epsilon back after the state is loaded.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_model, save_model
from transformers import PreTrainedModel

WEIGHTS, POSITION, MOMENTS = "weights.safetensors", "position.json", "moments.pt"


def save(folder: Path, model: PreTrainedModel, optimizer: torch.optim.Optimizer, position: dict[str, Any]) -> None:
    """Write a checkpoint into the existing `folder`."""
    save_model(model, str(folder / WEIGHTS))
    torch.save({"optimizer": optimizer.state_dict(), "random": _random_state()}, folder / MOMENTS)
    (folder / POSITION).write_text(json.dumps(position))


def restore(folder: Path, model: PreTrainedModel, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Load weights, moments and random states in place; the optimizer keeps its own values.

    Returns:
        The position that `save` was given.

    Raises:
        FileNotFoundError: the folder is no complete checkpoint.
        RuntimeError: the weights are of another architecture.
    """
    position: dict[str, Any] = json.loads((folder / POSITION).read_text())
    load_model(model, str(folder / WEIGHTS), device=str(model.device))
    saved = torch.load(folder / MOMENTS, map_location="cpu", weights_only=True)
    own = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(saved["optimizer"])
    for group, values in zip(optimizer.param_groups, own, strict=True):
        group.update(values)
    _set_random_state(saved["random"])
    return position


def _random_state() -> dict[str, Any]:
    version, words, gauss = random.getstate()
    _, keys, index, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "python": [version, list(words), gauss],
        "numpy": [torch.from_numpy(np.asarray(keys).astype(np.int64)), int(index), int(has_gauss), float(cached)],
    }


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    keys, index, has_gauss, cached = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), index, has_gauss, cached))
