"""Tests the advice which configuration to use, which is the same in every output."""

from __future__ import annotations

import io
import json

import pytest

from tests.support.outcomes import make_report, population, scored, study, trial
from tuning.comparison import compare
from tuning.comparison.text import comparison_json, comparison_markdown, print_comparison
from tuning.outcome import Confirmation, ExperimentOutcome, Stretch, StudyOutcome, StudyState
from tuning.report.page.document import page_content

pytestmark = pytest.mark.unit


def grid(**changed: object) -> StudyOutcome:
    trials = [trial(0, [make_report(1, 0.7), make_report(2, 0.85)])]
    return study("grid", trials, **{"test": scored("t0", 2, 0.78), **changed})  # type: ignore[arg-type]


def pbt(test: float = 0.81) -> StudyOutcome:
    return study("pbt", list(population()), test=scored("t1", 3, test))


def advice(*studies: StudyOutcome) -> str:
    return compare(ExperimentOutcome("e", "d", studies)).advice


def test_it_names_the_configuration_what_it_was_chosen_by_and_its_test_score() -> None:
    assert advice(grid(), pbt(test=0.7)) == (
        "Use the configuration of grid, seed 0, trial 0 (t0) after epoch 2: it has the best validation accuracy, "
        "0.8500; test accuracy 0.780 [0.753, 0.805]."
    )


def test_another_strategy_that_stands_first_on_test_is_no_contradiction() -> None:
    sentence = advice(grid(), pbt())
    assert sentence.startswith("Use the configuration of grid, seed 0")
    assert sentence.endswith(". On test pbt is best, but configurations are not chosen by test scores.")


def test_of_a_confirmed_configuration_it_tells_the_mean_of_its_trainings() -> None:
    stretch = (Stretch(0.0, 2.0, {"learning_rate": 0.1}),)
    confirmations = tuple(
        Confirmation(1, "t0", 2.0, stretch, 0.85, seed, 10.0, 0.0, validation={"accuracy": score})
        for seed, score in ((1000, 0.8), (1001, 0.82))
    )
    sentence = advice(StudyOutcome(**{**vars(grid(test=None)), "confirmations": confirmations}))
    assert "its mean validation accuracy over 2 trainings is the best, 0.8100; it has no test score." in sentence


def test_before_the_end_it_is_the_best_so_far_and_before_a_score_there_is_none() -> None:
    assert "0.8500 so far; it has no test score." in advice(grid(test=None, state=StudyState.RUNNING))
    assert advice(study("grid", [])) == "No configuration to use yet: no trial has reported a score."


def test_terminal_markdown_json_and_page_begin_with_the_same_sentence() -> None:
    outcome = ExperimentOutcome("e", "d", (grid(), pbt()))
    comparison, file = compare(outcome), io.StringIO()
    print_comparison(comparison, file)
    assert " ".join(file.getvalue().split()).partition("device: GPU ")[2].startswith(comparison.advice)
    assert f"**{comparison.advice}**" in comparison_markdown(comparison).partition("| strategy")[0]
    assert json.loads(comparison_json(comparison))["advice"] == comparison.advice
    body = page_content(outcome, "name: e\n").body
    assert f'<p class="advice">{comparison.advice}</p>' in body.partition(comparison.verdict)[0]
