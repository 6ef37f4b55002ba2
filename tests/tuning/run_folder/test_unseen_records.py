"""A run folder that does not know what its study store holds is not gone on with."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest

from tests.support.recorded_runs import run_left
from tuning.errors import RunFolderError
from tuning.extended_spec import extend_spec
from tuning.outcome import TestScore
from tuning.run_folder.folder import claim_run_folder
from tuning.spec.loading import load_spec
from tuning.spec.models import SPEC_FILE, ExperimentSpec
from tuning.spec.store_url import sqlite_url
from tuning.store.study_store import StudyStore
from tuning.testing.recording import open_study

pytestmark = pytest.mark.unit

GRID = [{"kind": "grid", "points": 2}]


def extended(spec: ExperimentSpec, *seeds: int, judged: bool = False) -> ExperimentSpec:
    return extend_spec(spec, load_spec(spec, {"seeds": seeds}), judged=judged)


def begin_last_seed(spec: ExperimentSpec) -> None:
    """Records that the study of the last seed has begun."""
    with contextlib.closing(StudyStore(spec.store_url)) as store:
        about = {"experiment": spec.name, "digest": spec.digest(), "spec_yaml": spec.to_yaml()}
        open_study(store, strategy="grid", kind="grid", seed=spec.seeds[-1], **about)


def test_of_two_copies_of_a_run_folder_with_one_store_only_the_extended_one_goes_on(tmp_path: Path) -> None:
    shared = sqlite_url(tmp_path / "team.db")  # as PostgreSQL is for a team
    spec = run_left(tmp_path / "mine", strategies=GRID, store=shared, scores=(0.5,), finished=True)
    shutil.copytree(spec.run_folder, tmp_path / "copy" / spec.name)
    copy = load_spec(tmp_path / "copy" / spec.name / SPEC_FILE, [f"cluster.storage={tmp_path / 'copy'}"])
    claim_run_folder(copy, resume=True)
    grown = extended(spec, 0, 1)
    claim_run_folder(grown, resume=True)
    begin_last_seed(grown)
    text = (copy.run_folder / SPEC_FILE).read_text()
    for outdated in (copy, extended(copy, 0, 1), extended(copy, 0, 9)):
        with pytest.raises(
            RunFolderError, match=rf"team.db holds studies that {copy.run_folder}.* not name: grid-seed1\. .*go on in"
        ):
            claim_run_folder(outdated, resume=True)
    assert (copy.run_folder / SPEC_FILE).read_text() == text
    claim_run_folder(extended(grown, 0, 1, 2), resume=True)


def test_a_score_that_comes_while_an_extension_is_asked_for_is_counted(tmp_path: Path) -> None:
    spec = run_left(tmp_path, strategies=GRID, scores=(0.5,), finished=True)
    unseen = extended(spec, 0, 1)
    with contextlib.closing(StudyStore(spec.store_url)) as store:
        (study,) = store.load(spec.name).studies
        score = TestScore("grid-0", 1.0, {"learning_rate": 0.1}, {"accuracy": 0.5}, 24, "checkpoint", 1.0)
        store.writer(spec.name, study).set_test(score)
    with pytest.raises(RunFolderError, match=r"has got a test score .*tunefleet resume .*extend it again"):
        claim_run_folder(unseen, resume=True)
    assert load_spec(spec.run_folder / SPEC_FILE) == spec
    claim_run_folder(extended(spec, 0, 1, judged=True), resume=True)
