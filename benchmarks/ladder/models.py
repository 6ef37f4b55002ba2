"""Encoders, stacked encoders and decoders with adapters, of random weights and given sizes; torch alone.

A stack holds K encoders as one module: each weight has a first dimension K, and each batch as well. A bank of adapters
holds K LoRA adapters of one frozen decoder, whose weights are shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional


@dataclass(frozen=True)
class Sizes:
    """The sizes of a transformer."""

    layers: int
    hidden: int
    heads: int
    inner: int
    vocabulary: int = 30522
    kv_heads: int = 0  # of a decoder; 0: as many as heads


class StackedEncoder(nn.Module):
    """K BERT encoders with a classifier each, computed together: tokens [K, B, T] -> logits [K, B, classes].

    Args:
        sizes: of each.
        count: K.
        dropout: probability, in hidden states and attention.
    """

    def __init__(self, sizes: Sizes, count: int, dropout: float, positions: int = 512, classes: int = 2) -> None:
        super().__init__()
        self.sizes, self.count, self.dropout = sizes, count, dropout
        h, inner = sizes.hidden, sizes.inner

        def weight(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(count, *shape) * 0.02)

        def norm() -> nn.ParameterList:
            return nn.ParameterList([nn.Parameter(torch.ones(count, 1, h)), nn.Parameter(torch.zeros(count, 1, h))])

        def linear(into: int, out: int) -> nn.ParameterList:
            return nn.ParameterList([weight(into, out), nn.Parameter(torch.zeros(count, 1, out))])

        self.words, self.places, self.first_norm = weight(sizes.vocabulary, h), weight(positions, h), norm()
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "qkv": linear(h, 3 * h), "out": linear(h, h), "norm": norm(),
                    "up": linear(h, inner), "down": linear(inner, h), "last": norm(),
                }
            )
            for _ in range(sizes.layers)
        )  # fmt: skip
        self.classifier = linear(h, classes)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Computes the logits of K models, each for tokens of its own: [K, rows, length] to [K, rows, classes]."""
        k, b, t = tokens.shape
        offsets = torch.arange(k, device=tokens.device)[:, None, None] * self.sizes.vocabulary
        words = functional.embedding(tokens + offsets, self.words.flatten(0, 1))
        x = self._dropped(self._normed((words + self.places[:, None, :t]).view(k, b * t, -1), self.first_norm))
        for layer in self.layers:
            x = self._layer(x, layer, (k, b, t))
        return _linear(x.view(k, b, t, -1)[:, :, 0], self.classifier)

    def _layer(self, x: torch.Tensor, layer: Any, shape: tuple[int, int, int]) -> torch.Tensor:
        k, b, t = shape
        heads = self.sizes.heads
        q, key, value = _linear(x, layer["qkv"]).view(k * b, t, 3, heads, -1).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(q, key, value, dropout_p=dropout)
        mixed = mixed.transpose(1, 2).reshape(k, b * t, -1)
        x = self._normed(x + self._dropped(_linear(mixed, layer["out"])), layer["norm"])
        inner = functional.gelu(_linear(x, layer["up"]))
        return self._normed(x + self._dropped(_linear(inner, layer["down"])), layer["last"])

    def _normed(self, x: torch.Tensor, norm: Any) -> torch.Tensor:
        scale, shift = norm
        normed: torch.Tensor = functional.layer_norm(x, (self.sizes.hidden,)) * scale + shift
        return normed

    def _dropped(self, x: torch.Tensor) -> torch.Tensor:
        return functional.dropout(x, self.dropout, self.training)


def _linear(x: torch.Tensor, weights: Any) -> torch.Tensor:
    weight, bias = weights
    return torch.baddbmm(bias, x, weight)


def hugging_face_encoder(sizes: Sizes, dropout: float) -> Any:
    """Transformers' BERT classifier of these sizes."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.inner,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    return BertForSequenceClassification(config)


class AdapterBank(nn.Module):
    """K LoRA adapters on all products of one frozen decoder: tokens [K, B, T] -> a number per adapter.

    Args:
        sizes: of the decoder.
        count: K.
        rank: of the adapters.
        grouped: the adapters' products by torch's grouped matrix product instead of `bmm`.
    """

    def __init__(self, sizes: Sizes, count: int, rank: int, device: str, *, grouped: bool) -> None:
        super().__init__()
        self.sizes, self.count, self.grouped = sizes, count, grouped
        h, inner, wide = sizes.hidden, sizes.inner, sizes.hidden // sizes.heads * (sizes.kv_heads or sizes.heads)
        shapes = {"q": (h, h), "k": (h, wide), "v": (h, wide), "o": (h, h), "gate": (h, inner), "up": (h, inner)}
        shapes["down"] = (inner, h)

        def frozen(rows: int, columns: int) -> torch.Tensor:
            return torch.randn(rows, columns, device=device, dtype=torch.bfloat16) * 0.02

        self.words = frozen(sizes.vocabulary, h)
        self.base = [{name: frozen(*shape) for name, shape in shapes.items()} for _ in range(sizes.layers)]
        self.down_products = nn.ParameterList()
        self.up_products = nn.ParameterList()
        self.place = {}
        for number in range(sizes.layers):
            for name, (into, out) in shapes.items():
                self.place[number, name] = len(self.down_products)
                self.down_products.append(nn.Parameter(torch.randn(count, into, rank, device=device) * 0.02))
                self.up_products.append(nn.Parameter(torch.zeros(count, rank, out, device=device)))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Computes the mean of the last hidden states of each adapter, as a loss in its place."""
        k, b, t = tokens.shape
        x = functional.embedding(tokens.view(k, b * t), self.words)
        for number in range(self.sizes.layers):
            x = self._layer(x, number, (k, b, t))
        return functional.rms_norm(x, (x.shape[-1],)).float().square().mean((1, 2))

    def _layer(self, x: torch.Tensor, number: int, shape: tuple[int, int, int]) -> torch.Tensor:
        k, b, t = shape
        heads, kv = self.sizes.heads, self.sizes.kv_heads or self.sizes.heads
        normed = functional.rms_norm(x, (x.shape[-1],))
        q, key, value = (self._product(normed, number, name) for name in "qkv")
        q = q.view(k * b, t, heads, -1).transpose(1, 2)
        key, value = (one.view(k * b, t, kv, -1).transpose(1, 2) for one in (key, value))
        mixed = functional.scaled_dot_product_attention(q, key, value, is_causal=True, enable_gqa=kv != heads)
        x = x + self._product(mixed.transpose(1, 2).reshape(k, b * t, -1), number, "o")
        normed = functional.rms_norm(x, (x.shape[-1],))
        inner = functional.silu(self._product(normed, number, "gate")) * self._product(normed, number, "up")
        return x + self._product(inner, number, "down")

    def _product(self, x: torch.Tensor, number: int, name: str) -> torch.Tensor:
        place = self.place[number, name]
        x = x.to(torch.bfloat16)
        a, b = (bank[place].to(x.dtype) for bank in (self.down_products, self.up_products))
        shared = x @ self.base[number][name]
        if not self.grouped:
            return shared + torch.bmm(torch.bmm(x, a), b)
        k, rows, _ = x.shape
        ends = torch.arange(1, k + 1, device=x.device, dtype=torch.int32) * rows
        inner = torch._grouped_mm(x.reshape(k * rows, -1), a, offs=ends)
        return shared + torch._grouped_mm(inner, b, offs=ends).view(k, rows, -1)
