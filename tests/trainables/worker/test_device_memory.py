"""torch's allocator has the spec's settings before CUDA is used, beside those of the user."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.support.specs import curve_experiment
from trainables.machine import devices
from trainables.machine.device_memory import ALLOCATOR, FORMER_ALLOCATOR, set_allocator
from trainables.machine.devices import DeviceError

# As in a forked worker: torch is imported first.
SETTINGS_OF_TORCH = """
import os
import torch
from trainables.machine.device_memory import set_allocator
set_allocator(expandable_segments=True)
assert os.environ["PYTORCH_ALLOC_CONF"] == os.environ["PYTORCH_CUDA_ALLOC_CONF"]
print(torch._C._accelerator_getAllocatorSettings())
"""
BOTH = "max_split_size_mb:64,expandable_segments:True"


@pytest.mark.system
@pytest.mark.skipif(not hasattr(torch._C, "_accelerator_getAllocatorSettings"), reason="this torch does not tell")
@pytest.mark.parametrize(
    ("user", "in_force"),
    [
        ({}, "expandable_segments:True"),
        ({ALLOCATOR: "max_split_size_mb:64"}, BOTH),
        ({FORMER_ALLOCATOR: "expandable_segments:False, max_split_size_mb:64"}, BOTH),
        ({ALLOCATOR: "pinned_use_background_threads:True", FORMER_ALLOCATOR: "max_split_size_mb:64"}, BOTH),
        ({ALLOCATOR: "expandable_segments:True,max_split_size_mb:64"}, "expandable_segments:True,max_split_size_mb:64"),
    ],
)
def test_torch_has_the_setting_beside_the_users_also_if_it_was_imported_before(
    user: dict[str, str], in_force: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (ALLOCATOR, FORMER_ALLOCATOR):
        monkeypatch.delenv(name, raising=False)
    for name, value in user.items():
        monkeypatch.setenv(name, value)
    line = [sys.executable, "-c", SETTINGS_OF_TORCH]
    assert subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip() == in_force


@pytest.mark.unit
def test_nothing_is_set_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ALLOCATOR, raising=False)
    set_allocator(expandable_segments=False)
    assert ALLOCATOR not in os.environ


@pytest.mark.unit
def test_a_worker_that_has_used_cuda_before_its_trial_is_an_error_with_the_next_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(ALLOCATOR, "max_split_size_mb:64")
    monkeypatch.delenv(FORMER_ALLOCATOR, raising=False)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(devices, "_assigned", ("0",))
    with pytest.raises(
        DeviceError, match=r"expandable_segments: True, .*'max_split_size_mb:64'.*; use no device while"
    ):
        set_allocator(expandable_segments=True)


@pytest.mark.unit
def test_how_memory_is_divided_changes_no_digest_and_a_spec_without_it_is_as_before(tmp_path: Path) -> None:
    plain = curve_experiment(tmp_path)
    growing = plain.model_copy(update={"expandable_segments": True})
    assert growing.digest() == plain.digest()
    assert "expandable_segments" not in plain.plain()
    assert growing.plain()["expandable_segments"] is True
