"""The setting of the arms: the device, the sizes, the waiting processes, and how long an arm may take."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.ladder.models import Sizes
from benchmarks.ladder.workers import Workers


class Shapes(NamedTuple):
    """The models and batches of a run; `TINY` are those of a dry run."""

    encoders: dict[str, Sizes]
    decoders: dict[str, Sizes]
    rows: int  # of an encoder's batch
    tokens: int  # of each row
    decoder_tokens: int  # of each adapter's row
    steps: int  # that are timed
    processes: tuple[int, ...]
    counts: tuple[int, ...]  # models of a stack, adapters of a bank
    lengths: tuple[int, ...]  # of texts, for masks
    compared_steps: int
    drawn_lengths: int


FULL = Shapes(
    encoders={"22.7M": Sizes(6, 384, 12, 1536), "BERT-base": Sizes(12, 768, 12, 3072)},
    decoders={
        "0.5B": Sizes(24, 896, 14, 4864, 151936, kv_heads=2),
        "1.5B": Sizes(28, 1536, 12, 8960, 151936, kv_heads=2),
        "8B": Sizes(32, 4096, 32, 14336, 128256, kv_heads=8),
    },
    rows=16,
    tokens=128,
    decoder_tokens=512,
    steps=20,
    processes=(1, 4, 8, 16),
    counts=(1, 2, 4, 8, 16, 32),
    lengths=(512, 2048),
    compared_steps=50,
    drawn_lengths=200,
)
TINY = Shapes(
    encoders={"tiny": Sizes(1, 16, 2, 32, 50)},
    decoders={"tiny": Sizes(1, 16, 2, 32, 50, kv_heads=1)},
    rows=2,
    tokens=8,
    decoder_tokens=8,
    steps=2,
    processes=(1, 2),
    counts=(1, 2),
    lengths=(8,),
    compared_steps=3,
    drawn_lengths=3,
)


@dataclass
class Setting:
    """One run: arms read it, and stop by themselves when `left` is used up."""

    device: str  # cuda, or cpu for a dry run
    shapes: Shapes
    alone: Workers  # without MPS
    shared: Workers | None  # under MPS; None where there is none
    without_mps: str | None  # why there is none
    fresh: list[Workers]  # one process each, for what a process can show once
    until: float = 0.0  # of the present arm, on the monotonic clock

    @property
    def left(self) -> float:
        """Seconds that the present arm may still take."""
        return self.until - time.monotonic()
