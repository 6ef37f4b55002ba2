"""Memory or storage without room for a state: trials go on without it, or the error names the place."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.disks import NoDisk, fill, small_disk
from tests.support.slots import A, DrivenSlot, saved, state_of
from trainables.checkpoints.manifest import CheckpointManifest, full_name
from trainables.checkpoints.policy import CheckpointPolicy
from trainables.finetune.finetune import FineTuning
from trainables.learning_curve import LearningCurve
from trainables.machine import shared_memory
from trainables.machine.shared_memory import ROOT, SharedMemory
from trainables.models.files import weight_bytes
from trainables.spec import FineTuneSpec

pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason="no shared memory on this system")


def by_safetensors(file: Path) -> None:
    """Raises safetensors' error on a full disk, because it would replace the device by a file."""
    from safetensors import SafetensorError

    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def by_torch(file: Path) -> None:
    import torch

    torch.save({"weight": torch.zeros(1 << 16)}, file)


def by_hand(file: Path) -> None:
    file.write_bytes(bytes(1 << 16))


class MeetsFullMemory(LearningCurve):
    """A trial that writes to a device that is always full if it is saved in shared memory."""

    write: Callable[[Path], None]
    meets: Path  # the folder below which it is full

    def save(self, folder: Path, *, weights_only: bool = False) -> None:
        super().save(folder, weights_only=weights_only)
        if folder.is_relative_to(self.meets):
            (folder / "weights").symlink_to("/dev/full")
            type(self).write(folder / "weights")


WRITERS = [by_safetensors, by_torch, by_hand]


@pytest.mark.unit
@pytest.mark.parametrize("writer", WRITERS)
def test_memory_that_turns_out_to_be_full_fails_no_trial_and_is_reported_once(
    study: Path, writer: Callable[[Path], None]
) -> None:
    made = {"write": staticmethod(writer), "meets": SharedMemory(study).folder}
    training = type("Meets", (MeetsFullMemory,), made)
    slot = DrivenSlot({"learning_rate": 1e-3}, CheckpointPolicy(study), training=training)
    told = []
    for number in range(3):
        told += slot.step().get("warnings", [])
        folder = saved(slot, study, "a", number)
        manifest = CheckpointManifest.read(folder)
        assert manifest.node is None
        assert (folder / full_name(manifest.token) / "curve.json").is_file()
        assert list(SharedMemory(study).folder.iterdir()) == []
    assert ["has no room for a state: states go straight to the storage" in line for line in told] == [True]
    heir = DrivenSlot({"learning_rate": 1e-3}, CheckpointPolicy(study))
    heir.load_checkpoint(str(folder))
    assert heir.training.progress == slot.training.progress


@pytest.mark.unit
@pytest.mark.parametrize("writer", WRITERS)
def test_a_storage_that_is_full_is_an_error_with_its_number_and_its_place(
    tmp_path: Path, writer: Callable[[Path], None]
) -> None:
    made = {"write": staticmethod(writer), "meets": tmp_path}
    slot = DrivenSlot({"learning_rate": 1e-3}, training=type("Meets", (MeetsFullMemory,), made))
    slot.step()
    with pytest.raises(OSError, match="No space left on device") as refused:
        saved(slot, tmp_path, "a", 0)
    assert refused.value.errno == errno.ENOSPC
    assert str(refused.value.filename).startswith(str(tmp_path))


@pytest.mark.unit
def test_an_error_that_has_to_do_with_no_disk_is_not_taken_for_a_full_one(study: Path) -> None:
    def broken(file: Path) -> None:
        raise RuntimeError("shapes do not fit")

    made = {"write": staticmethod(broken), "meets": SharedMemory(study).folder}
    slot = DrivenSlot(
        {"learning_rate": 1e-3}, CheckpointPolicy(study), training=type("Meets", (MeetsFullMemory,), made)
    )
    slot.step()
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        saved(slot, study, "a", 0)


@pytest.mark.unit
def test_a_model_whose_size_was_unknown_is_measured_before_its_first_state(
    study: Path, small: FineTuneSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model of unknown size, like one of the Hub that is not cached; filling memory would hurt others."""
    size = weight_bytes(small.model)
    assert size is not None
    monkeypatch.setattr(shared_memory.shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * size))
    for weights_only, in_memory in ((False, False), (True, True)):  # with moments it takes three times as much
        slot = DrivenSlot(A, CheckpointPolicy(study, weights_only=weights_only), small, FineTuning)
        slot.step()
        manifest = CheckpointManifest.read(saved(slot, study, f"{weights_only}", 0))
        assert (manifest.node is not None) is in_memory


class FillsMemory(FineTuning):
    """Other programs take all the room of the memory while its state is written there."""

    memory: Path

    def save(self, folder: Path, *, weights_only: bool = False) -> None:
        if folder.is_relative_to(self.memory):
            fill(self.memory)
        super().save(folder, weights_only=weights_only)


@pytest.mark.system
@pytest.mark.parametrize("case", ["too small", "filled before", "filled while it is written"])
def test_trials_go_on_where_shared_memory_is_a_disk_of_little_room(
    tmp_path: Path, small: FineTuneSpec, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """A small shared memory, as in a container with 64 MB."""
    size = weight_bytes(small.model)
    assert size is not None
    (memory := tmp_path / "memory").mkdir()
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(small_disk(memory, size // 2 if case == "too small" else 8 * size))
        except NoDisk as problem:
            pytest.skip(f"no file system can be mounted here: {problem}")
        monkeypatch.setattr(shared_memory, "ROOT", memory)
        kind = type("Fills", (FillsMemory,), {"memory": memory}) if case.endswith("written") else FineTuning
        slot = DrivenSlot(A, CheckpointPolicy(tmp_path / "study"), small, kind)
        slot.step()
        if case == "filled before":
            assert CheckpointManifest.read(saved(slot, tmp_path / "study", "a", 0)).node is not None
            fill(memory)
        folder = saved(slot, tmp_path / "study", "a", 1)
        assert CheckpointManifest.read(folder).node is None
        then = state_of(slot)
        (line,) = slot.step()["warnings"]
        assert str(memory) in line
        heir = DrivenSlot(A, CheckpointPolicy(tmp_path / "study"), small, FineTuning)
        heir.load_checkpoint(str(folder))
        assert state_of(heir) == then
