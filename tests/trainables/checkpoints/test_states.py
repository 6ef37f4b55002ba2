"""States by need: in shared memory, beside their recipe, or nowhere; found, copied, and made again bit for bit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.slots import CURVE, A, B, saved, slot_of, state_of
from trainables import states
from trainables.finetune import FineTuning
from trainables.learning_curve import LearningCurve
from trainables.recipe import MOMENTS, RECIPE, SPARE, Recipe, full, weights
from trainables.shared_memory import ABANDONED, ROOT, SharedMemory
from trainables.slot import Slot
from trainables.spec import FineTuneSpec, Subset
from trainables.states import Keeping, make_again, scorable
from trainables.storage import FOLDERS

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


def reports(slot: Slot) -> list[dict[str, Any]]:
    """To the end; without what a clock tells."""
    results: list[dict[str, Any]] = []
    while not results or not results[-1]["done"]:
        results.append(slot.step())
    return [{k: v for k, v in r.items() if k not in ("device_seconds", "reported_at")} for r in results]


def clone(study: Path, spec: FineTuneSpec, keeping: Keeping) -> tuple[Slot, Path]:
    """One that took over A's state of the first epoch and went on with B; and its checkpoint of the second epoch."""
    donor = slot_of(A, keeping, spec, FineTuning)
    donor.step()
    donated = saved(donor, study, "donor", 0)
    member = slot_of(B, keeping, spec, FineTuning)
    member.load_checkpoint(str(donated))
    member.step()
    return member, saved(member, study, "member", 0)


@pytest.mark.unit
def test_a_checkpoint_holds_its_recipe_and_the_state_lies_in_shared_memory(study: Path) -> None:
    slot = slot_of({"learning_rate": 1e-3}, Keeping(study))
    slot.step()
    folder = saved(slot, study, "a", 0)
    recipe = Recipe.read(folder)
    assert sorted(path.name for path in folder.iterdir()) == [RECIPE, SPARE]
    assert SharedMemory(study).names() == {full(recipe.token)}
    other = slot_of({"learning_rate": 1e-4}, Keeping(study))
    other.load_checkpoint(str(folder))
    assert (other._training.epoch, other._training.progress) == (slot._training.epoch, slot._training.progress)


@pytest.mark.unit
def test_a_state_that_is_lost_is_made_again_bit_for_bit_across_an_exploit(study: Path, small: FineTuneSpec) -> None:
    keeping = Keeping(study)
    member, folder = clone(study, small, keeping)
    then = state_of(member)
    undisturbed = reports(member)  # now: the random state is the process's
    for name in SharedMemory(study).names():
        SharedMemory(study).drop(name)
    heir = slot_of(B, keeping, small, FineTuning)
    heir.load_checkpoint(str(folder))
    assert state_of(heir) == then
    assert reports(heir) == undisturbed


@pytest.mark.unit
def test_making_again_begins_at_the_newest_state_that_is_left(
    study: Path, small: FineTuneSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping = Keeping(study)
    member, folder = clone(study, small, keeping)
    then = state_of(member)
    recipe = Recipe.read(folder)
    donors, own = recipe.bases
    shutil.copytree(
        SharedMemory(study).folder / full(donors.token), study / "donor/checkpoint_000000" / full(donors.token)
    )
    SharedMemory(study).drop(full(donors.token))
    SharedMemory(study).drop(full(own.token))
    built: list[Any] = []

    def counted(params: Any, spec: FineTuneSpec) -> FineTuning:
        built.append(params)
        return FineTuning(params, spec)

    heir = slot_of(B, keeping, small, counted)
    heir.load_checkpoint(str(folder))
    assert state_of(heir) == then
    assert built == [B, B]  # its own, and the stretch after the exploit: not the donor's first epoch


@pytest.mark.unit
@pytest.mark.parametrize("kept", ["weights", "nothing"])
def test_weights_alone_are_scored_as_they_were_and_made_again_to_go_on(
    study: Path, small: FineTuneSpec, tmp_path: Path, kept: str
) -> None:
    keeping = Keeping(study, weights_only=True)
    slot = slot_of(A, keeping, small, FineTuning)
    metrics = slot.step()["metrics"]
    folder = saved(slot, study, "a", 0)
    recipe = Recipe.read(folder)
    undisturbed = reports(slot)
    place = SharedMemory(study).find(weights(recipe.token))
    assert place is not None
    assert not (place / MOMENTS).exists()
    if kept == "weights":
        shutil.copytree(place, folder / place.name)
    SharedMemory(study).drop(place.name)
    (scratch := tmp_path / "scratch").mkdir()
    scored = FineTuning(A, small)
    scored.restore(scorable(str(folder), FOLDERS, FineTuning, small, scratch), moments=False)
    assert scored.score("validation").metrics == metrics
    assert list(scratch.iterdir()) == ([] if kept == "weights" else [scratch / "again"])

    heir = slot_of(A, keeping, small, FineTuning)
    heir.load_checkpoint(str(folder))
    assert reports(heir) == undisturbed


@pytest.mark.unit
def test_moments_are_written_once_in_so_many_epochs(study: Path) -> None:
    slot = slot_of({"learning_rate": 1e-3}, Keeping(study, weights_only=True, every_epochs=2))
    found = []
    for number in range(4):
        slot.step()
        found.append(Recipe.read(saved(slot, study, "a", number)))
    assert [recipe.moments for recipe in found] == [False, True, False, True]
    assert [[base.epoch for base in recipe.bases] for recipe in found] == [[], [2], [2], [2, 4]]


@pytest.mark.unit
def test_a_trial_that_has_trained_for_long_writes_moments_unless_it_has_ended(study: Path) -> None:
    slot = slot_of({"learning_rate": 1e-3}, Keeping(study, weights_only=True, every_seconds=60))
    found = []
    for number in range(4):
        if number != 0:
            slot._trained += 40  # as if it had taken so long
        slot.step()
        found.append(Recipe.read(saved(slot, study, "a", number)))
    assert [recipe.moments for recipe in found] == [False, False, True, False]
    slot = slot_of({"learning_rate": 1e-3}, Keeping(study, weights_only=True, every_seconds=0))
    for _ in range(4):
        slot.step()
    assert not Recipe.read(saved(slot, study, "b", 0)).moments


@pytest.mark.unit
def test_without_room_in_memory_the_state_lies_beside_its_recipe(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slot = slot_of({"learning_rate": 1e-3}, Keeping(study, state_bytes=2**62))
    slot.step()
    folder = saved(slot, study, "a", 0)
    recipe = Recipe.read(folder)
    assert recipe.node is None
    assert (folder / full(recipe.token) / "curve.json").is_file()
    assert SharedMemory(study).names() == set()
    heir = slot_of({"learning_rate": 1e-3}, Keeping(study))
    heir.load_checkpoint(str(folder))
    assert heir._training.progress == slot._training.progress


@pytest.mark.unit
def test_an_exploit_without_training_after_it_adds_nothing_to_what_is_made_again(tmp_path: Path, study: Path) -> None:
    slot = slot_of({"learning_rate": 1e-3}, Keeping(study, weights_only=True))
    slot.step()
    donated = saved(slot, study, "a", 0)
    member = slot_of({"learning_rate": 1e-5}, Keeping(study, weights_only=True))
    member.load_checkpoint(str(donated))
    folder = saved(member, study, "b", 0)
    place = make_again(Recipe.read(folder), folder, LearningCurve, CURVE, tmp_path)
    again = LearningCurve({"learning_rate": 1e-5}, CURVE)
    again.restore(place)
    assert (again.epoch, again.progress) == (slot._training.epoch, slot._training.progress)


HOLDER = """
import sys, time
from pathlib import Path
from trainables.shared_memory import SharedMemory
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
    from trainables import shared_memory

    monkeypatch.setattr(shared_memory, "ROOT", tmp_path)
    (tmp_path / f"tunefleet-{os.getuid()}").mkdir(mode=0o755)
    with pytest.raises(PermissionError, match="is not a folder that only user"):
        SharedMemory(tmp_path / "study")
    slot = slot_of({"learning_rate": 1e-3}, Keeping(tmp_path / "study"))  # goes on, and says so in its log
    slot.step()
    assert Recipe.read(saved(slot, tmp_path / "study", "a", 0)).node is None


@pytest.mark.unit
def test_a_state_in_the_memory_of_another_node_is_waited_for_until_its_copy_is_there(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = slot_of({"learning_rate": 1e-3}, Keeping(study))
    slot.step()
    folder = saved(slot, study, "a", 0)
    recipe = replace(Recipe.read(folder), node="there")
    recipe.write(folder)
    monkeypatch.setattr(states, "_other_nodes", lambda: {"there"})
    place = SharedMemory(study).folder / recipe.state
    away = shutil.move(place, study / "another machine")  # which this one cannot look into
    copying = threading.Timer(0.3, lambda: shutil.move(away, folder / recipe.state))
    copying.start()
    heir = slot_of({"learning_rate": 1e-3}, Keeping(study))
    monkeypatch.setattr(states, "make_again", lambda *given: pytest.fail("it was not waited for"))
    heir.load_checkpoint(str(folder))
    copying.join()
    assert heir._training.progress == slot._training.progress
