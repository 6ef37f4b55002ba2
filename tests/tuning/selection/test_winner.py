"""The winner of an experiment: the study whose configuration is trained once more, to keep its model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.outcomes import make_report, study, trial
from trainables.errors import InputError
from tuning.outcome import Confirmation, ExperimentOutcome, StudyOutcome, StudyState
from tuning.selection.winner import winner_of
from tuning.spec.models import ConfirmSpec


def one(strategy: str, searched: float, confirmed: list[float], **changed: Any) -> StudyOutcome:
    made = tuple(
        Confirmation(1, "t0", 1.0, (), searched, seed, 1.0, 0.0, {"accuracy": accuracy}, {"accuracy": 1 - accuracy})
        for seed, accuracy in enumerate(confirmed)
    )
    return replace(study(strategy, [trial(0, [make_report(1, searched)])]), confirmations=made, **changed)


@pytest.mark.unit
def test_the_best_confirmed_mean_wins_whatever_the_search_and_the_test_say() -> None:
    outcome = ExperimentOutcome(
        "x", "d", (one("grid", 0.9, [0.5, 0.6]), one("pbt", 0.7, [0.6, 0.6]), one("asha", 1.0, []))
    )
    winner = winner_of(outcome)
    assert (winner.study.strategy, len(winner.confirmations)) == ("pbt", 2)
    assert winner.caveats == ("Only 2 of 3 studies are confirmed; the others do not count.",)
    assert winner_of(outcome, "grid").study.strategy == "grid"
    more = winner_of(outcome, "pbt", ConfirmSpec(top=1, seeds=3))
    assert more.caveats == ("The confirmation was not over: pbt seed 0.",)


@pytest.mark.unit
def test_without_confirmations_the_best_of_the_search_wins_with_a_caveat() -> None:
    outcome = ExperimentOutcome("x", "d", (one("grid", 0.9, []), one("pbt", 0.7, [], state=StudyState.RUNNING)))
    winner = winner_of(outcome)
    assert (winner.study.strategy, winner.candidate.searched) == ("grid", 0.9)
    assert winner.caveats[0] == "The search was not over: pbt seed 0."
    assert "was not confirmed" in winner.caveats[1]


@pytest.mark.unit
def test_an_unknown_strategy_and_an_experiment_without_scores_are_refused() -> None:
    with pytest.raises(InputError, match=r"--strategy: 'gird': is none of x; did you mean grid\?"):
        winner_of(ExperimentOutcome("x", "d", (one("grid", 0.9, []),)), "gird")
    with pytest.raises(InputError, match=r"has no score yet.*tunefleet resume`, with the EXPERIMENT and --storage"):
        winner_of(ExperimentOutcome("x", "d", (study("grid", []),)))
