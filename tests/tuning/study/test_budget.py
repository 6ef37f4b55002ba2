"""Equal budgets: where a study ends that has one, what it leaves behind, and what is recorded of it."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.outcomes import report, trial
from tests.support.outcomes import study as study_of
from tuning import load_spec, run_experiment
from tuning.budget import BudgetSpec, Limit, Price
from tuning.cli import main
from tuning.outcome import ExperimentOutcome, StudyOutcome, StudyState, TrialState
from tuning.run.ends import Interrupted
from tuning.run.folder import RunFolderError, claim_run_folder
from tuning.run.spending import Spending
from tuning.spec import ExperimentSpec
from tuning.store.signed import signed
from tuning.store.study_store import StoreError, StudyStore

EPOCHS = 10.0  # what each study may train
STRATEGIES: list[dict[str, Any]] = [
    {"kind": "grid", "points": 6},
    {"kind": "random", "trials": None},
    {"kind": "random_asha", "trials": None},
    {"kind": "hyperopt", "trials": None, "initial_random": 2},
    {"kind": "hyperopt_asha", "trials": None, "initial_random": 2},
    {"kind": "pbt", "population": 4},
    {"kind": "pbt", "label": "selection", "population": 4, "explore": False},
]
NAMES = [strategy.get("label", strategy["kind"]) for strategy in STRATEGIES]


def spec_of(folder: Path, **changed: Any) -> ExperimentSpec:
    """The closed-form trial; two at a time, a logical GPU each."""
    raw: dict[str, Any] = {
        "name": "budgeted",
        "trainable": "learning_curve",
        "task": "reviews",
        "epochs": 4,
        "space": {"learning_rate": {"loguniform": [1e-5, 1e-2]}},
        "strategies": STRATEGIES,
        "cluster": {"storage": str(folder), "max_concurrent": 2},
        "budget": {"epochs": EPOCHS, "price": {"per_device_hour": 3.6, "currency": "EUR"}},
    }
    return load_spec({**raw, **changed})


def the_study(outcome: ExperimentOutcome) -> StudyOutcome:
    (study,) = outcome.studies
    return study


@pytest.fixture(scope="module")
def cut(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[ExperimentSpec, ExperimentOutcome]:
    spec = spec_of(tmp_path_factory.mktemp("cut"))
    return spec, run_experiment(spec, progress=False)


@pytest.mark.ray
@pytest.mark.parametrize("strategy", NAMES)
def test_every_strategy_ends_at_the_limit_and_says_so(
    cut: tuple[ExperimentSpec, ExperimentOutcome], strategy: str
) -> None:
    study = cut[1].study(strategy, 0)
    assert study.state is StudyState.FINISHED
    assert study.budget is not None
    assert (study.budget.unit, study.budget.limit, study.budget.reached) == ("epochs", EPOCHS, True)
    assert EPOCHS <= study.budget.spent <= EPOCHS + 1  # at most the last report's epoch too much
    assert study.budget.spent == study.epochs_trained
    assert (study.budget.unspent, study.budget.overrun) == (0.0, study.budget.spent - EPOCHS)


@pytest.mark.ray
@pytest.mark.parametrize("strategy", NAMES)
def test_trials_that_the_limit_ends_are_stopped_and_the_best_so_far_is_intact(
    cut: tuple[ExperimentSpec, ExperimentOutcome], strategy: str
) -> None:
    study = cut[1].study(strategy, 0)
    for one in study.trials:
        assert one.state is (TrialState.COMPLETED if one.epochs == 4 else TrialState.STOPPED)
    trial, report = study.best() or pytest.fail("no best")
    assert (Path(trial.checkpoints[report.epoch]) / "recipe.json").is_file()
    assert study.test is not None
    assert (study.test.trial, study.test.epoch, study.test.metrics) == (trial.id, report.epoch, report.metrics)


@pytest.mark.ray
def test_the_limit_comes_in_the_middle_of_a_generation(cut: tuple[ExperimentSpec, ExperimentOutcome]) -> None:
    members = cut[1].study("pbt", 0).trials
    assert {member.state for member in members} == {TrialState.STOPPED}
    assert len({member.epochs for member in members}) > 1


@pytest.mark.ray
def test_for_one_seed_the_first_trials_of_all_strategies_that_draw_are_the_same(
    cut: tuple[ExperimentSpec, ExperimentOutcome],
) -> None:
    first = [[dict(t.params) for t in cut[1].study(name, 0).trials[:2]] for name in NAMES if name != "grid"]
    assert all(params == first[0] for params in first)


@pytest.mark.ray
def test_what_a_study_cost_in_money_and_its_seeds_are_recorded(cut: tuple[ExperimentSpec, ExperimentOutcome]) -> None:
    for study in cut[1].studies:
        assert study.price == Price(3.6, "EUR")
        assert study.money == pytest.approx(study.device_seconds / 1000)
        assert [study.attributes[f"{of}_seed"] for of in ("search", "data_order", "head")] == [0, 0, 0]
    plain = cut[1].to_json()["studies"][0]
    assert plain["budget"].keys() == {"unit", "limit", "spent", "reached"}
    assert plain["money"] == cut[1].studies[0].money


@pytest.mark.ray
def test_resuming_at_the_limit_runs_nothing(cut: tuple[ExperimentSpec, ExperimentOutcome]) -> None:
    spec, outcome = cut
    assert run_experiment(spec, progress=False, resume=True) == outcome


@pytest.mark.ray
def test_a_driver_that_dies_at_the_limit_leaves_a_study_that_gets_no_more(ray_session: None, tmp_path: Path) -> None:
    spec = spec_of(tmp_path, strategies=[STRATEGIES[1]], budget={"epochs": 6})
    before = the_study(run_experiment(spec, progress=False))
    storage = StudyStore(spec.store_url)._open()
    (stored,) = storage.get_all_studies()
    storage.set_study_user_attr(stored._study_id, "state", signed("running"))
    after = the_study(run_experiment(spec, progress=False, resume=True))
    assert (after.state, after.trials, after.budget) == (StudyState.FINISHED, before.trials, before.budget)


@pytest.mark.ray
def test_what_was_spent_before_an_interruption_counts(ray_session: None, tmp_path: Path) -> None:
    fixed = {"model.seconds_per_epoch": 0.3}
    spec = spec_of(tmp_path, strategies=[STRATEGIES[2]], budget={"epochs": 12}, fixed=fixed)
    store = StudyStore(spec.store_url)

    def trained() -> float:
        try:
            return the_study(store.load(spec.name)).epochs_trained
        except StoreError:  # nothing is recorded yet
            return 0.0

    def interrupt() -> None:
        while trained() < 3:
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(Interrupted, match=r"stopped with \d+ trials ended"):
        run_experiment(spec, progress=False)
    thread.join()
    before = the_study(store.load(spec.name))
    assert before.budget is not None
    assert not before.budget.reached
    after = the_study(run_experiment(spec, progress=False, resume=True))
    assert after.budget is not None
    assert (after.state, after.budget.reached) == (StudyState.FINISHED, True)
    assert 12 <= after.epochs_trained <= 13
    assert after.device_seconds > before.device_seconds > 0


@pytest.mark.ray
@pytest.mark.parametrize("budget", [{"device_seconds": 12}, {"wall_seconds": 6}])
def test_a_trial_in_the_middle_of_a_long_epoch_ends_with_the_time(
    ray_session: None, tmp_path: Path, budget: dict[str, float]
) -> None:
    """Its epoch would take an hour: nobody waits for it."""
    spec = spec_of(
        tmp_path, strategies=[STRATEGIES[1]], budget=budget, fixed={"model.seconds_per_epoch": 3600.0}, test=False
    )
    study = the_study(run_experiment(spec, progress=False))
    assert (study.state, study.best()) == (StudyState.FINISHED, None)
    assert {trial.state for trial in study.trials} <= {TrialState.STOPPED}
    assert study.budget is not None
    assert study.budget.reached
    ((unit, limit),) = budget.items()
    assert (study.budget.unit, study.budget.limit) == (unit, limit)
    assert limit <= study.budget.spent == getattr(study, unit)


@pytest.mark.ray
def test_a_strategy_that_ends_by_itself_leaves_the_rest_unspent(ray_session: None, tmp_path: Path) -> None:
    """The first needs exactly what there is, which is no reason to say that it was cut."""
    strategies = [{"kind": "grid", "points": 3}, {"kind": "grid", "label": "coarse", "points": 2}]
    outcome = run_experiment(spec_of(tmp_path, strategies=strategies, budget={"epochs": 12}), progress=False)
    for study, (trials, unspent) in zip(outcome.studies, [(3, 0.0), (2, 4.0)], strict=True):
        assert study.count(TrialState.COMPLETED) == trials
        assert study.budget is not None
        assert (study.budget.reached, study.budget.unspent, study.budget.overrun) == (False, unspent, 0.0)


@pytest.mark.ray
def test_a_function_of_the_users_own_ends_at_the_limit_too(ray_session: None, tmp_path: Path) -> None:
    spec = spec_of(tmp_path, trainable="tests.support.own_trainables:train", strategies=[STRATEGIES[5]])
    study = the_study(run_experiment(spec, progress=False))
    assert study.budget is not None
    assert study.budget.reached
    assert {trial.state for trial in study.trials} <= {TrialState.STOPPED, TrialState.COMPLETED}
    best, last = study.best() or pytest.fail("no best")
    assert Path(best.checkpoints[last.epoch]).is_dir()


@pytest.mark.unit
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


@pytest.mark.unit
def test_no_budget_is_a_budget_without_a_limit(tmp_path: Path) -> None:
    strategies = [{"kind": "grid"}]
    assert spec_of(tmp_path, budget=None, strategies=strategies) == spec_of(tmp_path, budget={}, strategies=strategies)


@pytest.mark.unit
def test_validate_names_the_strategies_that_a_budget_of_epochs_cuts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text(spec_of(tmp_path).to_yaml())
    assert main(["validate", str(tmp_path / "mine.yaml"), "strategies.6.population=2"]) == 0
    told = capsys.readouterr().out
    assert "each study ends at 10 epochs" in told
    assert [line.split()[0] for line in told.splitlines() if line.endswith("it is cut")] == ["grid", "pbt"]


@pytest.mark.unit
def test_a_limit_changes_the_digest_and_a_price_or_its_other_spelling_does_not(tmp_path: Path) -> None:
    def digest(budget: Any) -> str:
        return spec_of(tmp_path, budget=budget, strategies=[{"kind": "grid"}]).digest()

    priced = {"price": {"per_device_hour": 2}}
    assert digest(None) == digest(priced)
    assert digest({"device_hours": 1}) == digest({"device_seconds": 3600, **priced})
    assert len({digest(None), digest({"device_seconds": 1}), digest({"epochs": 1}), digest({"epochs": 2})}) == 4


@pytest.mark.unit
def test_a_resume_with_another_limit_is_refused_and_with_another_price_is_not(tmp_path: Path) -> None:
    grid = [{"kind": "grid"}]
    claim_run_folder(spec_of(tmp_path, strategies=grid), resume=False)
    claim_run_folder(spec_of(tmp_path, strategies=grid, budget={"epochs": EPOCHS}), resume=True)
    with pytest.raises(RunFolderError, match=r"\(different: budget\)"):
        claim_run_folder(spec_of(tmp_path, strategies=grid, budget={"epochs": 11}), resume=True)


@pytest.mark.unit
def test_spending_goes_on_where_earlier_runs_ended() -> None:
    before = study_of("grid", [trial(0, [report(1, 0.5), report(2, 0.6)])], wall=30.0)  # two slots, half a device each
    spent = {
        unit: Spending(Limit(unit, 100.0), slots=4, devices_per_trial=0.5, before=before).spent
        for unit in ("device_seconds", "wall_seconds", "epochs")
    }
    assert spent == {"device_seconds": 30.0, "wall_seconds": 30.0, "epochs": 2.0}


@pytest.mark.unit
def test_epochs_are_counted_once_however_often_a_trial_tells_them() -> None:
    spending = Spending(Limit("epochs", 5.0))
    for trial_id, epochs in (("a", 1.0), ("b", 1.0), ("a", 3.0), ("a", 2.0), ("b", 2.9)):
        spending.trained(trial_id, epochs)
        assert not spending.all_spent
    assert spending.spent == pytest.approx(4.9)
    spending.trained("b", 3.0 - 1e-9)
    assert spending.all_spent


@pytest.mark.unit
def test_time_costs_all_slots_that_are_there() -> None:
    spending = Spending(Limit("device_seconds", 1e9), slots=3, devices_per_trial=2.0)
    assert spending.spent == 0.0
    spending.start()
    time.sleep(0.01)
    spending.advance()
    assert spending.spent == pytest.approx(6 * spending.seconds)
    spending.slots, first = 1, spending.spent
    time.sleep(0.01)
    spending.advance()
    assert 0 < spending.spent - first < 6 * spending.seconds


@pytest.mark.unit
def test_without_a_number_of_trials_there_is_an_end_even_if_all_fail() -> None:
    assert Limit("epochs", 10.0).most_trials(0.4) == 25
    assert Limit("device_seconds", 10.0).most_trials(1.0) > 1000
