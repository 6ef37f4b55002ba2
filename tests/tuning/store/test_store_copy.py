"""One experiment out of a store with others, into a file of its own: the same, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.outcomes import report
from tests.support.stores import begin, exploit, on_both, open_study
from tuning.outcome import StudyState, TrialState
from tuning.store.copy import copy_experiment
from tuning.store.study_store import StudyStore
from tuning.store.url import StoreError, sqlite_url


@on_both
def test_an_experiment_is_copied_whole_and_alone(store_url: str, tmp_path: Path) -> None:
    store = StudyStore(store_url)
    other = open_study(store, experiment="others")
    for trial in ("x", "y"):
        begin(other, trial)
        other.add_report(trial, report(1, 0.9))
    for seed in (0, 1):
        writer = open_study(store, seed=seed)
        for trial in ("a", "b"):
            begin(writer, trial)
            writer.add_report(trial, report(1, 0.5))
        writer.add_exploit("a", exploit(1.0))
        writer.add_report("a", report(2, 0.75))
        writer.add_checkpoint("a", 2.0, str(tmp_path))
        writer.end_trial("a", TrialState.COMPLETED)
        if seed == 0:
            writer.end_trial("b", TrialState.FAILED, error="no more memory")
            writer.finish()

    copy_experiment(store_url, "reviews", tmp_path / "copy.db")
    copy = StudyStore(sqlite_url(tmp_path / "copy.db"))
    assert copy.load("reviews") == store.load("reviews")
    assert copy.experiments() == ("reviews",)
    assert [study.state for study in copy.load("reviews").studies] == [StudyState.FINISHED, StudyState.RUNNING]


@pytest.mark.unit
def test_an_experiment_that_is_not_there_leaves_no_copy(tmp_path: Path) -> None:
    begin(open_study(StudyStore(sqlite_url(tmp_path / "study.db"))), "a")
    with pytest.raises(StoreError, match="did you mean reviews"):
        copy_experiment(sqlite_url(tmp_path / "study.db"), "review", tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()
