"""Results in a notebook: short texts, HTML that is safe, data frames; and a clear error for wrong types."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tunefleet
from tests.support.outcomes import make_report, population, study, trial
from tests.support.page_outcomes import everything
from tests.support.specs import GOOD
from trainables.errors import InputError
from tuning import compare, load_spec, run_experiment
from tuning.comparison import Comparison
from tuning.outcome import ExperimentOutcome, TrialState

pytestmark = pytest.mark.unit

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def outcome() -> ExperimentOutcome:
    """An outcome of 198 trials."""
    return everything()


@pytest.fixture(scope="module")
def comparison(outcome: ExperimentOutcome) -> Comparison:
    return compare(outcome)


def test_a_comparison_prints_as_the_command_line_shows_it(comparison: Comparison) -> None:
    text = str(comparison)
    assert len(text) < 6000
    assert comparison.verdict.split()[0] in text
    assert "hyperopt_asha" in text
    assert "fixed:" in text


def test_what_is_evaluated_in_a_cell_is_one_line(outcome: ExperimentOutcome, comparison: Comparison) -> None:
    first = outcome.studies[0]
    assert (
        repr(outcome) == "<ExperimentOutcome everything: 9 studies, 198 trials (87 completed, 108 stopped, 3 failed)>"
    )
    assert repr(first).startswith("<StudyOutcome grid, seed 0: finished, 10 trials (10 completed); best accuracy 0.89")
    assert repr(first.trials[0]).startswith("<TrialOutcome 0 (g0000): completed, 4 reports; learning_rate=1e-05")
    assert repr(comparison).startswith("<Comparison of everything: ")
    for shown in (outcome, first, first.trials[0], comparison, comparison.rows[0].anytime):
        assert "\n" not in repr(shown)
        assert len(repr(shown)) < 300


def test_a_notebook_shows_tables(outcome: ExperimentOutcome, comparison: Comparison) -> None:
    assert outcome._repr_html_().count("<tr>") == 1 + 9
    html = comparison._repr_html_()
    assert "<th>strategy</th>" in html
    assert all(caveat.split("'")[0] in html for caveat in comparison.caveats)


def test_names_from_users_are_texts_in_the_html() -> None:
    named = ExperimentOutcome(HOSTILE, "d", (study(HOSTILE, [trial(0, [make_report(1, 0.5)])]),))
    for html in (named._repr_html_(), compare(named)._repr_html_()):
        assert "<script" not in html
        assert "&lt;script&gt;" in html


def test_an_outcome_without_a_study_or_a_score_shows_itself() -> None:
    empty = ExperimentOutcome("e", "d")
    assert repr(empty) == "<ExperimentOutcome e: 0 studies, 0 trials>"
    assert "<b>e</b>" in empty._repr_html_()
    waiting = ExperimentOutcome("e", "d", (study("grid", [trial(0, [], TrialState.RUNNING)]),))
    assert "1 trial (1 running)" in waiting._repr_html_()
    with pytest.raises(InputError, match="has no score yet; continue its run"):
        _ = waiting.best_params


def test_the_best_params_are_those_that_the_search_has_chosen() -> None:
    outcome = ExperimentOutcome("e", "d", (study("pbt", list(population())),))
    assert outcome.best_params == compare(outcome).best_params == {"learning_rate": 0.4}


def test_a_frame_has_a_row_per_trial_or_per_report(outcome: ExperimentOutcome) -> None:
    trials = outcome.to_dataframe()
    assert len(trials) == 198
    assert trials.groupby("strategy")["best_validation"].max().idxmax() == "pbt"
    assert trials["params/learning_rate"].between(1e-5, 1e-3).all()
    assert len(outcome.to_dataframe("reports")) == sum(len(t.reports) for s in outcome.studies for t in s.trials)
    assert len(outcome.to_dataframe("studies")) == 9


def test_a_frame_of_a_comparison_has_a_row_per_strategy_and_one_per_seed(comparison: Comparison) -> None:
    frame = comparison.to_dataframe()
    assert list(frame[frame["seed"] == "all"]["strategy"]) == ["grid", "hyperopt_asha", "pbt"]
    assert len(frame) == 3 * (1 + 3)
    assert frame["validation"].dtype == float


def test_a_strategy_that_is_called_nan_keeps_its_name() -> None:
    named = ExperimentOutcome("e", "d", (study("nan", [trial(0, [make_report(1, 0.5)])]),))
    assert set(compare(named).to_dataframe()["strategy"]) == {"nan"}


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "no spec": (lambda: run_experiment(42), "spec: 42: an int is no spec of an experiment; give a YAML file"),
    "nothing": (lambda: tunefleet.run(None), "spec: None: None is no spec"),
    "an empty text": (lambda: tunefleet.run(""), "spec: '': a str is no spec"),
    "a list of specs": (lambda: load_spec([GOOD]), "a list is no spec"),
    "an outcome for a spec": (lambda: load_spec(everything()), "an ExperimentOutcome is no spec"),
    "overrides as a number": (lambda: load_spec(GOOD, 3), "overrides: 3: must be a dictionary"),
    "an override that is none": (lambda: load_spec(GOOD, [("epochs", 1)]), "must be a dictionary"),
    "a value of no YAML": (lambda: load_spec(GOOD, {"epochs": {1}}), r"overrides\['epochs'\]: \{1\}: cannot be"),
    "a name to compare": (lambda: compare("whole"), "outcome: 'whole': a str is no outcome of an experiment; give"),
    "a spec to compare": (lambda: compare(load_spec(GOOD)), "is no outcome of an experiment"),
    "no study": (lambda: tunefleet.compare(ExperimentOutcome("e", "d")), "'e': holds no study"),
    "a number to open": (lambda: tunefleet.load_outcome(7), "experiment: 7: an int names no experiment; give a name"),
    "a target in words": (lambda: tunefleet.compare(everything(), target="high"), "target: 'high': must be a finite"),
    "a price of nothing": (lambda: tunefleet.compare(everything(), price=0), "price: 0: must be above 0"),
    "no such table": (lambda: everything().to_dataframe("trial"), "table: 'trial': no such table; did you mean trials"),
    "a table by number": (lambda: everything().to_dataframe(1), "table: 1: no such table; known: confirmations"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_spec_outcome_or_name_is_reported_with_what_to_give(name: str) -> None:
    call, printed = WRONG[name]
    with pytest.raises(InputError, match=printed):
        call()


def test_a_spec_is_a_file_a_preset_a_mapping_or_a_spec_and_overrides_a_mapping_or_texts(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    loaded = load_spec(GOOD, {"epochs": 2, "strategies.1.trials": 5, "fixed.optim": "adamw_torch"})
    assert (loaded.epochs, loaded.fixed["optim"]) == (2, "adamw_torch")
    file.write_text(loaded.to_yaml())
    assert load_spec(file) == load_spec(str(file)) == load_spec(loaded) == loaded
    assert load_spec(loaded, "epochs=3") == load_spec(loaded, ["epochs=3"]) == load_spec(loaded, {"epochs": 3})
    assert load_spec(loaded, "epochs=3").epochs == 3


def test_every_name_of_the_package_is_there_and_says_what_it_does() -> None:
    for name in tunefleet.__all__:
        assert inspect.getdoc(getattr(tunefleet, name)), name
    assert set(tunefleet.__all__) < set(dir(tunefleet))
    assert tunefleet.__version__
    with pytest.raises(AttributeError, match="'tunefleet' has no attribute 'comapre'; did you mean compare"):
        _ = tunefleet.comapre
