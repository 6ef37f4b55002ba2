"""Attention of long texts on a GPU over each row's own tokens: no mask is built, and no padding is computed.

For a padded batch SDPA takes a mask of (rows, tokens, tokens), with which it cannot use its flash kernel, and copies
keys that query heads share; whether a batch needs the mask is read from the device, for which the host waits. torch's
`varlen_attn` takes the tokens of all rows end to end, and where each row begins. The host knows both before a batch is
copied to the device. What that kernel does not compute (dropout of attention, windows, biases) has the mask as before,
built once per batch without a wait.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

BY_LENGTHS = "sdpa_by_lengths"
HOST_MASK = "host_mask"  # in a batch: its attention mask as the host has it, (rows, tokens) of bool
AMPERE = 8  # the first compute capability with the kernel
WIDEST, STEP = 256, 8  # of a head: the numbers that the kernel computes
CAUSAL, BOTH_WAYS = "allow_is_causal_skip", "allow_is_bidirectional_skip"  # a mask that only padding makes necessary
NO_SKIPS = {CAUSAL: False, BOTH_WAYS: False}


class Kernel(Protocol):
    """Attention over rows of different lengths whose tokens lie end to end."""

    def takes(self, query: torch.Tensor, value: torch.Tensor) -> bool:
        """True if it computes heads of such sizes and types, (rows, heads, tokens, numbers)."""

    def __call__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        bounds: torch.Tensor,
        longest: int,
        *,
        scale: float | None,
        causal: bool,
    ) -> torch.Tensor:
        """Computes (tokens, heads, numbers); row i has the tokens from `bounds[i]` to `bounds[i + 1]`."""


class FlashKernel:
    """The `Kernel` of torch, on an NVIDIA GPU."""

    def takes(self, query: torch.Tensor, value: torch.Tensor) -> bool:
        """True for equal heads in half precision."""
        width = query.shape[-1]
        half = query.dtype in (torch.bfloat16, torch.float16)
        return half and width == value.shape[-1] and width <= WIDEST and width % STEP == 0

    def __call__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        bounds: torch.Tensor,
        longest: int,
        *,
        scale: float | None,
        causal: bool,
    ) -> torch.Tensor:
        """Calls `torch.nn.attention.varlen.varlen_attn`."""
        from torch.nn.attention.varlen import varlen_attn

        shared = query.shape[1] != key.shape[1]
        window = (-1, 0 if causal else -1)
        attended = varlen_attn(
            query, key, value, bounds, bounds, longest, longest, scale=scale, window_size=window, enable_gqa=shared
        )
        assert isinstance(attended, torch.Tensor)
        return attended


class BatchRows:
    """The tokens of a batch that are no padding; `of_batch` makes those of the batch that a model computes next."""

    def __init__(self, mask: npt.NDArray[np.bool_], device: torch.device) -> None:
        self.shape, self.padded = mask.shape, not mask.all()
        lengths = mask.sum(axis=1)
        self.longest = int(lengths.max())
        self.kept = _sent(np.flatnonzero(mask), device)  # their places among rows x tokens
        self.bounds = _sent(np.concatenate(([0], lengths.cumsum())).astype(np.int32), device)
        self.causal = False
        self.built: Callable[[], torch.Tensor | None] | None = None  # the mask, if the model has left it to us


_batch: BatchRows | None = None
_kernel: Kernel = FlashKernel()


class WithHostMask:
    """A collator that adds `HOST_MASK` to the batches of a model that attends by lengths."""

    def __init__(self, collate: Callable[[list[dict[str, Any]]], Any], model: PreTrainedModel) -> None:
        self._collate, self._model = collate, model

    def __call__(self, rows: list[dict[str, Any]]) -> Any:
        """Collates rows."""
        batch = self._collate(rows)
        if attends_by_lengths(self._model):
            batch[HOST_MASK] = batch["attention_mask"].numpy().astype(bool)
        return batch


def of_batch(mask: npt.NDArray[np.bool_], device: torch.device) -> None:
    """Tells the attention of the next forward pass which tokens are padding; call it before each one."""
    global _batch
    _batch = BatchRows(mask, device)


def can_attend_by_lengths(model: PreTrainedModel) -> bool:
    """True if this GPU has torch's kernel, and `model` can be given it."""
    if torch.cuda.get_device_capability()[0] < AMPERE or not may_attend_by_lengths(model):
        return False
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:  # before torch 2.10
        return False
    known = inspect.signature(varlen_attn).parameters
    return {"window_size", "enable_gqa"} <= known.keys()


def may_attend_by_lengths(model: PreTrainedModel) -> bool:
    """True if `model` has an attention that can be replaced, and no decoder beside its encoder."""
    return has_plain_sdpa(model) and not model.config.is_encoder_decoder


def has_plain_sdpa(model: PreTrainedModel) -> bool:
    """True if the model attends by PyTorch's SDPA through transformers' interface, so that it can be replaced."""
    return model.config._attn_implementation == "sdpa" and bool(model._can_set_attn_implementation())


def attend_by_lengths(model: PreTrainedModel, kernel: Kernel | None = None) -> None:
    """Makes `model` attend by `kernel`, torch's by default; `of_batch` must precede each forward pass."""
    global _kernel
    _kernel = kernel or FlashKernel()
    AttentionInterface.register(BY_LENGTHS, _attention)
    AttentionMaskInterface.register(BY_LENGTHS, _mask)
    model.set_attn_implementation(BY_LENGTHS)


def attends_by_lengths(model: PreTrainedModel) -> bool:
    """True if the model was given to `attend_by_lengths`."""
    return bool(model.config._attn_implementation == BY_LENGTHS)


def _mask(**asked: Any) -> torch.Tensor | None:
    """Called by a model for each kind of mask that its layers have; a plain one is left to `_attention`."""
    build: Callable[[], torch.Tensor | None] = functools.partial(sdpa_mask, **{**asked, **NO_SKIPS})
    batch, causal, tokens, window = _batch, asked.get(CAUSAL, True), asked["kv_length"], asked.get("local_size")
    plain = (causal or asked.get(BOTH_WAYS, False)) and (window is None or tokens < window)
    if batch is None or not plain or (asked["batch_size"], asked["q_length"], tokens) != (*batch.shape, batch.shape[1]):
        return build()
    if batch.built is not None and batch.causal != causal:  # layers of both kinds, which look alike to `_attention`
        return build()
    batch.causal, batch.built = causal, functools.cache(build)
    return None


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **named: Any,
) -> tuple[torch.Tensor, None]:
    """Called by a model in each of its layers; `attention_mask` is what `_mask` has returned for that layer."""
    batch = _batch
    if attention_mask is None and batch is not None and batch.built is not None and batch.padded:
        plain = not dropout and named.get("position_bias") is None and named.get("softcap") is None
        if plain and key.shape[2] == query.shape[2] and _kernel.takes(query, value):
            return _over_rows(batch, query, key, value, scaling), None
        attention_mask = batch.built()
    attended: tuple[torch.Tensor, None] = sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **named
    )
    return attended


def _over_rows(
    batch: BatchRows, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    """Computes (rows, tokens, heads, numbers); those of padding are 0."""
    query, key, value = (
        heads.transpose(1, 2).flatten(0, 1).index_select(0, batch.kept) for heads in (query, key, value)
    )
    attended = _kernel(query, key, value, batch.bounds, batch.longest, scale=scaling, causal=batch.causal)
    rows, tokens = batch.shape
    whole = attended.new_zeros(rows * tokens, *attended.shape[1:]).index_copy(0, batch.kept, attended)
    return whole.view(rows, tokens, *attended.shape[1:])


def _sent(values: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    """Copies numbers to the device without a wait."""
    host = torch.from_numpy(values)
    return (host.pin_memory() if device.type == "cuda" else host).to(device, non_blocking=True)
