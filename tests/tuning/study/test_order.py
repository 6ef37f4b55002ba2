"""In which order studies are run, and the combinations of a grid that its budget may cut."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.outcomes import study
from tests.support.simulated_studies import long_experiment, run, run_until_killed
from tests.support.specs import GOOD
from tests.support.strategies import proposals
from tuning.cli import main
from tuning.outcome import StudyOutcome
from tuning.spec.loading import load_spec
from tuning.spec.models import ExperimentSpec
from tuning.study.resume import SpecifiedStudy, StudyPlan
from tuning.study.study import WHEN_CUT, Study, run_order

CUT = {"strategies": [{"kind": "grid", "points": 6}], "budget": {"epochs": 10}}


def grid(budget: dict[str, Any], seed: int = 0, begun: StudyOutcome | None = None) -> Study:
    spec = load_spec({**GOOD, "budget": budget})  # six combinations, 24 epochs
    resume = None if begun is None else StudyPlan(SpecifiedStudy("grid", seed), begun)
    return Study.of(spec, spec.strategies[0], seed, resume)


@pytest.mark.unit
def test_studies_run_seed_by_seed_and_each_seed_begins_with_another_strategy() -> None:
    spec = load_spec({**GOOD, "seeds": [5, 0, 7, 1]})
    assert [(strategy.name, seed) for strategy, seed in run_order(spec)] == [
        ("grid", 5), ("hyperopt_asha", 5), ("pbt", 5),
        ("hyperopt_asha", 0), ("pbt", 0), ("grid", 0),
        ("pbt", 7), ("grid", 7), ("hyperopt_asha", 7),
        ("grid", 1), ("hyperopt_asha", 1), ("pbt", 1),
    ]  # fmt: skip


@pytest.mark.unit
@pytest.mark.parametrize(
    ("budget", "drawn"),
    [({}, False), ({"epochs": 24}, False), ({"epochs": 23}, True), ({"wall_seconds": 1e6}, True)],
)
def test_a_grid_that_its_budget_may_cut_is_walked_in_an_order_of_the_seed(budget: dict[str, Any], drawn: bool) -> None:
    declared = proposals(grid({}).plan)
    orders = [proposals(grid(budget, seed).plan) for seed in (0, 1, 1)]
    assert [order == declared for order in orders] == [not drawn] * 3
    assert all(sorted(map(repr, order)) == sorted(map(repr, declared)) for order in orders)
    assert (orders[0] != orders[1], orders[1] == orders[2]) == (drawn, True)
    assert (WHEN_CUT in grid(budget).attributes()) == drawn


@pytest.mark.unit
def test_a_grid_that_was_begun_in_the_declared_order_goes_on_in_it() -> None:
    older, budget = study("grid", []), {"epochs": 8}
    newer = replace(older, attributes={**older.attributes, **grid(budget).attributes()})
    assert proposals(grid(budget, begun=older).plan) == proposals(grid({}).plan)
    assert proposals(grid(budget, begun=newer).plan) == proposals(grid(budget).plan)


@pytest.mark.unit
def test_validate_tells_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(long_experiment(tmp_path, **CUT).to_yaml())
    assert main(["validate", "mine.yaml"]) == 0
    told = "  grid may be cut by it, so its combinations come in an order that is drawn anew for each seed\n"
    assert told in capsys.readouterr().out
    assert main(["validate", "mine.yaml", "budget.epochs=24"]) == 0
    assert told not in capsys.readouterr().out


def rates(spec: ExperimentSpec, *, resume: bool = False) -> list[list[object]]:
    """Returns the learning rates that each study has trained, in the order in which studies were begun."""
    return [[trial.params["learning_rate"] for trial in one.trials] for one in run(spec, resume=resume)[0].studies]


@pytest.mark.tune
def test_a_resumed_run_goes_on_with_what_was_interrupted_in_the_order_that_it_had(tmp_path: Path) -> None:
    (whole := tmp_path / "whole").mkdir()
    (cut := tmp_path / "cut").mkdir()
    one = {**CUT, "seeds": [0, 1], "cluster": {"max_concurrent": 1}}
    undisturbed = rates(long_experiment(whole, **one))
    assert undisturbed[0] != undisturbed[1]
    run_until_killed(spec := long_experiment(cut, **one), "train", times=6)
    assert rates(spec, resume=True) == undisturbed
