"""The ladder runs from the first arm to the last on a CPU with tiny shapes; its figures mean nothing there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.ladder.__main__ import SECONDS
from benchmarks.ladder.arms import ARMS
from benchmarks.ladder.models import AdapterBank, Sizes, StackedEncoder

SMALL = Sizes(layers=2, hidden=16, heads=2, inner=32, vocabulary=50, kv_heads=1)


def climbed(out: Path, *options: str) -> dict[str, Any]:
    """Runs the command; returns its result."""
    command = [sys.executable, "-m", "benchmarks.ladder", "--dry-run", "--out", str(out), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    result: dict[str, Any] = json.loads(out.read_text())
    assert done.returncode == (1 if result["cut_off"] else 0), done.stdout + done.stderr
    return result


@pytest.mark.system
def test_every_arm_runs_and_finds_something(tmp_path: Path) -> None:
    arms = [name for name in ARMS if name != "compiling"]  # it takes a compiler, and half a minute
    result = climbed(tmp_path / "ladder.json", "--arms", *arms)
    assert list(result["arms"]) == arms
    for name, arm in result["arms"].items():
        assert arm["found"], name
        assert "error" not in arm
        failed = {key: value for key, value in arm["found"].items() if "Error" in str(value)}
        assert {key for key in failed if "grouped" not in key and "own lengths" not in key} == set(), failed
    assert result["arms"]["promises"]["found"]["same seed, bit for bit"] is True
    assert result["arms"]["promises"]["found"]["stack, largest difference of losses"] < 1e-2


@pytest.mark.system
def test_when_its_time_is_up_what_was_found_is_there_and_the_arm_is_named(tmp_path: Path) -> None:
    result = climbed(tmp_path / "ladder.json", "--seconds", "0.5")
    assert result["cut_off"] in ("", *ARMS)


@pytest.mark.unit
def test_the_whole_takes_no_more_than_ten_minutes() -> None:
    assert sum(arm.seconds for arm in ARMS.values()) <= SECONDS <= 560  # and 20 for the imports


@pytest.mark.unit
def test_a_stack_computes_what_its_models_compute() -> None:
    torch.manual_seed(0)
    stack, solo = StackedEncoder(SMALL, 3, 0.0), StackedEncoder(SMALL, 1, 0.0)
    for own, whole in zip(solo.parameters(), stack.parameters(), strict=True):
        own.data.copy_(whole.data[1:2])
    tokens = torch.randint(50, (3, 2, 8))
    torch.testing.assert_close(stack(tokens)[1:2], solo(tokens[1:2]))


@pytest.mark.unit
def test_a_bank_trains_adapters_and_nothing_else() -> None:
    bank = AdapterBank(SMALL, 2, 4, "cpu", grouped=False)
    bank(torch.randint(50, (2, 1, 8))).sum().backward()
    assert len(list(bank.parameters())) == 2 * 7 * 2  # two matrices for each of seven products in two layers
    assert all(parameter.grad is not None for parameter in bank.parameters())
    assert all(parameter.shape[0] == 2 for parameter in bank.parameters())
