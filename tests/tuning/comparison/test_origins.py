"""Tests the origin of chosen configurations, and which strategies chose the same one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.outcomes import make_report, population, study, trial
from tests.support.simulated_studies import run
from tests.support.specs import curve_experiment
from tuning.comparison import compare
from tuning.comparison.origins import EXPLOIT, SHARED
from tuning.outcome import ExperimentOutcome, StudyOutcome, TrialOutcome
from tuning.outcome.attributes import ORIGIN, RANDOM_DRAW, RANDOM_FIRST

MODEL = "the model's proposal"


def recorded(name: str, trials: list[TrialOutcome], origin: str, random_first: int = 0) -> StudyOutcome:
    made = study(name, trials)
    return replace(made, attributes={**made.attributes, ORIGIN: origin, RANDOM_FIRST: random_first})


def origins(*studies: StudyOutcome) -> dict[str, str | None]:
    comparison = compare(ExperimentOutcome("e", "d", studies))
    return {row.strategy: row.studies[0].origin for row in comparison.rows}


@pytest.mark.unit
def test_each_origin_is_reported() -> None:
    """Makes a study; a rate of 0.1 is the first draw of the seed."""
    random = recorded(
        "random", [trial(0, [make_report(1, 0.6, 0.1)]), trial(1, [make_report(1, 0.7, 0.25)])], RANDOM_DRAW
    )
    early = recorded("early", [trial(0, [make_report(1, 0.6, 0.1)]), trial(1, [make_report(1, 0.5, 0.3)])], MODEL, 1)
    late = recorded("late", [trial(0, [make_report(1, 0.6, 0.1)]), trial(1, [make_report(1, 0.9, 0.3)])], MODEL, 1)
    alone = recorded("alone", [trial(0, [make_report(1, 0.6, 0.95)])], RANDOM_DRAW)
    grid = recorded("grid", [trial(0, [make_report(1, 0.6, 0.1)])], "point of the grid")
    pbt = recorded("pbt", list(population()), RANDOM_DRAW)
    assert origins(random, early, late, alone, grid, pbt) == {
        "random": RANDOM_DRAW, "early": SHARED, "late": MODEL, "alone": RANDOM_DRAW, "grid": "point of the grid",
        "pbt": EXPLOIT,
    }  # fmt: skip


@pytest.mark.unit
def test_of_an_older_record_exploits_alone_are_known() -> None:
    one, same = (study(name, [trial(0, [make_report(1, 0.6, 0.1)])]) for name in ("a", "b"))
    assert origins(one, same, study("pbt", list(population()))) == {"a": None, "b": None, "pbt": EXPLOIT}


@pytest.mark.unit
def test_the_seeds_with_which_two_strategies_have_chosen_the_same_are_counted() -> None:
    rates = {"a": (0.1, 0.2, 0.3), "b": (0.1, 0.2, 0.4), "c": (0.5, 0.6, 0.3), "d": (0.7, 0.8, 0.9)}
    studies = [
        study(name, [trial(0, [make_report(1, 0.6, rate)])], seed=seed)
        for name, of in rates.items()
        for seed, rate in enumerate(of)
    ]
    comparison = compare(ExperimentOutcome("e", "d", tuple(studies)))
    assert [(one.first, one.second, one.same, one.seeds) for one in comparison.alike] == [
        ("a", "b", 2, 3), ("a", "c", 1, 3),
    ]  # fmt: skip
    assert (
        "Chose the same configuration: a and b in 2 of 3 seeds; a and c in 1 of 3 seeds. Such seeds cannot show "
        "which of the two is better."
    ) in comparison.caveats


@pytest.mark.tune
def test_a_run_records_who_has_proposed_what(tmp_path: Path) -> None:
    strategies = [
        {"kind": "grid", "points": 2},
        {"kind": "random", "trials": 2},
        {"kind": "hyperopt", "trials": 2, "initial_random": 2},
        {"kind": "hyperopt", "label": "modelled", "trials": 5, "initial_random": 1},
        {"kind": "pbt", "population": 4},
        {"kind": "defaults"},
    ]
    spec = curve_experiment(tmp_path, strategies=strategies)
    outcome, _ = run(spec)
    comparison = compare(outcome, spec=spec.plain())
    found = {row.strategy: row.studies[0].origin for row in comparison.rows}
    best = {row.strategy: row.studies[0].chosen for row in comparison.rows}
    number = best["modelled"].number if best["modelled"] else 0
    assert found == {
        "grid": "point of the grid", "random": SHARED, "hyperopt": SHARED,
        "modelled": MODEL if number else SHARED, "pbt": EXPLOIT, "defaults": "values without a search",
    }  # fmt: skip
    assert number  # five trials with a model find better than the first draw
    (sentence,) = (caveat for caveat in comparison.caveats if caveat.startswith("Origin of the chosen configurations"))
    assert "grid: point of the grid (1); random: first point shared with another strategy (1); " in sentence
