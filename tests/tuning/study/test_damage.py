"""Snapshots, checkpoints and records that are damaged: none is used, and it is said."""

from __future__ import annotations

import contextlib
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.damage import damage
from tests.support.slots import CURVE, A, DrivenSlot, saved
from trainables import checksums
from trainables.checkpoints.manifest import MANIFEST, SPARE_MANIFEST, CheckpointManifest, full_name
from trainables.checkpoints.policy import CheckpointPolicy
from trainables.checkpoints.recomputation import weights_folder
from trainables.checkpoints.storage import FOLDERS
from trainables.checksums import DamagedCheckpoint, write_checksums
from trainables.learning_curve import LearningCurve
from trainables.machine.shared_memory import ROOT, SharedMemory
from tuning.store.checksums import DamagedRecord, verify_checksum, with_checksum
from tuning.tune_compat.snapshots import DamagedSnapshot, FoundSnapshots, Snapshot, Snapshots, find_snapshots

pytestmark = pytest.mark.unit

SNAPSHOT = Snapshot(
    0.0, {"a": 3, "b": 1}, {"experiment_state-{}.json": b"{}\n" * 50, "searcher-state-{}.pkl": b"\0\n" * 9}
)
in_memory = pytest.mark.skipif(not ROOT.is_dir(), reason="no shared memory on this system")


# Snapshots.


@pytest.fixture
def snapshots(tmp_path: Path) -> Iterator[Snapshots]:
    with contextlib.closing(Snapshots(FOLDERS, str(tmp_path))) as found:
        yield found


def take(snapshots: Snapshots, folder: Path, number: int) -> None:
    """As Tune does: its files, then ours."""
    staged = folder / "staged"
    staged.mkdir(exist_ok=True)
    for name in ("experiment_state-NOW.json", "searcher-state-NOW.pkl"):
        (staged / name).write_text(f"{name} {number}")
    (staged / "experiment_state-BEFORE.json").write_text("another session's")
    snapshots.seal(staged, "NOW", {"a": number})
    snapshots.settle()


def test_the_last_two_snapshots_stay_and_the_newest_is_put_where_tune_looks(
    snapshots: Snapshots, tmp_path: Path
) -> None:
    for number in (1, 2, 3):
        take(snapshots, tmp_path, number)
    assert [path.name for path in sorted((tmp_path / "snapshots").iterdir())] == ["snapshot-000002", "snapshot-000003"]
    (tmp_path / "experiment_state-LATER.json").write_text("half of")
    found = find_snapshots(FOLDERS, str(tmp_path))
    assert (found.newest, found.positions, found.damaged) == ("snapshot-000003", {"a": 3}, ())
    snapshots.restore("snapshot-000003")
    assert {path.name: path.read_text() for path in tmp_path.glob("*-*")} == {
        "experiment_state-restored.json": "experiment_state-NOW.json 3",
        "searcher-state-restored.pkl": "searcher-state-NOW.pkl 3",
    }


@pytest.mark.parametrize("case", range(6))
def test_a_damaged_snapshot_is_passed_over_and_it_is_said(snapshots: Snapshots, tmp_path: Path, case: int) -> None:
    for number in (1, 2):
        take(snapshots, tmp_path, number)
    damage(tmp_path / "snapshots/snapshot-000002", random.Random(case))
    found = find_snapshots(FOLDERS, str(tmp_path))
    assert (found.newest, found.positions) == ("snapshot-000001", {"a": 1})
    (line,) = found.damaged
    assert line.startswith(f"{tmp_path}/snapshots/snapshot-000002 is damaged (checksum differs, ")
    resumed = Snapshots(FOLDERS, str(tmp_path))
    resumed.restore("snapshot-000001")
    take(resumed, tmp_path, 3)  # under a number of its own, and the damaged one goes
    assert [path.name for path in sorted((tmp_path / "snapshots").iterdir())] == ["snapshot-000001", "snapshot-000003"]


def test_without_a_whole_snapshot_it_is_known_whether_the_study_has_begun(snapshots: Snapshots, tmp_path: Path) -> None:
    assert find_snapshots(FOLDERS, str(tmp_path)) == FoundSnapshots(str(tmp_path))
    take(snapshots, tmp_path, 1)
    (tmp_path / "snapshots/snapshot-000001").write_bytes(b"")
    line = f"{tmp_path}/snapshots/snapshot-000001 is damaged (checksum differs, 0 bytes)"
    assert find_snapshots(FOLDERS, str(tmp_path)) == FoundSnapshots(str(tmp_path), damaged=(line,))
    with pytest.raises(DamagedSnapshot):
        snapshots.restore("snapshot-000001")
    shutil.rmtree(tmp_path / "snapshots")
    (tmp_path / "experiment_state-NOW.json").write_text("Tune's own")
    assert find_snapshots(FOLDERS, str(tmp_path)) == FoundSnapshots(str(tmp_path), begun=True)


def test_no_flipped_bit_and_no_missing_byte_passes() -> None:
    whole = SNAPSHOT.seal()
    assert Snapshot.parse(whole) == SNAPSHOT
    for place in range(len(whole)):
        for changed in (whole[:place], whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :]):
            with pytest.raises(DamagedSnapshot):
                Snapshot.parse(changed)


# Checkpoints.


@pytest.mark.parametrize("case", range(6))
def test_of_a_state_no_damaged_file_is_used(tmp_path: Path, case: int) -> None:
    rng = random.Random(case)
    (tmp_path / "below").mkdir()
    for name in ("weights", "moments.pt", "below/more"):
        (tmp_path / name).write_bytes(rng.randbytes(100))
    write_checksums(tmp_path)
    assert checksums.damage(tmp_path) is None
    victim = sorted(path for path in tmp_path.rglob("*") if path.is_file())[case % 4]
    damage(victim, rng)
    assert str(tmp_path) in (checksums.damage(tmp_path) or "")


def test_a_copy_without_moments_is_whole_and_one_without_weights_is_not(tmp_path: Path) -> None:
    for name in ("weights", "moments.pt"):
        (tmp_path / name).write_text(name)
    write_checksums(tmp_path)
    (tmp_path / "moments.pt").unlink()
    assert checksums.damage(tmp_path) == f"{tmp_path}/moments.pt is missing"
    assert checksums.damage(tmp_path, optional=["moments.pt"]) is None
    (tmp_path / "weights").unlink()
    assert checksums.damage(tmp_path, optional=["moments.pt"]) == f"{tmp_path}/weights is missing"


def test_one_copy_of_a_manifest_may_be_damaged(tmp_path: Path) -> None:
    manifest = CheckpointManifest.after(None, {"learning_rate": 0.1}, 2.0, moments=True, node=None)
    manifest.write(tmp_path)
    for name in (MANIFEST, SPARE_MANIFEST):
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_text(text.replace("0.1", "0.2"))
        assert CheckpointManifest.read(tmp_path) == FOLDERS.manifest(str(tmp_path)) == manifest
        (tmp_path / name).write_text(text)
    for name in (MANIFEST, SPARE_MANIFEST):
        (tmp_path / name).write_text("")
    with pytest.raises(DamagedCheckpoint, match=rf"{MANIFEST} and {tmp_path}/{SPARE_MANIFEST}: damaged"):
        FOLDERS.manifest(str(tmp_path))


@in_memory
def test_a_slot_makes_a_damaged_state_again_and_says_so(tmp_path: Path) -> None:
    place = tmp_path / "study"
    slot = DrivenSlot(A, CheckpointPolicy(place), CURVE, LearningCurve)
    for number in (0, 1):
        slot.step()
        folder = saved(slot, place, "a", number)
    manifest = CheckpointManifest.read(folder)
    memory = SharedMemory(place)
    state = memory.find(full_name(manifest.token))
    assert state is not None
    (state / "curve.json").write_text('{"epoch": 2.0, "progress": 0.125}')  # as good a state as any but by its checksum
    heir = DrivenSlot(A, CheckpointPolicy(place), CURVE, LearningCurve)
    heir.load_checkpoint(str(folder))
    other = heir.step()
    assert other["metrics"] == slot.step()["metrics"]
    assert [line.partition(" is ")[2] for line in other["warnings"]] == [
        "damaged (checksum differs, 33 bytes): not used",
        "recomputed from epoch 1 to 2",
    ]
    assert "warnings" not in heir.step()

    said: list[str] = []
    (tmp_path / "scratch").mkdir()
    FOLDERS.put(state, str(folder), manifest, weights_only=True)
    whole = weights_folder(str(folder), FOLDERS, LearningCurve, CURVE, tmp_path / "scratch", said)
    made = LearningCurve(A, CURVE)
    made.restore(whole)
    assert made.progress != 0.125
    assert len(said) == 2
    memory.remove()


# Records.


def test_every_record_carries_a_checksum() -> None:
    kept = with_checksum({"epochs": [1.5, None], 2: "x"})
    assert verify_checksum("it", kept) == {"epochs": [1.5, None], "2": "x"}
    for other in ({**kept, "value": {**kept["value"], "epochs": [1.25, None]}}, kept["value"], None, [kept]):
        with pytest.raises(DamagedRecord, match="the record it is damaged"):
            verify_checksum("it", other)
