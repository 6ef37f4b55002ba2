"""An experiment that was cut off and whose files are damaged: a resume ends as if nothing had happened, or refuses."""

from __future__ import annotations

import contextlib
import random
import re
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.damage import damage, files_of
from tests.support.power_cuts import Film, Moment, cut_off, in_virtual_time
from tests.support.specs import curve_fields, user_trainer_fields
from tests.support.stopped_runs import check_no_saved_epoch_was_computed_again, memory_of, outcomes, spec_of
from tuning import load_spec
from tuning.errors import RunFolderError
from tuning.outcome import StudyOutcome
from tuning.run_folder.files import spec_with_checksum
from tuning.run_folder.folder import refuse_changed
from tuning.store.study_store import StoreError, StudyStore, sqlite_url

pytestmark = pytest.mark.tune


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Film, Moment, StudyOutcome]]:
    """A population, a moment in its middle, and what it comes to undisturbed."""
    folder = tmp_path_factory.mktemp("filmed")
    film = Film(spec_of(folder / "storage", "pbt", 10.0, checkpoint={"every_epochs": 1}), folder / "aside", every=20)
    (expected,) = film.shoot().studies
    yield film, film.spread(5)[3], expected
    film.forget()


def test_a_resume_beside_damaged_files_ends_as_if_nothing_had_happened(
    filmed: tuple[Film, Moment, StudyOutcome], caplog: pytest.LogCaptureFixture
) -> None:
    film, moment, expected = filmed
    film.bring_back(moment)
    files = files_of(film.studies[0], memory_of(film.studies[0]))
    for file in (*files["newest snapshot"], *files["recipe"][::2], *files["state"]):
        damage(file, random.Random(0))
    (after,) = film.resume().studies
    assert outcomes(after) == outcomes(expected)
    assert re.search(
        r"pbt, seed 0: .*/snapshot-\d+ is damaged .*; going on from snapshot-\d+ of .* UTC: \d+ rep", caplog.text
    )


def test_a_users_trainer_beside_damaged_files_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    """Its states are made again by training along the segments of their recipes."""
    raw = user_trainer_fields(
        tmp_path / "storage",
        objective={"metric": "accuracy", "mode": "max"},
        strategies=[{"kind": "pbt", "population": 2, "quantile": 0.5}],
        cluster={"max_concurrent": 1},
        checkpoint={"every_epochs": 1},
        test=False,
    )
    film = Film(raw, tmp_path / "aside")
    (expected,) = film.shoot().studies
    film.bring_back(film.spread(5)[3])
    files = files_of(film.studies[0], memory_of(film.studies[0]))
    for file in (*files["newest snapshot"], *files["recipe"][::2], *files["state"]):
        damage(file, random.Random(0))
    (after,) = film.resume().studies
    assert outcomes(after) == outcomes(expected)
    film.forget()


@pytest.mark.parametrize(
    "kind", ["newest snapshot", "older snapshot", "Tune's own", "study store", "spec", "recipe", "state"]
)
def test_a_resume_beside_one_damaged_file_ends_as_if_nothing_had_happened_or_names_it(
    filmed: tuple[Film, Moment, StudyOutcome], kind: str
) -> None:
    """More cases, with drivers: `python -m benchmarks.faults damage`."""
    film, moment, expected = filmed
    rng = random.Random(kind)
    film.bring_back(moment)
    file = rng.choice(files_of(film.studies[0], memory_of(film.studies[0]))[kind])
    how = damage(file, rng)
    try:
        refused, found = "", outcomes(film.resume().studies[0])
    except (RunFolderError, StoreError) as error:
        refused, found = str(error), []
    assert file.name in refused if refused else found == outcomes(expected), (file, how, refused)


def test_a_study_set_back_to_an_older_snapshot_computes_no_epoch_again_whose_checkpoint_is_there(
    filmed: tuple[Film, Moment, StudyOutcome],
) -> None:
    film, _, expected = filmed
    for moment in film.spread(5)[2:4]:
        recorded = film.bring_back(moment)
        assert recorded is not None
        damage(files_of(film.studies[0], memory_of(film.studies[0]))["newest snapshot"][0], random.Random(0))
        saved = film.saved()
        (after,) = film.resume().studies
        assert outcomes(after) == outcomes(expected), moment
        check_no_saved_epoch_was_computed_again(recorded.studies[0], after, saved, len(film.computed))


# Two studies, of which one has ended.


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of an experiment that was cut off in its second study."""
    spec = load_spec(two_studies(tmp_path_factory.mktemp("cut")))
    cut_off(spec, epochs=7)
    return spec.run_folder


def two_studies(storage: Path) -> dict[str, Any]:
    strategies = [{"kind": "grid", "points": 2}, {"kind": "random", "trials": 2}]
    return curve_fields(storage, name="found", epochs=2, strategies=strategies, cluster={"max_concurrent": 1})


@pytest.fixture
def copied(cut: Path, tmp_path: Path) -> Path:
    """A copy of it that may be damaged."""
    shutil.copytree(cut, tmp_path / "found")
    return tmp_path / "found"


@pytest.mark.parametrize("case", range(8))
def test_a_damaged_store_is_named_or_says_the_same(cut: Path, copied: Path, case: int) -> None:
    damage(copied / "study.db", random.Random(case))
    store, whole = StudyStore(sqlite_url(copied / "study.db")), StudyStore(sqlite_url(cut / "study.db"))
    try:
        store.check()
        found: object = store.load("found")
    except StoreError as error:
        found = str(error)
    # Or the byte belongs to no record of ours.
    assert "study.db" in found if isinstance(found, str) else found == whole.load("found")


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("trial_user_attributes", "replace(value_json, '\"accuracy\": 0.', '\"accuracy\": 0.9')"),
        ("trial_user_attributes", "replace(value_json, '\"learning_rate\": ', '\"learning_rate\": 1')"),
        ("study_user_attributes", 'replace(value_json, \'"metric": "accuracy"\', \'"metric": "loss"\')'),
        ("study_user_attributes", "replace(value_json, 'checkpoint_', 'checkpoimt_')"),
    ],
)
def test_a_value_that_was_changed_in_a_sound_database_is_reported(copied: Path, table: str, change: str) -> None:
    with contextlib.closing(sqlite3.connect(copied / "study.db")) as database, database:
        database.execute(f"update {table} set value_json = {change}")
    store = StudyStore(sqlite_url(copied / "study.db"))
    store.check()
    with pytest.raises(
        StoreError, match=r"study\.db: cannot .* is damaged: its checksum differs\. Restore a good copy"
    ):
        store.load("found")


def test_a_store_that_has_lost_what_a_snapshot_knows_is_refused(copied: Path) -> None:
    (copied / "study.db").write_bytes(b"")
    spec = load_spec(two_studies(copied.parent))
    with pytest.raises(StoreError, match=r"study\.db: damaged, or an older copy: of trial .* holds 0 events, and 2"):
        in_virtual_time(spec, resume=True)


def test_a_spec_that_is_not_as_it_was_written_is_reported_with_what_differs(copied: Path) -> None:
    kept, spec = copied / "spec.yaml", load_spec(two_studies(copied.parent))
    refuse_changed(kept, lambda: "")
    text = kept.read_text()
    assert text == spec_with_checksum(load_spec(kept).to_yaml())
    for changed in (text.replace("epochs: 2", "epochs: 3"), text[:-1], text.partition("\n")[2], ""):
        kept.write_text(changed)
        with pytest.raises(RunFolderError, match=r"found/spec\.yaml is not as it was written.*--force"):
            in_virtual_time(spec, resume=True)
    kept.write_text(text.replace("epochs: 2", "epochs: 3"))
    with pytest.raises(RunFolderError, match=r"or was edited: epochs differ"):
        in_virtual_time(spec, resume=True)
    with pytest.raises(RunFolderError, match=r"is of another spec \(different: epochs\)"):  # of what decides: never
        in_virtual_time(spec, resume=True, force=True)
    edited, as_read = kept.read_text(), load_spec(kept, [f"cluster.storage={copied.parent}"])
    with pytest.raises(StoreError, match=r"recorded in .* under another spec .*: epochs differ"):
        in_virtual_time(as_read, resume=True, force=True)
    assert kept.read_text() == edited
