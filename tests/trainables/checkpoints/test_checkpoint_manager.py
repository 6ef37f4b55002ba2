"""States in shared memory, beside their manifest, or nowhere: they are found, copied, and recomputed bit for bit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

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
from trainables.spec import FineTuneSpec, Params

pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason="no shared memory on this system")


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
def test_a_checkpoint_holds_its_manifest_and_the_state_lies_in_shared_memory(study: Path) -> None:
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
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_state_that_is_lost_is_recomputed_bit_for_bit_across_an_exploit(
    study: Path, small: FineTuneSpec, precision: str
) -> None:
    small = small.model_copy(update={"precision": precision})
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
def test_recomputation_begins_at_the_newest_state_that_is_left(
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
def test_weights_alone_are_scored_as_they_were_and_recomputed_to_go_on(
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
def test_without_room_in_memory_the_state_lies_beside_its_manifest(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
def test_an_exploit_without_training_after_it_adds_nothing_to_what_is_recomputed(tmp_path: Path, study: Path) -> None:
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
def test_a_state_on_a_node_that_is_lost_is_not_waited_for_but_recomputed(study: Path) -> None:
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
