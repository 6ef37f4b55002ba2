"""W&B's sweep engine as a strategy: what it proposes, how it learns, stops, and goes on after a crash."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.simulated_studies import long_experiment, run_study
from tuning.outcome import TrialState
from tuning.space import Space
from tuning.spec.validation.before_run import require_runnable
from tuning.strategies import wandb_sweep
from tuning.strategies.schedulers.sweep_stopping import SweepRuns
from tuning.strategies.wandb_sweep import WandbSweep
from tuning.testing.plan_contract import OBJECTIVE
from tuning.testing.proposals import Proposer

sweeps = pytest.importorskip("sweeps", reason="pip install --no-deps sweeps; pip install jsonref")

SPACE = Space.model_validate(
    {
        "learning_rate": {"loguniform": [1e-6, 1e-2]},
        "weight_decay": {"uniform": [0, 0.3]},
        "per_device_train_batch_size": {"choice": [0, 16, 32]},
        "adam_beta1": 0.9,
    }
)
LISTED = Space.model_validate({"learning_rate": {"choice": [1e-4, 1e-3]}, "warmup_steps": {"int": [0, 2]}})


def score(params: Mapping[str, Any]) -> float:
    """Returns a score with its best at a rate of 1e-4 and a decay of 0.1."""
    rate, decay = math.log10(float(params["learning_rate"])), float(params["weight_decay"])
    return 1 - abs(rate + 4) / 4 - abs(decay - 0.1)


class Scored(Proposer):
    """Reports the planted score in place of one without a pattern."""

    def scores(self, number: int) -> list[float]:
        """Returns the scores of the next trials."""
        found = []
        for _ in range(number):
            trial = self._algorithm.next_trial()
            assert trial is not None
            self._add(trial)
            found.append(score(trial.config))
            self._algorithm.on_trial_complete(trial.trial_id, result={self._metric: found[-1], "epoch": 4.0})
        return found


@pytest.mark.unit
def test_it_proposes_what_the_engine_itself_proposes_for_these_runs() -> None:
    """The engine is asked directly, with the same random states, for the third run after two."""
    import random

    import numpy as np

    from tuning.testing.random_states import random_states_kept

    space = Space.model_validate({"weight_decay": {"uniform": [0, 0.3]}})
    ours = Scored(WandbSweep(trials=3).plan(space, OBJECTIVE, 4.0, 7), OBJECTIVE)
    known = []
    for _ in range(3):
        trial = ours._algorithm.next_trial()
        assert trial is not None
        known.append(trial.config["weight_decay"])
        value = 1 - abs(known[-1] - 0.1)
        ours._algorithm.on_trial_complete(trial.trial_id, result={ours._metric: value, "epoch": 4.0})
    config = {
        "method": "bayes",
        "metric": {"name": "accuracy", "goal": "maximize"},
        "parameters": {"weight_decay": {"distribution": "uniform", "min": 0.0, "max": 0.3}},
    }
    runs = [
        sweeps.SweepRun(
            state="finished",
            config={"weight_decay": {"value": value}},
            summary_metrics={"accuracy": 1 - abs(value - 0.1)},
        )
        for value in known[:2]
    ]
    with random_states_kept():
        drawn = random.Random("7/2")
        random.seed(drawn.getrandbits(64))
        np.random.seed(drawn.getrandbits(32))
        proposed = sweeps.next_run(config, runs)
    assert known[2] == pytest.approx(proposed.config["weight_decay"]["value"], abs=0)


@pytest.mark.unit
def test_its_model_finds_a_planted_optimum_sooner_than_its_random_search() -> None:
    """The mean score of the proposals after the first ten, over seeds."""

    def after_ten(method: Any, seed: int) -> float:
        plan = WandbSweep(trials=20, method=method).plan(SPACE, OBJECTIVE, 4.0, seed)
        return statistics.mean(Scored(plan, OBJECTIVE).scores(20)[10:])

    found = {method: [after_ten(method, seed) for seed in range(5)] for method in ("bayes", "random")}
    assert all(model > drawn for model, drawn in zip(found["bayes"], found["random"], strict=True)), found


@pytest.mark.unit
@pytest.mark.parametrize("method", ["bayes", "random", "grid"])
def test_a_finite_space_is_searched_to_its_end_and_nothing_twice(method: Any) -> None:
    strategy = WandbSweep(trials=20, method=method)
    assert strategy.planned_trials(LISTED) == 6
    proposed = Proposer(strategy.plan(LISTED, OBJECTIVE, 4.0, 0), OBJECTIVE).ask()
    assert len({repr(params) for params in proposed}) == len(proposed) == 6


@pytest.mark.unit
def test_a_grid_refuses_what_it_cannot_list() -> None:
    refused = WandbSweep(trials=3, method="grid").refusals(SPACE, 4.0)
    assert [path for path, _ in refused] == ["space.learning_rate", "space.weight_decay"]


@pytest.mark.unit
@pytest.mark.parametrize("wrong", [{}, {"max_iter": 9}, {"min_iter": 1, "eta": 1}, {"min_iter": 0}])
def test_an_early_terminate_without_bands_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        WandbSweep.model_validate({"trials": 3, "early_terminate": wrong})


@pytest.mark.unit
def test_a_package_that_is_missing_is_named_with_the_command_before_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support.specs import GOOD
    from tuning.spec.loading import load_spec
    from tuning.spec.mistakes import SpecError

    there = wandb_sweep.find_spec
    missing = ("sweeps", "jsonref")
    monkeypatch.setattr(wandb_sweep, "find_spec", lambda name: None if name in missing else there(name))
    spec = load_spec({**GOOD, "strategies": [{"kind": "wandb_sweep", "trials": 4}]})  # read where it is not run, too
    with pytest.raises(
        SpecError,
        match=r"strategies\.0\.kind: 'wandb_sweep': needs packages.*pip install --no-deps sweeps; pip install jsonref",
    ):
        require_runnable(spec)


@pytest.mark.tune
def test_it_stops_what_the_engine_stops(tmp_path: Path) -> None:
    """The engine is asked again for each report; in one slot each trial has ended before the next begins."""
    early = {"min_iter": 1, "eta": 2}
    strategy = {"kind": "wandb_sweep", "trials": 10, "early_terminate": early}
    study, _ = run_study(long_experiment(tmp_path, strategies=[strategy], cluster={"max_concurrent": 1}))
    config = {"metric": {"name": "accuracy", "goal": "maximize"}, "early_terminate": {"type": "hyperband", **early}}
    ended: list[Any] = []
    for trial in study.trials:
        scores = [{"accuracy": report.metrics["accuracy"]} for report in trial.reports]
        for number in range(1, len(scores)):
            own = sweeps.SweepRun(name=trial.id, state="running", history=scores[:number])
            assert not sweeps.stop_runs(config, [*ended, own]), "it went on after this report"
        if trial.state is TrialState.STOPPED:
            own = sweeps.SweepRun(name=trial.id, state="running", history=scores)
            assert sweeps.stop_runs(config, [*ended, own])
        ended.append(sweeps.SweepRun(name=trial.id, state="finished", history=scores))
    assert {trial.state for trial in study.trials} == {TrialState.STOPPED, TrialState.COMPLETED}


@pytest.mark.unit
def test_a_trial_that_failed_is_a_failed_run_until_it_reports_again() -> None:
    runs = SweepRuns(OBJECTIVE, None)
    for place, score_of_it in enumerate((0.2, 0.7)):
        runs.begin(f"t{place}", {"x": 0.1 * (place + 1)})
        runs.report(f"t{place}", {"epoch": 1.0, "metrics/accuracy": score_of_it})
        runs.end(f"t{place}", "finished")
    runs.begin("t2", {"x": 0.3})
    runs.end("t2", "failed")
    assert [run.state for run in runs.as_engine()] == ["finished", "finished", "failed"]
    runs.report("t2", {"epoch": 1.0, "metrics/accuracy": 0.9})  # it was run again
    runs.report("t2", {"epoch": 1.0, "metrics/accuracy": 0.8})  # and its report again
    *_, again = runs.as_engine()
    assert (again.state, again.history) == ("running", [{"accuracy": 0.8}])
