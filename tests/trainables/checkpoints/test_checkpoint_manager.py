"""States in shared memory, beside their manifest, or nowhere: they are found, copied, and recomputed bit for bit."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.disks import NoDisk, fill, small_disk
from tests.support.slots import CURVE, A, B, DrivenSlot, saved, state_of
from tests.support.watch import Watch
from trainables.checkpoints.manager import CheckpointManager
from trainables.checkpoints.manifest import (
    MANIFEST,
    MOMENTS,
    SPARE_MANIFEST,
    CheckpointManifest,
    full_name,
    weights_name,
)
from trainables.checkpoints.policy import CheckpointPolicy
from trainables.checkpoints.recomputation import recompute, weights_folder
from trainables.checkpoints.storage import FOLDERS
from trainables.finetune.finetune import FineTuning
from trainables.learning_curve import LearningCurve
from trainables.machine import clock, shared_memory
from trainables.machine.shared_memory import ABANDONED, ROOT, SharedMemory
from trainables.models.files import weight_bytes
from trainables.spec import FineTuneSpec, Params, Subset

pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason="no shared memory on this system")


@pytest.fixture
def small(tiny_spec: FineTuneSpec) -> FineTuneSpec:
    """Three epochs of three batches."""
    subset = Subset(train=48, validation=24, test=24)
    return tiny_spec.model_copy(update={"epochs": 3, "data": tiny_spec.data.model_copy(update={"subset": subset})})


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "study"
    SharedMemory(tmp_path / "study").remove()


def clone(study: Path, spec: FineTuneSpec, policy: CheckpointPolicy) -> tuple[DrivenSlot, Path]:
    """Makes a slot that continued from A's state of epoch 1 with B, and returns it with its checkpoint of epoch 2."""
    donor = DrivenSlot(A, policy, spec, FineTuning)
    donor.step()
    donated = saved(donor, study, "donor", 0)
    member = DrivenSlot(B, policy, spec, FineTuning)
    member.load_checkpoint(str(donated))
    member.step()
    return member, saved(member, study, "member", 0)


@pytest.mark.unit
def test_a_checkpoint_holds_its_recipe_and_the_state_lies_in_shared_memory(study: Path) -> None:
    slot = DrivenSlot({"learning_rate": 1e-3}, CheckpointPolicy(study))
    slot.step()
    folder = saved(slot, study, "a", 0)
    manifest = CheckpointManifest.read(folder)
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, SPARE_MANIFEST]
    assert SharedMemory(study).names() == {full_name(manifest.token)}
    other = DrivenSlot({"learning_rate": 1e-4}, CheckpointPolicy(study))
    other.load_checkpoint(str(folder))
    assert (other.training.epoch, other.training.progress) == (slot.training.epoch, slot.training.progress)


@pytest.mark.unit
def test_a_state_that_is_lost_is_made_again_bit_for_bit_across_an_exploit(study: Path, small: FineTuneSpec) -> None:
    policy = CheckpointPolicy(study)
    member, folder = clone(study, small, policy)
    then = state_of(member)
    undisturbed = member.to_the_end()  # now: the random state is the process's
    for name in SharedMemory(study).names():
        SharedMemory(study).drop(name)
    heir = DrivenSlot(B, policy, small, FineTuning)
    heir.load_checkpoint(str(folder))
    assert state_of(heir) == then
    assert heir.to_the_end() == undisturbed


@pytest.mark.unit
def test_making_again_begins_at_the_newest_state_that_is_left(
    study: Path, small: FineTuneSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = CheckpointPolicy(study)
    member, folder = clone(study, small, policy)
    then = state_of(member)
    manifest = CheckpointManifest.read(folder)
    donors, own = manifest.restore_points
    shutil.copytree(
        SharedMemory(study).folder / full_name(donors.token),
        study / "donor/checkpoint_000000" / full_name(donors.token),
    )
    SharedMemory(study).drop(full_name(donors.token))
    SharedMemory(study).drop(full_name(own.token))
    heir = DrivenSlot(B, policy, small, FineTuning)
    heir.load_checkpoint(str(folder))
    assert state_of(heir) == then
    rates = [training.params["learning_rate"] for training in heir.built]
    assert rates == [B["learning_rate"]] * 2  # its own, and the stretch after the exploit: not the donor's first epoch


@pytest.mark.unit
@pytest.mark.parametrize("kept", ["weights", "nothing"])
def test_weights_alone_are_scored_as_they_were_and_made_again_to_go_on(
    study: Path, small: FineTuneSpec, tmp_path: Path, kept: str
) -> None:
    policy = CheckpointPolicy(study, weights_only=True)
    slot = DrivenSlot(A, policy, small, FineTuning)
    metrics = slot.step()["metrics"]
    folder = saved(slot, study, "a", 0)
    manifest = CheckpointManifest.read(folder)
    undisturbed = slot.to_the_end()
    place = SharedMemory(study).find(weights_name(manifest.token))
    assert place is not None
    assert not (place / MOMENTS).exists()
    if kept == "weights":
        shutil.copytree(place, folder / place.name)
    SharedMemory(study).drop(place.name)
    (scratch := tmp_path / "scratch").mkdir()
    scored = FineTuning(A, small)
    scored.restore(weights_folder(str(folder), FOLDERS, FineTuning, small, scratch), weights_only=True)
    assert scored.score("validation").metrics == metrics
    assert list(scratch.iterdir()) == ([] if kept == "weights" else [scratch / "again"])

    heir = DrivenSlot(A, policy, small, FineTuning)
    heir.load_checkpoint(str(folder))
    assert heir.to_the_end() == undisturbed


@pytest.mark.unit
def test_moments_are_written_once_in_so_many_epochs(study: Path) -> None:
    slot = DrivenSlot({"learning_rate": 1e-3}, CheckpointPolicy(study, weights_only=True, every_epochs=2))
    found = []
    for number in range(4):
        slot.step()
        found.append(CheckpointManifest.read(saved(slot, study, "a", number)))
    assert [manifest.moments for manifest in found] == [False, True, False, True]
    assert [[base.epoch for base in manifest.restore_points] for manifest in found] == [[], [2], [2], [2, 4]]


@pytest.mark.unit
def test_a_trial_that_has_trained_for_long_writes_moments_unless_it_has_ended(study: Path) -> None:
    params = {"learning_rate": 1e-3, "model.seconds_per_epoch": 40.0}
    with clock.use(Watch()):
        slot = DrivenSlot(params, CheckpointPolicy(study, weights_only=True, every_seconds=60))
        found = []
        for number in range(4):
            slot.step()
            found.append(CheckpointManifest.read(saved(slot, study, "a", number)))
        assert [manifest.moments for manifest in found] == [False, True, False, False]
        slot = DrivenSlot(params, CheckpointPolicy(study, weights_only=True, every_seconds=0))
        for _ in range(4):
            slot.step()
        assert not CheckpointManifest.read(saved(slot, study, "b", 0)).moments


@pytest.mark.unit
def test_without_room_in_memory_the_state_lies_beside_its_recipe(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slot = DrivenSlot({"learning_rate": 1e-3}, CheckpointPolicy(study, state_bytes=2**62))
    slot.step()
    folder = saved(slot, study, "a", 0)
    manifest = CheckpointManifest.read(folder)
    assert manifest.node is None
    assert (folder / full_name(manifest.token) / "curve.json").is_file()
    assert SharedMemory(study).names() == set()
    heir = DrivenSlot({"learning_rate": 1e-3}, CheckpointPolicy(study))
    heir.load_checkpoint(str(folder))
    assert heir.training.progress == slot.training.progress


@pytest.mark.unit
def test_an_exploit_without_training_after_it_adds_nothing_to_what_is_made_again(tmp_path: Path, study: Path) -> None:
    slot = DrivenSlot({"learning_rate": 1e-3}, CheckpointPolicy(study, weights_only=True))
    slot.step()
    donated = saved(slot, study, "a", 0)
    member = DrivenSlot({"learning_rate": 1e-5}, CheckpointPolicy(study, weights_only=True))
    member.load_checkpoint(str(donated))
    folder = saved(member, study, "b", 0)
    place = recompute(CheckpointManifest.read(folder), folder, LearningCurve, CURVE, tmp_path)
    again = LearningCurve({"learning_rate": 1e-5}, CURVE)
    again.restore(place)
    assert (again.epoch, again.progress) == (slot.training.epoch, slot.training.progress)


HOLDER = """
import sys, time
from pathlib import Path
from trainables.machine.shared_memory import SharedMemory
memory = SharedMemory(Path(sys.argv[1]))
memory.put("state-x", lambda folder: (folder / "a").write_text("a"))
print("ready", flush=True)
time.sleep(600)
"""


@pytest.mark.system
def test_what_a_killed_run_left_may_be_resumed_for_a_while_and_what_a_living_one_holds_stays(tmp_path: Path) -> None:
    def old(folder: Path) -> None:
        os.utime(folder, (time.time() - ABANDONED - 1,) * 2)

    def another_run() -> None:
        SharedMemory(tmp_path / "other").remove()

    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        here = SharedMemory(tmp_path)
        folder = here.folder
        here.close()
        old(folder)
        another_run()
        assert (folder / "state-x" / "a").is_file()
    finally:
        holder.kill()
        holder.communicate()
    os.utime(folder)
    another_run()
    assert (folder / "state-x" / "a").is_file()
    old(folder)
    another_run()
    assert not folder.exists()
    assert not folder.with_suffix(".lock").exists()


@pytest.mark.unit
def test_a_state_that_could_not_be_written_whole_is_not_there(study: Path) -> None:
    def broken(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise OSError("no space left")

    memory = SharedMemory(study)
    with pytest.raises(OSError, match="no space"):
        memory.put("state-x", broken)
    assert list(memory.folder.iterdir()) == []


@pytest.mark.unit
def test_the_folder_of_another_user_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "ROOT", tmp_path)
    (tmp_path / f"tunefleet-{os.getuid()}").mkdir(mode=0o755)
    with pytest.raises(PermissionError, match="is not a folder that only user"):
        SharedMemory(tmp_path / "study")
    slot = DrivenSlot({"learning_rate": 1e-3}, CheckpointPolicy(tmp_path / "study"))  # goes on, and says so in its log
    slot.step()
    assert CheckpointManifest.read(saved(slot, tmp_path / "study", "a", 0)).node is None


@pytest.mark.unit
def test_a_state_in_the_memory_of_another_node_is_waited_for_until_its_copy_is_there(study: Path) -> None:
    slot = DrivenSlot({"learning_rate": 1e-3}, CheckpointPolicy(study))
    slot.step()
    folder = saved(slot, study, "a", 0)
    manifest = replace(CheckpointManifest.read(folder), node="there")
    manifest.write(folder)
    place = SharedMemory(study).folder / manifest.state
    away = shutil.move(place, study / "another machine")  # which this one cannot look into
    looks = 0

    def others() -> set[str]:
        """Asked at each look; the copy is made between the third and the fourth."""
        nonlocal looks
        looks += 1
        if looks == 4:
            shutil.move(away, folder / manifest.state)
        return {"there"}

    def never(params: Params, spec: FineTuneSpec) -> LearningCurve:
        raise AssertionError("the state is made again")

    heir = LearningCurve({"learning_rate": 1e-3}, CURVE)
    CheckpointManager(CheckpointPolicy(study), never, CURVE, others).load(manifest, folder, heir)
    assert heir.progress == slot.training.progress
    assert looks == 4


@pytest.mark.unit
def test_a_state_on_a_node_that_is_lost_is_not_waited_for_but_made_again(study: Path) -> None:
    slot = DrivenSlot({"learning_rate": 1e-3}, CheckpointPolicy(study))
    slot.step()
    folder = saved(slot, study, "a", 0)
    manifest = replace(CheckpointManifest.read(folder), node="there")
    SharedMemory(study).drop(manifest.state)
    heir = LearningCurve({"learning_rate": 1e-3}, CURVE)
    states = CheckpointManager(CheckpointPolicy(study), LearningCurve, CURVE, others=set)
    states.load(manifest, folder, heir)
    assert (heir.epoch, heir.progress) == (slot.training.epoch, slot.training.progress)
    assert [line.partition(" is ")[2] for line in states.pop_warnings()] == []


# Memory that is full


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
def test_memory_that_turns_out_to_be_full_fails_no_trial_and_is_told_once(
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
