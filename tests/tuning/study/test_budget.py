"""Equal budgets: what a limit is, what a spec with one says, and how spending is counted."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.support.budgets import EPOCHS, cut_experiment
from tests.support.outcomes import make_report, trial
from tests.support.outcomes import study as study_of
from tuning.budget import BudgetSpec, Limit
from tuning.cli import main
from tuning.errors import RunFolderError
from tuning.run_folder.folder import claim_run_folder
from tuning.study.budget_tracker import HEARTBEAT, BudgetTracker, Spent, spent_by
from tuning.testing.simulated_ray import simulated_ray

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("given", "limit"),
    [
        ({}, None),
        ({"device_seconds": 60}, Limit("device_seconds", 60)),
        ({"device_hours": 0.5}, Limit("device_seconds", 1800)),
        ({"epochs": 2.5}, Limit("epochs", 2.5)),
        ({"wall_seconds": 9}, Limit("wall_seconds", 9)),
    ],
)
def test_a_budget_is_one_limit(given: dict[str, float], limit: Limit | None) -> None:
    assert BudgetSpec.model_validate(given).limit == limit


def test_no_budget_is_a_budget_without_a_limit(tmp_path: Path) -> None:
    without, empty = (cut_experiment(tmp_path, budget=given, strategies=[{"kind": "grid"}]) for given in (None, {}))
    assert without == empty


def test_validate_names_the_strategies_that_a_budget_of_epochs_cuts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text(cut_experiment(tmp_path).to_yaml())
    assert main(["validate", str(tmp_path / "mine.yaml"), "strategies.6.population=2"]) == 0
    told = capsys.readouterr().out
    assert "each study ends at 10 epochs" in told
    assert [line.split()[0] for line in told.splitlines() if line.endswith("it is cut")] == ["grid", "pbt"]


def test_a_limit_changes_the_digest_and_a_price_or_its_other_spelling_does_not(tmp_path: Path) -> None:
    def digest(budget: Any) -> str:
        return cut_experiment(tmp_path, budget=budget, strategies=[{"kind": "grid"}]).digest()

    priced = {"price": {"per_device_hour": 2}}
    assert digest(None) == digest(priced)
    assert digest({"device_hours": 1}) == digest({"device_seconds": 3600, **priced})
    assert len({digest(None), digest({"device_seconds": 1}), digest({"epochs": 1}), digest({"epochs": 2})}) == 4


def test_a_resume_with_another_limit_is_refused_and_with_another_price_is_not(tmp_path: Path) -> None:
    grid = [{"kind": "grid"}]
    claim_run_folder(cut_experiment(tmp_path, strategies=grid), resume=False)
    claim_run_folder(cut_experiment(tmp_path, strategies=grid, budget={"epochs": EPOCHS}), resume=True)
    with pytest.raises(RunFolderError, match=r"\(different: budget\)"):
        claim_run_folder(cut_experiment(tmp_path, strategies=grid, budget={"epochs": 11}), resume=True)


def test_spending_goes_on_where_earlier_runs_ended() -> None:
    before = study_of(
        "grid", [trial(0, [make_report(1, 0.5), make_report(2, 0.6)])], wall=30.0
    )  # two slots, half a device each
    spent = {
        unit: BudgetTracker(Limit(unit, 100.0), slots=4, devices_per_trial=0.5, before=spent_by(before)).spent
        for unit in ("device_seconds", "wall_seconds", "epochs")
    }
    assert spent == {"device_seconds": 30.0, "wall_seconds": 30.0, "epochs": 2.0}


def test_epochs_are_counted_once_however_often_a_trial_tells_them() -> None:
    spending = BudgetTracker(Limit("epochs", 5.0))
    for trial_id, epochs in (("a", 1.0), ("b", 1.0), ("a", 3.0), ("a", 2.0), ("b", 2.9)):
        spending.set_epochs(trial_id, epochs)
        assert not spending.all_spent
    assert spending.spent == pytest.approx(4.9)
    spending.set_epochs("b", 3.0 - 1e-9)
    assert spending.all_spent


def test_time_costs_all_slots_that_are_there() -> None:
    with simulated_ray() as time:
        spending = BudgetTracker(Limit("device_seconds", 1e9), slots=3, devices_per_trial=2.0)
        time.sleep(5.0)  # before it starts
        spending.start()
        time.sleep(10.0)
        spending.advance()
        assert spending.spent == 60.0
        spending.slots = 1
        time.sleep(10.0)
        spending.advance()
        assert (spending.held.wall_seconds, spending.held.slot_seconds, spending.spent) == (20.0, 40.0, 80.0)


def test_what_earlier_runs_held_costs_what_it_cost_then_whatever_a_trial_holds_now() -> None:
    before = dataclasses.replace(study_of("grid", [], wall=30.0), slot_seconds=60.0, cost=240.0)
    assert BudgetTracker(slots=1, devices_per_trial=0.5, before=spent_by(before)).spent == 240.0


def test_a_run_that_was_interrupted_at_counts_up_to_what_its_trials_have_left() -> None:
    """Its last sign came 100 s ago; 40 s after it a trial had computed a report that nobody heard of."""
    with simulated_ray() as time:
        last_sign = time.time()
        time.sleep(100.0)
        spending = BudgetTracker(slots=2, devices_per_trial=0.5, before=Spent(interrupted_at=last_sign))
        assert spending.spent == HEARTBEAT
        spending.add_report(make_report(1, 0.5, seconds=30.0, time=last_sign + 40.0))  # half a device for a minute
        assert spending.spent == 40.0
        spending.add_report(make_report(1, 0.5, seconds=5.0, time=last_sign + 99.0))  # by a clock that is far ahead
        assert spending.spent == 50.0
        spending.add_report(make_report(2, 0.5, seconds=30.0, time=last_sign + 150.0))  # of this run
        assert spending.spent == 50.0


def test_without_a_number_of_trials_there_is_an_end_even_if_all_fail() -> None:
    assert Limit("epochs", 10.0).most_trials(0.4) == 25
    assert Limit("device_seconds", 10.0).most_trials(1.0) > 1000
