"""Saves and restores the state of a fine-tuning in a folder.

    weights.safetensors   the model's weights
    position.json         epoch, examples seen, the values in force while they were trained
    moments.pt            optimizer state, and random states of each process that computes the trial; tensors and plain
                          numbers only (`torch.load(weights_only=True)` reads it); not needed for scoring

The state may be a donor's. It brings weights, moments, position and random state, but no hyperparameters:
`restore_optimizer` puts the optimizer's own rate, decay, betas and epsilon back after the state is loaded.
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

from trainables.checkpoints.manifest import MOMENTS

WEIGHTS, POSITION = "weights.safetensors", "position.json"


def save_weights(folder: Path, model: PreTrainedModel, position: dict[str, Any]) -> None:
    """Writes weights and position (JSON values) into the existing `folder`."""
    save_model(model, str(folder / WEIGHTS))
    (folder / POSITION).write_text(json.dumps(position))


def restore_weights(folder: Path, model: PreTrainedModel) -> dict[str, Any]:
    """Loads the weights into `model`.

    Returns:
        The position that was passed to `save_weights`.

    Raises:
        FileNotFoundError: the folder holds no state.
        RuntimeError: the weights do not fit the model's architecture.
    """
    position: dict[str, Any] = json.loads((folder / POSITION).read_text())
    load_model(model, str(folder / WEIGHTS), device=str(model.device))
    return position


def save_optimizer(folder: Path, optimizer: torch.optim.Optimizer, random_states: list[dict[str, Any]]) -> None:
    """Writes the optimizer's state and the `random_state` of each process, by rank, into the existing `folder`."""
    torch.save({"optimizer": optimizer.state_dict(), "random": random_states}, folder / MOMENTS)


def restore_optimizer(folder: Path, optimizer: torch.optim.Optimizer, rank: int) -> None:
    """Restores moments and the random state of `rank`; the optimizer keeps its own hyperparameters.

    If the state was saved by fewer processes, the ranks beyond them keep their current random state.

    Raises:
        FileNotFoundError: the state was saved with weights only: it can be scored, not continued.
    """
    # On a GPU the tensors are copied anyway, so mapping the file saves memory; on a CPU they would stay file pages.
    on_device = optimizer.param_groups[0]["params"][0].device.type != "cpu"
    saved = torch.load(folder / MOMENTS, map_location="cpu", weights_only=True, mmap=on_device)
    own = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(saved["optimizer"])
    for group, values in zip(optimizer.param_groups, own, strict=True):
        group.update(values)
    if rank < len(saved["random"]):
        set_random_state(saved["random"][rank])


def random_state() -> dict[str, Any]:
    """Captures the random generators of this process: torch's (CPU and current GPU), Python's and NumPy's."""
    version, words, gauss = random.getstate()
    _, keys, index, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "python": [version, list(words), gauss],
        "numpy": [torch.from_numpy(np.asarray(keys).astype(np.int64)), int(index), int(has_gauss), float(cached)],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Sets the generators of this process to what `random_state` captured."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    keys, index, has_gauss, cached = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), index, has_gauss, cached))
