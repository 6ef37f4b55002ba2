"""Copies of states on the storage path: which are made, that they are whole, and what happens when they cannot be."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.nodes.tasks import run_on_node
from cluster.storage import StorageError
from tests.support.watch import Watch
from trainables.checkpoints.manifest import MOMENTS, CheckpointManifest, full_name, weights_name
from trainables.checkpoints.storage import FOLDERS, FolderStorage, Storage
from trainables.machine import clock
from trainables.machine.shared_memory import ROOT, SharedMemory
from trainables.spec import Objective
from tuning.checkpoints.copier import Copier, Copy, make_copy
from tuning.checkpoints.keeper import STOOD, CheckpointKeeper
from tuning.checkpoints.study_states import StudyStates

HERE = "this node"
OBJECTIVE = Objective(metric="accuracy", mode="max")

pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason="no shared memory on this system")


class SlowStorage(FolderStorage):
    """As slow as a storage can be, while `open` is not set; `begun` tells that somebody waits for it."""

    def __init__(self) -> None:
        self.open, self.begun = threading.Event(), threading.Event()
        self.open.set()

    def put(self, *arguments: Any, **options: Any) -> None:
        self.begun.set()
        assert self.open.wait(60), "the test has never let the storage go on"
        super().put(*arguments, **options)


class Run:
    """A study as keeper and slots see it: each report leaves a manifest on storage and a state in memory."""

    def __init__(self, folder: Path, watch: Watch, *, weights_only: bool, keep_best: int = 1) -> None:
        self.folder, self.watch, self._weights_only = folder, watch, weights_only
        self.memory, self.storage = SharedMemory(folder), SlowStorage()
        self.states = StudyStates(folder, HERE, self.storage)
        self.keeper = CheckpointKeeper(OBJECTIVE, lambda *deletion: None, states=self.states, keep_best=keep_best)
        self.trials: dict[str, Any] = {}
        self.past: dict[str, CheckpointManifest] = {}

    def report(self, trial_id: str, epoch: int, accuracy: float, *, settled: bool = True) -> CheckpointManifest:
        fresh = SimpleNamespace(trial_id=trial_id, last_result={}, checkpoint=None, is_finished=lambda: False)
        trial = self.trials.setdefault(trial_id, fresh)
        trial.last_result = {"epoch": epoch, "metrics": {"accuracy": accuracy}}
        manifest = CheckpointManifest.after(
            self.past.get(trial_id), {}, epoch, moments=not self._weights_only, node=HERE
        )
        self.past[trial_id] = manifest
        self.memory.put(manifest.state, lambda place: write(place, manifest))
        path = self.folder / trial_id / f"checkpoint_{epoch:06d}"
        path.mkdir(parents=True)
        manifest.write(path)
        arrived = SimpleNamespace(path=str(path))
        self.keeper.on_checkpoint(0, self.listed, trial, arrived)
        trial.checkpoint = arrived
        if settled:
            self.settle()
        return manifest

    def settle(self) -> None:
        """Until the copies that are wanted now are made and Tune's step has ended."""
        self.states.wait()
        self.step()

    def step(self) -> None:
        """Tune's step ends, a second later."""
        self.watch.sleep(1.0)
        self.keeper.on_step_end(0, self.listed)

    def end(self, trial_id: str) -> None:
        self.keeper.on_trial_complete(0, self.listed, self.trials[trial_id])
        self.trials[trial_id].is_finished = lambda: True

    @property
    def listed(self) -> list[Any]:
        return list(self.trials.values())

    @property
    def copied(self) -> set[str]:
        return {path.name for path in self.folder.glob("*/checkpoint_*/*") if path.is_dir()}


def write(place: Path, manifest: CheckpointManifest) -> None:
    (place / "weights").write_text(manifest.token)
    if manifest.moments:
        (place / MOMENTS).write_text(manifest.token)


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch()
    with clock.use(watch):
        yield watch


@pytest.fixture
def members(tmp_path: Path, watch: Watch) -> Iterator[Run]:
    """Trials that may be cloned."""
    run = Run(tmp_path / "study", watch, weights_only=False)
    yield run
    run.storage.open.set()
    run.states.close()


@pytest.fixture
def grid(tmp_path: Path, watch: Watch) -> Iterator[Run]:
    run = Run(tmp_path / "study", watch, weights_only=True, keep_best=2)
    yield run
    run.states.close()


@pytest.mark.unit
def test_in_a_short_study_nothing_is_copied_before_its_end_and_then_the_best_weights(grid: Run) -> None:
    best, second, third = (grid.report("a", 1, 0.9), grid.report("b", 1, 0.8), grid.report("c", 1, 0.7))
    assert grid.copied == set()
    assert grid.memory.names() == {best.state, second.state}
    for trial in ("a", "b", "c"):
        grid.end(trial)
    grid.keeper.finish(str(grid.folder))
    assert grid.copied == {weights_name(best.token), weights_name(second.token)}
    assert not (grid.folder / "c").exists() or not list((grid.folder / "c").iterdir())
    assert third.state not in grid.memory.names()


@pytest.mark.unit
def test_the_best_weights_are_copied_when_they_have_stood_for_a_while(grid: Run, watch: Watch) -> None:
    first = grid.report("a", 1, 0.5)
    watch.sleep(STOOD - 10)
    grid.step()
    assert grid.copied == set()
    watch.sleep(10)
    grid.step()
    grid.settle()
    assert grid.copied == {weights_name(first.token)}
    assert grid.memory.names() == set()  # what is copied is not needed in memory


@pytest.mark.unit
def test_a_members_newest_state_is_copied_with_its_moments_and_the_one_before_goes_after_it(members: Run) -> None:
    first, second = members.report("a", 1, 0.9), members.report("a", 2, 0.5)
    assert members.memory.names() == {second.state}
    assert members.copied >= {full_name(second.token)}
    (copy,) = members.folder.glob(f"*/*/{full_name(second.token)}")
    assert sorted(path.name for path in copy.iterdir()) == sorted(["weights", MOMENTS])
    # The best one is not gone on from any more: its weights are enough.
    assert full_name(first.token) not in members.copied
    assert weights_name(first.token) in members.copied


@pytest.mark.unit
def test_until_a_newer_state_is_copied_the_last_copy_stays(members: Run) -> None:
    first = members.report("a", 1, 0.1)
    members.storage.open.clear()
    members.report("a", 2, 0.9, settled=False)
    members.report("a", 3, 0.95, settled=False)
    assert members.copied == {full_name(first.token)}


@pytest.mark.unit
def test_what_a_snapshot_names_stays_with_its_copy(members: Run) -> None:
    first = members.report("a", 1, 0.1)
    members.keeper.get_state()
    second = members.report("a", 2, 0.9)
    assert members.copied == {full_name(first.token), full_name(second.token)}
    for _ in range(3):
        members.keeper.get_state()
    members.settle()
    assert members.copied == {full_name(second.token)}


@pytest.mark.unit
def test_a_donors_state_stays_in_memory_until_its_clone_has_one_of_its_own(members: Run) -> None:
    donated = members.report("donor", 1, 0.9)
    members.report("clone", 1, 0.1)
    members.trials["clone"].checkpoint = members.trials["donor"].checkpoint  # as an exploit leaves it
    members.past["clone"] = members.past["donor"]
    onward = members.report("donor", 2, 0.95)
    assert members.memory.names() == {donated.state, onward.state}
    own = members.report("clone", 2, 0.8)
    assert members.memory.names() == {own.state, onward.state}


@pytest.mark.unit
def test_an_interrupted_study_leaves_copies_of_what_it_goes_on_from(members: Run) -> None:
    """Of a trial whose snapshots name three others the newest state has no room on the storage until then."""
    for epoch in (1, 2, 3):
        members.report("a", epoch, 0.9)
        members.keeper.get_state()
    newest = members.report("a", 4, 0.5)
    assert full_name(newest.token) not in members.copied
    members.keeper.suspend()
    assert full_name(newest.token) in members.copied


@pytest.mark.unit
def test_at_the_end_the_best_weights_stay_without_moments(members: Run) -> None:
    best = members.report("a", 1, 0.9)
    members.end("a")
    members.keeper.finish(str(members.folder))
    (copy,) = members.folder.glob(f"*/*/{weights_name(best.token)}")
    assert [path.name for path in copy.iterdir()] == ["weights"]
    members.states.close()
    assert not members.memory.folder.exists()
    FOLDERS.strip(str(copy.parent), best)  # told again after a crash in between
    assert copy.is_dir()


@pytest.mark.unit
def test_a_copy_that_cannot_be_written_stops_the_study_and_says_what_to_do(members: Run) -> None:
    members.report("a", 1, 0.9)
    place = members.folder / "a" / "checkpoint_000002"
    manifest = CheckpointManifest.after(None, {}, 2, moments=True, node=HERE)
    members.memory.put(manifest.state, lambda folder: write(folder, manifest))
    members.states.arrived(manifest)
    with pytest.raises(StorageError, match=r"cluster.storage: .*cannot be copied .*go on with `tunefleet resume`"):
        members.states.flush([Copy(manifest, str(place), weights_only=False)])  # a folder that is not there
    with pytest.raises(StorageError):
        members.step()


@pytest.mark.unit
def test_what_is_superseded_before_it_begins_is_not_copied(tmp_path: Path) -> None:
    memory, storage = SharedMemory(tmp_path), SlowStorage()
    copier = Copier(tmp_path, HERE, storage)
    manifests = [CheckpointManifest.after(None, {}, epoch, moments=True, node=HERE) for epoch in (1, 2, 3)]
    for manifest in manifests:
        memory.put(manifest.state, lambda place, manifest=manifest: write(place, manifest))  # type: ignore[misc]
    under_way, old, new = (Copy(manifest, str(tmp_path), weights_only=False) for manifest in manifests)
    storage.open.clear()
    copier.schedule([under_way])
    assert storage.begun.wait(60), "the first copy never begins"
    copier.schedule([old])
    copier.schedule([new])
    storage.open.set()
    copier.wait()
    copier.close()
    assert [(tmp_path / full_name(manifest.token)).is_dir() for manifest in manifests] == [True, False, True]
    memory.remove()


@pytest.mark.unit
def test_a_node_whose_copy_hangs_holds_up_no_other(tmp_path: Path) -> None:
    class Disk(Storage):
        """Hangs for one path."""

        goes_on = threading.Event()

        def holds(self, *_: Any, **__: Any) -> bool:
            return False

        def put(self, source: Path, path: str, *_: Any, **__: Any) -> None:
            if path == "far":
                assert self.goes_on.wait(60)

    memory, disk = SharedMemory(tmp_path), Disk()
    copier = Copier(tmp_path, HERE, disk)
    manifests = {node: CheckpointManifest.after(None, {}, 1, moments=True, node=node) for node in ("far", HERE)}
    for manifest in manifests.values():
        memory.put(manifest.state, lambda place, manifest=manifest: write(place, manifest))  # type: ignore[misc]
    copier.schedule([Copy(manifest, node, weights_only=False) for node, manifest in manifests.items()])
    made: set[tuple[str, bool]] = set()
    until = time.monotonic() + 60
    while not made and time.monotonic() < until:
        made = copier.pop_made()
        time.sleep(0.01)
    assert made == {(manifests[HERE].token, False)}
    assert not copier.cancel(manifests["far"].token)  # under way
    disk.goes_on.set()
    copier.wait()
    copier.close()
    assert copier.pop_made() == {(manifests["far"].token, False)}
    memory.remove()


@pytest.mark.unit
def test_a_state_that_is_nowhere_is_given_up(tmp_path: Path) -> None:
    copier = Copier(tmp_path, HERE, FOLDERS)
    lost = Copy(
        CheckpointManifest.after(None, {}, 1, moments=True, node="a node of before"), str(tmp_path), weights_only=False
    )
    copier.schedule([lost])
    copier.wait()
    copier.close()
    assert not copier.pop_made()
    SharedMemory(tmp_path).remove()


@pytest.mark.ray
def test_a_state_on_another_node_is_copied_there_and_its_errors_are_reported_here(
    ray_session: None, tmp_path: Path
) -> None:
    import ray

    node = str(ray.get_runtime_context().get_node_id())
    memory, manifest = SharedMemory(tmp_path), CheckpointManifest.after(None, {}, 1, moments=True, node=node)
    memory.put(manifest.state, lambda place: write(place, manifest))
    lost = CheckpointManifest.after(None, {}, 1, moments=True, node=node)

    def copy(path: Path, manifest: CheckpointManifest = manifest, node: str = node) -> Any:
        return run_on_node(node, make_copy, tmp_path, FOLDERS, Copy(manifest, str(path), weights_only=False))

    assert copy(tmp_path)
    assert (tmp_path / full_name(manifest.token) / MOMENTS).read_text() == manifest.token
    assert not copy(tmp_path, lost)
    with pytest.raises(FileNotFoundError):
        copy(tmp_path / "no" / "folder")
    assert copy(tmp_path, node="0" * len(node)) is None  # the node is gone
    memory.remove()
