"""The state of a fine-tuning in a folder, written and read back.

    weights.safetensors   the model's weights
    position.json         epoch, examples seen, the values in force while they were trained
    moments.pt            optimizer state, and random states of each process that computes the trial; tensors and plain
                          numbers only (`weights_only` loads it); only going on needs it

A state can be a donor's. What it may bring is state (weights, moments, position, random state); what it may not
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

from trainables.checkpoints.manifest import MOMENTS

WEIGHTS, POSITION = "weights.safetensors", "position.json"


def save(folder: Path, model: PreTrainedModel, position: dict[str, Any]) -> None:
    """Write weights and position into the existing `folder`."""
    save_model(model, str(folder / WEIGHTS))
    (folder / POSITION).write_text(json.dumps(position))


def restore(folder: Path, model: PreTrainedModel) -> dict[str, Any]:
    """Load the weights in place.

    Returns:
        The position that `save` was given.

    Raises:
        FileNotFoundError: the folder holds no state.
        RuntimeError: the weights are of another architecture.
    """
    position: dict[str, Any] = json.loads((folder / POSITION).read_text())
    load_model(model, str(folder / WEIGHTS), device=str(model.device))
    return position


def save_moments(folder: Path, optimizer: torch.optim.Optimizer, random_states: list[dict[str, Any]]) -> None:
    """Write the optimizer's state into the existing `folder`, and the `random_state` of each process by rank."""
    torch.save({"optimizer": optimizer.state_dict(), "random": random_states}, folder / MOMENTS)


def restore_moments(folder: Path, optimizer: torch.optim.Optimizer, rank: int) -> None:
    """Load moments and the random state of that rank in place; the optimizer keeps its own values.

    A rank that had no part in the state, as there were fewer processes, keeps the random state that it has.

    Raises:
        FileNotFoundError: the state was written without moments: it can be scored, not continued.
    """
    # Mapped where the optimizer copies to a device anyway; on a CPU it would go on using the file's own pages.
    on_device = optimizer.param_groups[0]["params"][0].device.type != "cpu"
    saved = torch.load(folder / MOMENTS, map_location="cpu", weights_only=True, mmap=on_device)
    own = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(saved["optimizer"])
    for group, values in zip(optimizer.param_groups, own, strict=True):
        group.update(values)
    if rank < len(saved["random"]):
        set_random_state(saved["random"][rank])


def random_state() -> dict[str, Any]:
    """Of this process: torch's generators, Python's and NumPy's."""
    version, words, gauss = random.getstate()
    _, keys, index, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "python": [version, list(words), gauss],
        "numpy": [torch.from_numpy(np.asarray(keys).astype(np.int64)), int(index), int(has_gauss), float(cached)],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put the generators of this process where they were when `random_state` was asked."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    keys, index, has_gauss, cached = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), index, has_gauss, cached))
