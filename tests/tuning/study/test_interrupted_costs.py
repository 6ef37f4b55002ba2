"""A study that was interrupted and resumed tells what the undisturbed one tells, and is never cheaper than that one."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.budgets import STRATEGIES
from tests.support.interrupted_runs import differences, told
from tests.support.simulated_studies import TICK, long_experiment, run, run_until_killed
from tuning import run_experiment
from tuning.errors import Interrupted
from tuning.outcome import ExperimentOutcome
from tuning.spec.models import ExperimentSpec
from tuning.testing.simulated_ray import simulated_ray

pytestmark = pytest.mark.tune

# Few trials, and slots with which no trial's fate or turn depends on who is faster.
SMALLER = {"grid": {"points": 3}, "pbt": {}}
RECIPES = {
    recipe.get("label", recipe["kind"]): {**recipe, **SMALLER.get(recipe["kind"], {"trials": 4})}
    for recipe in STRATEGIES
}
SLOTS = {"grid": 2, "pbt": 4}
# After which call the driver dies, before it hears of it.
MOMENTS = [("save", 2), ("train", 7)]
COSTS = {"save": 2.0, "restore": 1.0}
NIGHT = 8 * 3600.0  # before anybody resumes it


def spec_of(folder: Path, name: str) -> ExperimentSpec:
    recipe, price = RECIPES[name], {"price": {"per_device_hour": 3.6}}
    cluster = {"max_concurrent": SLOTS.get(recipe["kind"], 1)}
    return long_experiment(folder, strategies=[recipe], cluster=cluster, budget=price, test=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[ExperimentOutcome, ExperimentSpec]]:
    specs = {name: spec_of(tmp_path_factory.mktemp(name), name) for name in RECIPES}
    return {name: (run(spec, costs=COSTS)[0], spec) for name, spec in specs.items()}


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize(("method", "times"), MOMENTS)
def test_all_that_is_reported_of_a_killed_study_is_what_is_reported_of_an_undisturbed_one(
    undisturbed: dict[str, tuple[ExperimentOutcome, ExperimentSpec]], tmp_path: Path, name: str, method: str, times: int
) -> None:
    spec = spec_of(tmp_path, name)
    killed = run_until_killed(spec, method, times, costs=COSTS)
    outcome, _ = run(spec, resume=True, passed=killed.seconds + NIGHT, costs=COSTS)
    assert list(differences(told(*undisturbed[name]), told(outcome, spec), saving=COSTS["save"])) == []


@pytest.mark.parametrize("name", RECIPES)
def test_nor_does_a_study_that_was_killed_again_and_again_look_cheaper(
    undisturbed: dict[str, tuple[ExperimentOutcome, ExperimentSpec]], tmp_path: Path, name: str
) -> None:
    spec, passed = spec_of(tmp_path, name), 0.0
    for resume, moment in ((False, ("train", 1)), (True, ("train", 2)), (True, ("save", 2)), (True, ("train", 1))):
        passed += run_until_killed(spec, *moment, resume=resume, passed=passed, costs=COSTS).seconds + NIGHT
    outcome, _ = run(spec, resume=True, passed=passed, costs=COSTS)
    assert list(differences(told(*undisturbed[name]), told(outcome, spec), saving=COSTS["save"])) == []


@pytest.mark.parametrize("name", ["grid", "random", "pbt"])
def test_nor_does_one_that_was_stopped_by_ctrl_c(
    undisturbed: dict[str, tuple[ExperimentOutcome, ExperimentSpec]], tmp_path: Path, name: str
) -> None:
    spec = spec_of(tmp_path, name)
    with simulated_ray(tick=TICK, costs=COSTS) as ray:
        ray.at(200.0, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(Interrupted):
            run_experiment(spec, progress=False)
    outcome, _ = run(spec, resume=True, passed=ray.seconds + NIGHT, costs=COSTS)
    assert list(differences(told(*undisturbed[name]), told(outcome, spec), saving=COSTS["save"])) == []
