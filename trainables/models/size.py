"""The size of a model: its parameters, and the bytes of its weights."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import torch

from trainables.metrics import MODEL_BYTES, PARAMETERS


def model_size(model: torch.nn.Module, names: Collection[str]) -> dict[str, float]:
    """Counts parameters and bytes of `model`, tied weights once; those of the two that `names` has.

    Frozen parameters and the base of an adapter are counted, too: inference needs them. The bytes are those of all that
    is saved with the model, buffers included.
    """
    sizes = {
        PARAMETERS: float(sum(one.numel() for one in model.parameters())),
        MODEL_BYTES: float(sum(one.numel() * one.element_size() for one in _distinct(model.state_dict().values()))),
    }
    return {name: size for name, size in sizes.items() if name in names}


def _distinct(tensors: Iterable[torch.Tensor]) -> Iterable[torch.Tensor]:
    return {(one.data_ptr(), one.shape, one.stride()): one for one in tensors}.values()
