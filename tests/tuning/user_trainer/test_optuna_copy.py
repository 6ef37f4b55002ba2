"""The study that a script names has the trials of the search: what Optuna loads and draws is there."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from tests.support.simulated_studies import long_experiment, run
from trainables.errors import InputError
from tuning.outcome import ExperimentOutcome, TrialState
from tuning.spec.store_url import sqlite_url
from tuning.user_trainer.optuna_copy import NamedStudy

pytestmark = pytest.mark.tune


@pytest.fixture
def named(tmp_path: Path) -> NamedStudy:
    """A study in a database that is not made yet."""
    return NamedStudy(sqlite_url(tmp_path / "mine.db"), "mine")


def searched(folder: Path, named: NamedStudy) -> ExperimentOutcome:
    """A search that stops trials early, recorded in the same database."""
    strategy = {"kind": "random_asha", "trials": 6}
    return run(long_experiment(folder, store=named.url, strategies=[strategy]))[0]


def test_the_named_study_has_every_trial_with_its_values_and_its_scores(tmp_path: Path, named: NamedStudy) -> None:
    named.check("max", may_exist=False)
    outcome = searched(tmp_path, named)
    named.add(outcome)
    (study,) = outcome.studies
    copied = optuna.load_study(study_name="mine", storage=named.url).trials
    assert len(copied) == len(study.trials) == 6
    states = {TrialState.COMPLETED: "COMPLETE", TrialState.STOPPED: "PRUNED"}
    for trial, copy in zip(study.trials, copied, strict=True):
        assert copy.state.name == states[trial.state]
        assert copy.params == {name: trial.params[name] for name in copy.params}
        scores = [report.metrics[study.metric] for report in trial.reports]
        assert list(copy.intermediate_values.values()) == scores
    assert {copy.state.name for copy in copied} == {"COMPLETE", "PRUNED"}


def test_a_trial_is_not_copied_twice_and_what_was_there_stays(tmp_path: Path, named: NamedStudy) -> None:
    mine = optuna.create_study(study_name="mine", storage=named.url, direction="maximize")
    mine.add_trial(optuna.trial.create_trial(value=0.5))
    named.check("max", may_exist=True)
    outcome = searched(tmp_path, named)
    named.add(outcome)
    named.add(outcome)
    assert len(optuna.load_study(study_name="mine", storage=named.url).trials) == 7


def test_a_study_that_is_there_is_added_to_only_if_that_was_asked_for(named: NamedStudy) -> None:
    optuna.create_study(study_name="mine", storage=named.url, direction="minimize")
    with pytest.raises(InputError, match="load_if_exists=True"):
        named.check("min", may_exist=False)
    with pytest.raises(InputError, match="has the direction minimize"):
        named.check("max", may_exist=True)


def test_a_search_that_is_refused_after_the_check_leaves_no_study_behind(named: NamedStudy) -> None:
    named.check("min", may_exist=False)
    assert optuna.get_all_study_names(named.url) == []
    named.check("min", may_exist=False)
