"""Equal budgets: where a study ends that has one, what it leaves behind, and what is recorded of it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.budgets import EPOCHS, NAMES, cut_experiment, strategy
from tests.support.simulated_studies import TICK, run, run_study
from tuning import run_experiment
from tuning.budget import Price
from tuning.errors import Interrupted
from tuning.outcome import ExperimentOutcome, StudyState, TrialState
from tuning.spec.models import ExperimentSpec
from tuning.store.study_store import StudyStore
from tuning.testing.simulated_ray import PowerCut, SimulatedActor, SimulatedRay, simulated_ray


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExperimentSpec, ExperimentOutcome]:
    spec = cut_experiment(tmp_path_factory.mktemp("cut"))
    return spec, run(spec)[0]


@pytest.mark.tune
@pytest.mark.parametrize("name", NAMES)
def test_every_strategy_ends_at_the_limit_and_says_so(cut: tuple[ExperimentSpec, ExperimentOutcome], name: str) -> None:
    study = cut[1].study(name, 0)
    assert study.state is StudyState.FINISHED
    assert study.budget is not None
    assert (study.budget.unit, study.budget.limit, study.budget.reached) == ("epochs", EPOCHS, True)
    assert EPOCHS <= study.budget.spent <= EPOCHS + 1  # at most the last report's epoch too much
    assert study.budget.spent == study.epochs_trained
    assert (study.budget.unspent, study.budget.overrun) == (0.0, study.budget.spent - EPOCHS)


@pytest.mark.tune
@pytest.mark.parametrize("name", NAMES)
def test_trials_that_the_limit_ends_are_stopped_and_the_best_so_far_is_intact(
    cut: tuple[ExperimentSpec, ExperimentOutcome], name: str
) -> None:
    study = cut[1].study(name, 0)
    for one in study.trials:
        assert one.state is (TrialState.COMPLETED if one.epochs == 4 else TrialState.STOPPED)
    trial, report = study.best() or pytest.fail("no best")
    assert (Path(trial.checkpoints[report.epoch]) / "recipe.json").is_file()
    assert study.test is not None
    assert (study.test.trial, study.test.epoch, study.test.metrics) == (trial.id, report.epoch, report.metrics)


@pytest.mark.tune
def test_the_limit_comes_in_the_middle_of_a_generation(cut: tuple[ExperimentSpec, ExperimentOutcome]) -> None:
    members = cut[1].study("pbt", 0).trials
    assert {member.state for member in members} == {TrialState.STOPPED}
    assert len({member.epochs for member in members}) > 1


@pytest.mark.tune
def test_for_one_seed_the_first_trials_of_all_strategies_that_draw_are_the_same(
    cut: tuple[ExperimentSpec, ExperimentOutcome],
) -> None:
    first = [[dict(t.params) for t in cut[1].study(name, 0).trials[:2]] for name in NAMES if name != "grid"]
    assert all(params == first[0] for params in first)


@pytest.mark.tune
def test_what_a_study_cost_in_money_and_its_seeds_are_recorded(cut: tuple[ExperimentSpec, ExperimentOutcome]) -> None:
    for study in cut[1].studies:
        assert study.price == Price(3.6, "EUR")
        assert study.money == pytest.approx(study.device_seconds / 1000)
        assert [study.attributes[f"{of}_seed"] for of in ("search", "data_order", "head")] == [0, 0, 0]
    plain = cut[1].to_json()["studies"][0]
    assert plain["budget"].keys() == {"unit", "limit", "spent", "reached"}
    assert plain["money"] == cut[1].studies[0].money


@pytest.mark.tune
def test_resuming_at_the_limit_runs_nothing(cut: tuple[ExperimentSpec, ExperimentOutcome]) -> None:
    spec, outcome = cut
    again, ray = run(spec, resume=True)
    assert (again, ray.actors) == (outcome, [])


@pytest.mark.tune
def test_a_driver_that_dies_at_the_limit_leaves_a_study_that_gets_no_more(tmp_path: Path) -> None:
    spec = cut_experiment(tmp_path, strategies=strategy("random"), budget={"epochs": 6}, test=False)
    with simulated_ray(tick=TICK, costs={"save": 2.0}) as ray:

        def count(actor: SimulatedActor, method: str, value: object) -> None:
            if [called for _, _, called in ray.calls].count("train") == 6:
                ray.at(ray.seconds + 1.0, lambda: ray.end_driver(keeping=spec.run_folder))

        ray.after(count)
        with pytest.raises(PowerCut):
            run_experiment(spec, progress=False)
    (before,) = StudyStore(spec.store_url).load(spec.name).studies
    assert before.budget is not None
    assert (before.state, before.epochs_trained, before.budget.reached) == (StudyState.RUNNING, 6.0, True)
    after, again = run_study(spec, resume=True, passed=ray.seconds)
    assert (after.state, after.budget) == (StudyState.FINISHED, before.budget)
    assert [trial.reports for trial in after.trials] == [trial.reports for trial in before.trials]
    assert {trial.state for trial in after.trials} <= {TrialState.STOPPED, TrialState.COMPLETED}
    assert not [call for call in again.calls if call[-1] == "train"]


def kill_the_driver(ray: SimulatedRay, spec: ExperimentSpec) -> None:
    ray.end_driver(keeping=spec.run_folder)


def press_ctrl_c(ray: SimulatedRay, spec: ExperimentSpec) -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.mark.tune
@pytest.mark.parametrize(
    ("stop", "told", "most"),
    [(kill_the_driver, "after 200 s", 400.0), (press_ctrl_c, r"stopped with \d+ trials ended", 490.0)],
)
def test_what_was_spent_before_an_interruption_counts(
    tmp_path: Path, stop: Callable[[SimulatedRay, ExperimentSpec], None], told: str, most: float
) -> None:
    """A killed driver has not recorded its last seconds; one that is told to stop waits for reports that come soon."""
    spec = cut_experiment(tmp_path, strategies=strategy("random_asha"), budget={"device_seconds": 1000}, test=False)
    with simulated_ray(tick=5.0) as ray:
        ray.at(200.0, lambda: stop(ray, spec))
        with pytest.raises((PowerCut, Interrupted), match=told):
            run_experiment(spec, progress=False)
    (before,) = StudyStore(spec.store_url).load(spec.name).studies
    assert before.budget is not None
    assert not before.budget.reached
    assert 390.0 <= before.device_seconds <= most + 10.0
    after, again = run_study(spec, resume=True, tick=5.0, passed=ray.seconds)
    assert after.budget is not None
    assert (after.state, after.budget.reached) == (StudyState.FINISHED, True)
    assert 1000.0 <= after.device_seconds <= 1010.0
    assert again.seconds == pytest.approx((after.device_seconds - before.device_seconds) / 2, abs=5.0)


@pytest.mark.tune
@pytest.mark.parametrize("budget", [{"device_seconds": 1200.0}, {"wall_seconds": 600.0}])
def test_a_trial_in_the_middle_of_a_long_epoch_ends_with_the_time(
    tmp_path: Path, budget: dict[str, float], capfd: pytest.CaptureFixture[str]
) -> None:
    """Its epoch would take an hour: nobody waits for it."""
    long = {"model.seconds_per_epoch": 3600.0}
    spec = cut_experiment(tmp_path, strategies=strategy("random"), budget=budget, fixed=long, test=False)
    study, ray = run_study(spec, tick=10.0)
    assert (study.state, study.best()) == (StudyState.FINISHED, None)
    assert [trial.state for trial in study.trials] == [TrialState.STOPPED] * 2
    assert study.budget is not None
    assert study.budget.reached
    ((unit, limit),) = budget.items()
    assert (study.budget.unit, study.budget.limit) == (unit, limit)
    assert limit <= study.budget.spent == getattr(study, unit) <= limit + 2 * 10.0
    assert ray.seconds <= 600.0 + 2 * 10.0
    assert capfd.readouterr().out == ""  # without progress nothing is printed, not by Tune either


@pytest.mark.tune
def test_a_strategy_that_ends_by_itself_leaves_the_rest_unspent(tmp_path: Path) -> None:
    """The first needs exactly what there is, which is no reason to say that it was cut."""
    strategies = [{"kind": "grid", "points": 3}, {"kind": "grid", "label": "coarse", "points": 2}]
    outcome, _ = run(cut_experiment(tmp_path, strategies=strategies, budget={"epochs": 12}, test=False))
    for study, (trials, unspent) in zip(outcome.studies, [(3, 0.0), (2, 4.0)], strict=True):
        assert study.count(TrialState.COMPLETED) == trials
        assert study.budget is not None
        assert (study.budget.reached, study.budget.unspent, study.budget.overrun) == (False, unspent, 0.0)


@pytest.mark.ray
def test_a_function_of_the_users_own_ends_at_the_limit_too(ray_session: None, tmp_path: Path) -> None:
    own = "tests.support.own_trainables:train"
    (study,) = run_experiment(
        cut_experiment(tmp_path, trainable=own, strategies=strategy("pbt"), fixed={}), progress=False
    ).studies
    assert study.budget is not None
    assert study.budget.reached
    assert {trial.state for trial in study.trials} <= {TrialState.STOPPED, TrialState.COMPLETED}
    best, last = study.best() or pytest.fail("no best")
    assert Path(best.checkpoints[last.epoch]).is_dir()
