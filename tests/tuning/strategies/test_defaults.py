"""The strategy `defaults`: what its one trial trains with, what it costs, and that nothing but itself ends it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.simulated_studies import MINUTE, long_experiment, run
from tests.support.specs import GOOD, GRID
from tests.support.strategies import proposals
from trainables.tunables import TUNABLES
from tuning.outcome import StudyState, TrialState
from tuning.report.planned import planned_lines
from tuning.selection.best_spec import best_spec
from tuning.selection.winner import winner_of
from tuning.spec.file import parse
from tuning.spec.loading import load_spec
from tuning.study.study import Study


def study_of(strategy: Mapping[str, Any], **changed: Any) -> Study:
    spec = load_spec({**GOOD, "strategies": [{"kind": "grid"}, strategy], **changed})
    return Study.of(spec, spec.strategies[1], seed=0)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("strategy", "changed", "params"),
    [
        ({}, {}, {name: TUNABLES[name].default for name in ("learning_rate", "per_device_train_batch_size")}),
        ({"values": {"learning_rate": 1e-4}}, {}, {"learning_rate": 1e-4, "per_device_train_batch_size": 16}),
        ({"values": {"weight_decay": 0.1}}, {"space": {"data.max_length": {"choice": [32]}}}, {"weight_decay": 0.1}),
        ({}, {"space": "tests.support.own_spaces:conditional"}, {}),
    ],
)
def test_its_trial_has_the_default_of_what_is_searched_or_the_value_that_is_given(
    strategy: dict[str, Any], changed: dict[str, Any], params: dict[str, Any]
) -> None:
    study = study_of({"kind": "defaults", **strategy}, **changed)
    assert proposals(study.plan) == [params]
    assert study.trial.hp_space is None


@pytest.mark.unit
def test_no_budget_is_its_limit_and_validate_says_so() -> None:
    budget = {"epochs": 2}
    study = study_of({"kind": "defaults"}, budget=budget)
    assert study.limit is None
    assert study.spec.limit_of(study.spec.strategies[0]) == study.spec.budget.limit
    line = next(line for line in planned_lines(study.spec) if line.startswith("defaults"))
    assert line == (
        "defaults: 1 trial, 4 epochs: learning_rate=5e-05, per_device_train_batch_size=16; outside the budget"
    )


@pytest.mark.tune
def test_it_costs_one_slot_for_one_trial_beside_searches_that_a_budget_ends(tmp_path: Path) -> None:
    spec = long_experiment(
        tmp_path, strategies=[{"kind": "defaults"}, GRID], budget={"epochs": 3}, confirm={"top": 2, "seeds": 2}
    )
    outcome, _ = run(spec)
    study, grid = outcome.study("defaults", 0), outcome.study("grid", 0)
    assert study.state is StudyState.FINISHED
    (trial,) = study.trials
    assert (trial.state, trial.epochs, trial.params) == (TrialState.COMPLETED, 4.0, {"learning_rate": 5e-5})
    assert (study.budget, study.slots) == (None, 1)
    assert study.device_seconds == pytest.approx(4 * MINUTE, rel=0.1)
    assert grid.budget is not None
    assert (grid.budget.reached, grid.slots) == (True, 2)
    assert [(one.rank, one.error) for one in study.confirmations] == [(1, None)] * 2
    best = load_spec(parse(best_spec(spec, winner_of(outcome, "defaults")), "best.yaml"))
    assert best.fixed == {"model.seconds_per_epoch": MINUTE}
    assert best.space.model_dump(mode="json", exclude_defaults=True) == {"learning_rate": {"choice": [5e-5]}}
