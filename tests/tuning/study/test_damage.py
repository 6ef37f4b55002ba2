"""What a resume finds: a damaged file is never used, and it is said; other versions and other code are asked about."""

from __future__ import annotations

import contextlib
import random
import re
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.faults.damaging import damage, interrupted, outcome, resume
from tests.support.outcomes import study, trial
from tests.support.slots import CURVE, A, saved, slot_of
from trainables import checksums
from trainables.checksums import DamagedCheckpoint, write_checksums
from trainables.learning_curve import LearningCurve
from trainables.recipe import RECIPE, SPARE, Recipe, full
from trainables.shared_memory import ROOT, SharedMemory
from trainables.states import Keeping, scorable
from trainables.storage import FOLDERS
from tuning import load_spec, run_experiment
from tuning.comparison.mixtures import mixtures
from tuning.outcome import StudyState
from tuning.run.folder import RunFolderError, refuse_changed, sealed
from tuning.run.provenance import made_with, refuse_others
from tuning.run.snapshots import DamagedSnapshot, Snapshot, Snapshots
from tuning.store.signed import DamagedRecord, signed, verified
from tuning.store.statements import attribute_of_studies, set_study_attributes
from tuning.store.study_store import IDENTITY, StoreError, StudyStore, sqlite_url

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


@pytest.mark.unit
def test_the_last_two_snapshots_stay_and_the_newest_is_put_where_tune_looks(
    snapshots: Snapshots, tmp_path: Path
) -> None:
    for number in (1, 2, 3):
        take(snapshots, tmp_path, number)
    assert [path.name for path in sorted((tmp_path / "snapshots").iterdir())] == ["snapshot-000002", "snapshot-000003"]
    (tmp_path / "experiment_state-LATER.json").write_text("half of")
    found, said = Snapshots(FOLDERS, str(tmp_path)).newest()
    assert found is not None
    assert (found.positions, said) == ({"a": 3}, "")
    snapshots.restore(found)
    assert {path.name: path.read_text() for path in tmp_path.glob("*-*")} == {
        "experiment_state-restored.json": "experiment_state-NOW.json 3",
        "searcher-state-restored.pkl": "searcher-state-NOW.pkl 3",
    }


@pytest.mark.unit
@pytest.mark.parametrize("case", range(6))
def test_a_damaged_snapshot_is_passed_over_and_it_is_said(snapshots: Snapshots, tmp_path: Path, case: int) -> None:
    for number in (1, 2):
        take(snapshots, tmp_path, number)
    damage(tmp_path / "snapshots/snapshot-000002", random.Random(case))
    resumed = Snapshots(FOLDERS, str(tmp_path))
    found, said = resumed.newest()
    assert found is not None
    assert found.positions == {"a": 1}
    assert f"{tmp_path}/snapshots/snapshot-000002 is damaged (checksum differs, " in said
    assert "going on from snapshot-000001 of " in said
    take(resumed, tmp_path, 3)  # under a number of its own, and the damaged one goes
    assert [path.name for path in sorted((tmp_path / "snapshots").iterdir())] == ["snapshot-000001", "snapshot-000003"]


@pytest.mark.unit
def test_without_a_whole_snapshot_nothing_is_begun_anew(snapshots: Snapshots, tmp_path: Path) -> None:
    assert snapshots.newest() == (None, "")
    take(snapshots, tmp_path, 1)
    (tmp_path / "snapshots/snapshot-000001").write_bytes(b"")
    with pytest.raises(RunFolderError, match=r"snapshot-000001 is damaged \(checksum differs, 0 bytes\), so the"):
        Snapshots(FOLDERS, str(tmp_path)).newest()
    shutil.rmtree(tmp_path / "snapshots")
    (tmp_path / "experiment_state-NOW.json").write_text("Tune's own")
    with pytest.raises(RunFolderError, match=r"holds no snapshot, but the study has begun"):
        Snapshots(FOLDERS, str(tmp_path)).newest()


@pytest.mark.unit
def test_no_flipped_bit_and_no_missing_byte_passes() -> None:
    whole = SNAPSHOT.seal()
    assert Snapshot.open(whole) == SNAPSHOT
    for place in range(len(whole)):
        for changed in (whole[:place], whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :]):
            with pytest.raises(DamagedSnapshot):
                Snapshot.open(changed)


# Checkpoints.


@pytest.mark.unit
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


@pytest.mark.unit
def test_a_copy_without_moments_is_whole_and_one_without_weights_is_not(tmp_path: Path) -> None:
    for name in ("weights", "moments.pt"):
        (tmp_path / name).write_text(name)
    write_checksums(tmp_path)
    (tmp_path / "moments.pt").unlink()
    assert checksums.damage(tmp_path) == f"{tmp_path}/moments.pt is missing"
    assert checksums.damage(tmp_path, optional=["moments.pt"]) is None
    (tmp_path / "weights").unlink()
    assert checksums.damage(tmp_path, optional=["moments.pt"]) == f"{tmp_path}/weights is missing"


@pytest.mark.unit
def test_of_a_recipe_one_copy_may_be_damaged(tmp_path: Path) -> None:
    recipe = Recipe.after(None, {"learning_rate": 0.1}, 2.0, moments=True, node=None)
    recipe.write(tmp_path)
    for name in (RECIPE, SPARE):
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_text(text.replace("0.1", "0.2"))
        assert Recipe.read(tmp_path) == FOLDERS.recipe(str(tmp_path)) == recipe
        (tmp_path / name).write_text(text)
    for name in (RECIPE, SPARE):
        (tmp_path / name).write_text("")
    with pytest.raises(DamagedCheckpoint, match=rf"{RECIPE} and {tmp_path}/{SPARE}: damaged"):
        FOLDERS.recipe(str(tmp_path))


@pytest.mark.unit
@in_memory
def test_a_slot_makes_a_damaged_state_again_and_says_so(tmp_path: Path) -> None:
    place = tmp_path / "study"
    slot = slot_of(A, Keeping(place), CURVE, LearningCurve)
    for number in (0, 1):
        slot.step()
        folder = saved(slot, place, "a", number)
    recipe = Recipe.read(folder)
    memory = SharedMemory(place)
    state = memory.find(full(recipe.token))
    assert state is not None
    (state / "curve.json").write_text('{"epoch": 2.0, "progress": 0.125}')  # as good a state as any but by its checksum
    heir = slot_of(A, Keeping(place), CURVE, LearningCurve)
    heir.load_checkpoint(str(folder))
    other = heir.step()
    assert other["metrics"] == slot.step()["metrics"]
    assert [line.partition(" is ")[2] for line in other["said"]] == [
        "damaged (checksum differs, 33 bytes): not used",
        "made again from epoch 1 to 2",
    ]
    assert "said" not in heir.step()

    said: list[str] = []
    (tmp_path / "scratch").mkdir()
    FOLDERS.put(state, str(folder), recipe, weights_only=True)
    whole = scorable(str(folder), FOLDERS, LearningCurve, CURVE, tmp_path / "scratch", said)
    made = LearningCurve(A, CURVE)
    made.restore(whole)
    assert made.progress != 0.125
    assert len(said) == 2
    memory.remove()


# The store and the spec.


@pytest.mark.unit
def test_every_record_carries_a_checksum() -> None:
    kept = signed({"epochs": [1.5, None], 2: "x"})
    assert verified("it", kept) == {"epochs": [1.5, None], "2": "x"}
    for other in ({**kept, "value": {**kept["value"], "epochs": [1.25, None]}}, kept["value"], None, [kept]):
        with pytest.raises(DamagedRecord, match="the record it is damaged"):
            verified("it", other)


@pytest.fixture(scope="module")
def ended(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of an experiment that has ended, but does not know it of its last study."""
    spec = load_spec(spec_of(tmp_path_factory.mktemp("ended")))
    run_experiment(spec, progress=False)
    store = StudyStore(spec.store_url)
    storage = store._open()
    (*_, last) = attribute_of_studies(storage, IDENTITY)
    set_study_attributes(storage, last, {"state": StudyState.RUNNING.value})
    store.close()
    return spec.run_folder


def spec_of(storage: Path, **changes: Any) -> dict[str, Any]:
    return {
        "name": "found",
        "trainable": "learning_curve",
        "task": "reviews",
        "epochs": 2,
        "space": {"learning_rate": {"loguniform": [1e-5, 1e-2]}},
        "strategies": [{"kind": "grid", "points": 2}, {"kind": "random", "trials": 2}],
        "cluster": {"storage": str(storage), "max_concurrent": 1},
        **changes,
    }


@pytest.fixture
def copied(ended: Path, tmp_path: Path) -> Path:
    """A copy of it that may be damaged."""
    shutil.copytree(ended, tmp_path / "found")
    return tmp_path / "found"


@pytest.mark.ray
@pytest.mark.parametrize("case", range(8))
def test_a_damaged_store_is_named_or_says_the_same(ended: Path, copied: Path, case: int) -> None:
    damage(copied / "study.db", random.Random(case))
    store, whole = StudyStore(sqlite_url(copied / "study.db")), StudyStore(sqlite_url(ended / "study.db"))
    try:
        store.check()
        found: object = store.load("found")
    except StoreError as error:
        found = str(error)
    # Or the byte belongs to no record of ours.
    assert "study.db" in found if isinstance(found, str) else found == whole.load("found")


@pytest.mark.ray
@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("trial_user_attributes", "replace(value_json, '\"accuracy\": 0.', '\"accuracy\": 0.9')"),
        ("trial_user_attributes", "replace(value_json, '\"learning_rate\": ', '\"learning_rate\": 1')"),
        ("study_user_attributes", 'replace(value_json, \'"metric": "accuracy"\', \'"metric": "loss"\')'),
        ("study_user_attributes", "replace(value_json, 'checkpoint_', 'checkpoimt_')"),
    ],
)
def test_a_value_that_was_changed_in_a_sound_database_is_told(copied: Path, table: str, change: str) -> None:
    with contextlib.closing(sqlite3.connect(copied / "study.db")) as database, database:
        database.execute(f"update {table} set value_json = {change}")
    store = StudyStore(sqlite_url(copied / "study.db"))
    store.check()
    with pytest.raises(StoreError, match=r"study\.db: cannot .* is damaged: its checksum differs\. Bring a good copy"):
        store.load("found")


@pytest.mark.ray
def test_a_store_that_has_lost_what_a_snapshot_knows_is_refused(copied: Path) -> None:
    (copied / "study.db").write_bytes(b"")
    spec = load_spec(spec_of(copied.parent))
    with pytest.raises(StoreError, match=r"study\.db: damaged, or an older copy: of trial .* holds 0 events, and 2"):
        run_experiment(spec, progress=False, resume=True)


@pytest.mark.ray
def test_a_spec_that_is_not_as_it_was_written_is_told_with_what_differs(copied: Path) -> None:
    kept, spec = copied / "spec.yaml", load_spec(spec_of(copied.parent))
    refuse_changed(kept, lambda: "")
    text = kept.read_text()
    assert text == sealed(load_spec(kept).to_yaml())
    for changed in (text.replace("epochs: 2", "epochs: 3"), text[:-1], text.partition("\n")[2], ""):
        kept.write_text(changed)
        with pytest.raises(RunFolderError, match=r"found/spec\.yaml is not as it was written.*--force"):
            run_experiment(spec, progress=False, resume=True)
    kept.write_text(text.replace("epochs: 2", "epochs: 3"))
    with pytest.raises(RunFolderError, match=r"or was edited: epochs differ"):
        run_experiment(spec, progress=False, resume=True)
    with pytest.raises(RunFolderError, match=r"is of another spec \(different: epochs\)"):  # of what decides: never
        run_experiment(spec, progress=False, resume=True, force=True)
    edited, as_read = kept.read_text(), load_spec(kept, [f"cluster.storage={copied.parent}"])
    with pytest.raises(StoreError, match=r"recorded in .* under another spec .*: epochs differ"):
        run_experiment(as_read, progress=False, resume=True, force=True)
    assert kept.read_text() == edited


# Other versions, other code.


@pytest.mark.ray
def test_a_resume_with_other_versions_is_asked_for_and_then_said(copied: Path) -> None:
    spec = load_spec(spec_of(copied.parent))
    store = StudyStore(spec.store_url)
    storage = store._open()
    for number, (_, stored) in attribute_of_studies(storage, IDENTITY).items():
        identity = verified(IDENTITY, stored)
        identity["attributes"] |= {"torch": "1.0", "code": "0123456789ab"}
        set_study_attributes(storage, number, {IDENTITY: identity})
    store.close()
    now = made_with(spec)
    with pytest.raises(RunFolderError, match=r"torch 1\.0 before, .* now; code of tunefleet 0123"):
        run_experiment(spec, progress=False, resume=True)
    outcome = run_experiment(spec, progress=False, resume=True, force=True)
    attributes = outcome.study("random", 0).attributes
    assert attributes["mixed"] == f"torch 1.0, then {now['torch']}; code 0123456789ab, then {now['code']}"
    assert "mixed" not in outcome.study("grid", 0).attributes  # it had ended
    first, second = mixtures(outcome.studies)
    assert first.startswith(f"random seed 0 was made with more than one version ({attributes['mixed']})")
    assert f"torch 1.0 (grid seed 0), {now['torch']} (random seed 0)" in second


@pytest.mark.unit
def test_the_code_is_that_of_the_package_and_of_a_trainable_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (Path(__file__).parents[2] / "support" / "own_trainables.py").read_text()
    (tmp_path / "mine.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = load_spec(spec_of(tmp_path, trainable="mine:train"))
    before = made_with(spec)
    assert made_with(spec) == before
    assert "trainable_code" not in made_with(load_spec(spec_of(tmp_path)))
    (tmp_path / "mine.py").write_text(source + "\n# changed\n")
    now = made_with(spec)
    assert {name for name in now if now[name] != before[name]} == {"trainable_code"}
    made = study("grid", [trial(0, [])])
    refuse_others([replace(made, attributes={"slots": 2})], now)  # nothing is known of how it was made
    with pytest.raises(RunFolderError, match=rf"\(code of your trainable {before['trainable_code']} before"):
        refuse_others([replace(made, attributes=before)], now)


# The command.


@pytest.mark.system
@in_memory
def test_a_resume_beside_damaged_files_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    run = interrupted("pbt", tmp_path)
    run.bring_back()
    files = run.files()
    for file in (*files["newest snapshot"], *files["recipe"][::2], *files["state"]):
        damage(file, random.Random(0))
    done = resume(run)
    assert done.returncode == 0, done.stderr
    assert outcome(run.folder) == run.expected
    assert re.search(
        r"pbt, seed 0: .*/snapshot-\d+ is damaged .*; going on from snapshot-\d+ of .* UTC: \d+ rep", done.stderr
    )
    run.forget()
