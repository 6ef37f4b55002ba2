"""Attention over rows whose tokens lie end to end, row by row, as torch documents its variable-length kernel."""

from __future__ import annotations

import torch
from torch.nn.functional import scaled_dot_product_attention


class RowByRow:
    """A `Kernel` for any device; it counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def takes(self, query: torch.Tensor, value: torch.Tensor) -> bool:
        """Returns whether query and value have one head size, which is all that this one needs."""
        return query.shape[-1] == value.shape[-1]

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
        """Computes each row by itself."""
        self.calls += 1
        assert bounds.dtype == torch.int32
        assert longest == int(bounds.diff().max())
        rows = []
        for first, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            heads = (part[first:end].transpose(0, 1) for part in (query, key, value))
            rows.append(scaled_dot_product_attention(*heads, scale=scale, is_causal=causal, enable_gqa=True))
        return torch.cat(rows, dim=1).transpose(0, 1)
