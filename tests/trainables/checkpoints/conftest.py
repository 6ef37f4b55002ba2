"""Fixtures of the checkpoints: a small fine-tuning, and the folder of a study whose shared memory is removed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from trainables.machine.shared_memory import SharedMemory
from trainables.spec import FineTuneSpec, Subset


@pytest.fixture
def small(tiny_spec: FineTuneSpec) -> FineTuneSpec:
    """Three epochs of three batches."""
    subset = Subset(train=48, validation=24, test=24)
    return tiny_spec.model_copy(update={"epochs": 3, "data": tiny_spec.data.model_copy(update={"subset": subset})})


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "study"
    SharedMemory(tmp_path / "study").remove()
