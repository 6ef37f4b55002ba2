"""Optuna's samplers and pruners: what they start from, learn from, and refuse; and how they go on after a crash."""

from __future__ import annotations

import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from pydantic import ValidationError

from tests.support.outcomes import known_to_tune
from tests.support.strategies import make, proposals
from tuning.space import FunctionSpace, Space
from tuning.strategies import find_strategies
from tuning.strategies.searchers import samplers
from tuning.strategies.searchers.optuna_searcher import distributions_of
from tuning.testing.plan_contract import OBJECTIVE, SPACE, PlanContract

pytestmark = pytest.mark.unit

EPOCHS = 4.0
MODELS = ("tpe", "gp", "cmaes")
RATE = Space.model_validate({"learning_rate": {"loguniform": [1e-5, 1e-1]}})


class TestGaussianProcess(PlanContract):
    strategy = make("optuna", sampler="gp")


class TestCmaEs(PlanContract):
    strategy = make("optuna", sampler="cmaes")


class TestQuasiRandom(PlanContract):
    strategy = make("optuna", sampler="qmc")


class TestMedian(PlanContract):
    strategy = make("optuna", pruner="median")


class TestHyperband(PlanContract):
    strategy = make("custom", sampler="hyperopt", stopping="hyperband")


def branching(trial: Any) -> dict[str, Any]:
    optim = trial.suggest_categorical("optim", ["adamw_torch", "sgd"])
    rate = trial.suggest_float("learning_rate", 1e-5, 1e-1 if optim == "sgd" else 1e-3, log=True)
    beta = {"adam_beta1": trial.suggest_float("adam_beta1", 0.8, 0.9)} if optim != "sgd" else {}
    return {"optim": optim, "learning_rate": rate, **beta}


def changing(trial: Any) -> dict[str, Any]:
    optim = trial.suggest_categorical("optim", ["adamw_torch", "sgd"])
    return {"optim": optim, "lr_scheduler_type": trial.suggest_categorical("schedule", ["linear", optim])}


def searcher(space: Space = SPACE, seed: int = 0, **fields: Any) -> Any:
    return make("optuna", **fields).plan(space, OBJECTIVE, EPOCHS, seed).searcher


def tell(found: Any, trial: str, score: float | None, **result: Any) -> None:
    """Report the end of a trial; None: it has failed."""
    reported = None if score is None else {"metrics/accuracy": score, "epoch": 4.0, "finished": True, **result}
    found.on_trial_complete(trial, reported, error=score is None)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_turns_away_from_where_trials_fail(name: str) -> None:
    """Half of the space fails. Optuna's samplers forget what failed, and would propose its like again."""
    failures = proposed = 0
    for seed in range(2):
        found = searcher(RATE, seed, trials=24, sampler=name, initial_random=8)
        for i in range(24):
            exponent = math.log10(found.suggest(f"trial{i}")["learning_rate"])
            tell(found, f"trial{i}", None if exponent > -3 else -abs(exponent + 3.5))
            failures, proposed = failures + (exponent > -3 and i >= 8), proposed + (i >= 8)
    assert failures < 0.4 * proposed


@pytest.mark.parametrize("name", MODELS)
def test_a_failed_trial_that_runs_again_counts_with_its_score(name: str) -> None:
    """The next proposal is the one that would follow without the failure in between."""

    def proposed_after(ends: list[tuple[int, float | None]]) -> object:
        found = searcher(trials=9, sampler=name, initial_random=4)
        for i in range(5):
            found.suggest(f"trial{i}")
        for i, score in ends:
            tell(found, f"trial{i}", score)
        return [found.suggest(f"next{i}") for i in range(3)]

    failed: list[tuple[int, float | None]] = [(i, None) for i in range(5)]
    at_once = [(i, 0.5 if i == 2 else None) for i in range(5)]
    assert proposed_after([*failed, (2, 0.5)]) == proposed_after(at_once)


@pytest.mark.parametrize("name", ["tpe", "gp"])
def test_a_trial_that_was_stopped_early_is_learned_from(name: str) -> None:
    """A model knows which of 12 stopped trials were good."""
    misses = []
    for seed in range(2):
        found = searcher(RATE, seed, trials=40, sampler=name, initial_random=12)
        for i in range(24):
            exponent = math.log10(found.suggest(f"trial{i}")["learning_rate"])
            tell(found, f"trial{i}", -abs(exponent + 4.5), epoch=1.0, finished=False)
            misses += [abs(exponent + 4.5)] if i >= 12 else []
    assert sum(misses) / len(misses) < 0.8  # of random draws: 1.6


@pytest.mark.parametrize("group", [None, True, False])
def test_tpe_models_a_space_with_branches(group: bool | None) -> None:
    space = FunctionSpace.of(branching)
    strategy = make("optuna", trials=40, initial_random=10, group=group)
    assert strategy.refusals(space, EPOCHS) == []
    found = strategy.plan(space, OBJECTIVE, EPOCHS, seed=1).searcher
    best = 0
    for i in range(40):
        params = found.suggest(f"trial{i}")
        assert space.contains(params)
        tell(found, f"trial{i}", params.get("adam_beta1", 0.0))
        best += params["optim"] == "adamw_torch" and i >= 20
    assert best >= 15  # of 20; at random: 10


@pytest.mark.parametrize(
    ("space", "fields", "path", "rule"),
    [
        (FunctionSpace.of(branching), {"sampler": "gp"}, "space", "adam_beta1; take sampler: tpe"),
        (FunctionSpace.of(branching), {"sampler": "qmc"}, "space", "one set of names"),
        (FunctionSpace.of(changing), {}, "space", "schedule is suggested as .* give them two names"),
        (
            Space.model_validate({"optim": {"choice": ["a", "b"]}}),
            {"sampler": "cmaes"},
            "space",
            "CMA-ES moves numbers",
        ),
        (RATE, {"pruner": "asha", "brackets": 4}, "brackets", "4: there are 3 rungs from 1 to 4 epochs by 2"),
        (RATE, {"pruner": "median", "grace_epochs": 5.0}, "grace_epochs", "5 must be at most the full epochs: 4"),
    ],
)
def test_what_does_not_fit_is_refused(space: Space, fields: dict[str, Any], path: str, rule: str) -> None:
    ((found, why),) = make("optuna", **fields).refusals(space, EPOCHS)
    assert found == path
    assert re.search(rule, why)


@pytest.mark.parametrize(
    ("kind", "fields", "shown"),
    [
        (
            "optuna",
            {"pruner": "median", "reduction_factor": 3.0},
            "nothing reads it with pruner: median.* asha or moasha or hyper",
        ),
        ("optuna", {"grace_epochs": 2.0}, "grace_epochs: 2.0: nothing reads it with pruner: none"),
        ("optuna", {"sampler": "gp", "group": True}, "read by sampler: tpe, and this is gp"),
        ("optuna", {"multivariate": False, "group": True}, "keep one"),
        ("custom", {"stopping": "none", "patience": 3}, "nothing reads it with stopping: none.* stopping: patient"),
        ("custom", {"sampler": "random", "initial_random": 3}, "sampler: random models nothing"),
    ],
)
def test_a_key_that_nothing_would_read_is_refused(kind: str, fields: dict[str, Any], shown: str) -> None:
    with pytest.raises(ValidationError, match=shown):
        make(kind, **fields)


def test_a_package_that_a_sampler_needs_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samplers, "find_spec", lambda name: None)
    found = {name: make("optuna", sampler=name).refusals(RATE, EPOCHS) for name in ("tpe", "cmaes", "gp")}
    assert found["tpe"] == []
    assert found["cmaes"] == [("sampler", "cmaes: needs cmaes; pip install cmaes, or take tpe")]
    assert found["gp"] == [("sampler", "gp: needs torch and scipy; pip install torch scipy, or take tpe")]


def test_every_dimension_is_the_same_set_of_values_to_optuna() -> None:
    raw = {
        "learning_rate": {"loguniform": [1e-5, 1e-3]},
        "weight_decay": {"uniform": [0, 0.3], "step": 0.1},
        "warmup_steps": {"int": [0, 500], "step": 100},
        "data.max_length": {"logint": [16, 64]},
        "optim": {"choice": ["adamw_torch", "sgd"]},
    }
    space = Space.model_validate(raw)
    found = distributions_of(space, space.grid(2)[0])
    assert found == {
        "learning_rate": optuna.distributions.FloatDistribution(1e-5, 1e-3, log=True),
        "weight_decay": optuna.distributions.FloatDistribution(0, 0.3, step=0.1),
        "warmup_steps": optuna.distributions.IntDistribution(0, 500, step=100),
        "data.max_length": optuna.distributions.IntDistribution(16, 64, log=True),
        "optim": optuna.distributions.CategoricalDistribution(("adamw_torch", "sgd")),
    }
    for name in ("tpe", "gp", "cmaes", "qmc"):
        asked = searcher(space, 2, trials=12, sampler=name)
        for i in range(12):
            params = asked.suggest(f"trial{i}")
            assert space.contains(params)
            assert params["weight_decay"] in (0.0, 0.1, 0.2, 0.3)
            tell(asked, f"trial{i}", params["weight_decay"])


def test_a_running_trial_is_known_to_the_model() -> None:
    """With a constant lie for what runs, TPE does not propose the same again and again."""
    found = searcher(RATE, 0, trials=30, initial_random=6)
    for i in range(10):
        rate = found.suggest(f"trial{i}")["learning_rate"]
        tell(found, f"trial{i}", -abs(math.log10(rate) + 3))
    at_once = [math.log10(found.suggest(f"running{i}")["learning_rate"]) for i in range(10)]
    assert max(at_once) - min(at_once) > 0.3
    assert len(set(at_once)) == 10


def test_optunas_draws_are_those_of_the_strategy_random() -> None:
    optunas, ours = (
        proposals(make(kind, **fields).plan(SPACE, OBJECTIVE, EPOCHS, 3))
        for kind, fields in (("optuna", {"sampler": "random"}), ("random", {}))
    )
    assert optunas == ours


# The pruners.


def reports(scheduler: Any, trial: SimpleNamespace, *scores: float) -> list[str]:
    """Returns the scheduler's decisions on a trial's reports, one per epoch; the last of four completes it."""
    decided = []
    for epoch, score in enumerate(scores, start=1):
        result = {"epoch": float(epoch), "metrics/accuracy": score, "finished": epoch == EPOCHS}
        if epoch == EPOCHS:
            scheduler.on_trial_complete(None, trial, result)
        else:
            decided.append(str(scheduler.on_trial_result(None, trial, result)))
    return decided


def ended(scheduler: Any, *finals: float) -> None:
    """Complete trials, each with the same score at every epoch."""
    for place, score in enumerate(finals):
        scheduler.on_trial_add(None, trial := known_to_tune(f"ended{place}"))
        reports(scheduler, trial, *[score] * 4)


def pruning(**fields: Any) -> Any:
    return make("custom", sampler="random", **fields).plan(SPACE, OBJECTIVE, EPOCHS, 0).scheduler


@pytest.mark.parametrize(
    ("fields", "score", "decided"),
    [
        ({"stopping": "median", "startup_trials": 4}, 0.51, ["CONTINUE"] * 3),
        ({"stopping": "median", "startup_trials": 4}, 0.49, ["STOP"]),
        ({"stopping": "median", "startup_trials": 5}, 0.0, ["CONTINUE"] * 3),
        ({"stopping": "median", "startup_trials": 4, "grace_epochs": 2.0}, 0.1, ["CONTINUE", "STOP"]),
        ({"stopping": "percentile", "startup_trials": 4, "percentile": 25.0}, 0.6, ["STOP"]),
        ({"stopping": "percentile", "startup_trials": 4, "percentile": 75.0}, 0.4, ["CONTINUE"] * 3),
        ({"stopping": "patient", "startup_trials": 4, "patience": 1}, 0.4, ["CONTINUE", "CONTINUE"]),
    ],
)
def test_a_rule_stops_below_its_share_of_the_completed_trials(
    fields: dict[str, Any], score: float, decided: list[str]
) -> None:
    scheduler = pruning(**fields)
    ended(scheduler, 0.2, 0.4, 0.6, 0.8)
    scheduler.on_trial_add(None, trial := known_to_tune("new"))
    assert reports(scheduler, trial, *[score] * 3)[: len(decided)] == decided


def test_patience_counts_evaluations_without_an_improvement() -> None:
    scheduler = pruning(stopping="patient", startup_trials=4, patience=2)
    ended(scheduler, 0.6, 0.6, 0.8, 0.8)
    scheduler.on_trial_add(None, trial := known_to_tune("new"))
    assert reports(scheduler, trial, 0.3, 0.2, 0.1) == ["CONTINUE", "CONTINUE", "STOP"]
    scheduler.on_trial_add(None, trial := known_to_tune("better"))
    assert reports(scheduler, trial, 0.3, 0.2, 0.4) == ["CONTINUE"] * 3


def test_a_pruner_decides_a_repeated_report_as_before(tmp_path: Path) -> None:
    """The driver died after the report: its snapshot knows the score, and the trial reports that epoch again."""
    first, resumed = (make("optuna", pruner="median", startup_trials=4) for _ in range(2))
    plans = [one.plan(SPACE, OBJECTIVE, EPOCHS, 0) for one in (first, resumed)]
    ended(plans[0].scheduler, 0.2, 0.4, 0.6, 0.8)
    plans[0].scheduler.on_trial_add(None, trial := known_to_tune("new"))
    assert reports(plans[0].scheduler, trial, 0.1) == ["STOP"]
    plans[0].searcher.save(str(tmp_path / "searcher"))
    plans[1].searcher.restore(str(tmp_path / "searcher"))
    plans[1].scheduler.on_trial_add(None, known_to_tune("new", saved=0.5))
    assert reports(plans[1].scheduler, trial, 0.1) == ["STOP"]
    plans[1].scheduler.on_trial_add(None, other := known_to_tune("other"))
    assert reports(plans[1].scheduler, other, 0.7) == ["CONTINUE"]


@pytest.mark.parametrize("brackets", [2, 3])
def test_trials_are_drawn_into_brackets_from_the_seed(brackets: int, tmp_path: Path) -> None:
    def plan(seed: int) -> Any:
        return make("custom", brackets=brackets).plan(SPACE, OBJECTIVE, EPOCHS, seed)

    def stops(scheduler: Any, names: range) -> list[list[str]]:
        found = []
        for number in names:
            scheduler.on_trial_add(None, trial := known_to_tune(f"trial{number}"))
            found.append(reports(scheduler, trial, *[1 - number / 100] * 3))
        return found

    whole = stops(plan(0).scheduler, range(20))
    assert whole == stops(plan(0).scheduler, range(20))
    assert whole != stops(plan(1).scheduler, range(20))
    first = {decided.index("STOP") + 1 for decided in whole if "STOP" in decided}
    assert first == {1, 2}  # worse than all before it, a trial is stopped at the first rung of its bracket
    begun, resumed = plan(0), plan(0)
    before = stops(begun.scheduler, range(8))
    begun.searcher.save(str(tmp_path / "searcher"))
    resumed.searcher.restore(str(tmp_path / "searcher"))
    assert before + stops(resumed.scheduler, range(8, 20)) == whole


def test_every_sampler_stands_beside_every_rule() -> None:
    fields = find_strategies()["custom"].model_fields
    for sampler in fields["sampler"].annotation.__args__:  # type: ignore[union-attr]
        for rule in fields["stopping"].annotation.__args__:  # type: ignore[union-attr]
            strategy = make("custom", sampler=sampler, stopping=rule, trials=2)
            assert strategy.refusals(SPACE, EPOCHS) == []
            assert len(proposals(strategy.plan(SPACE, OBJECTIVE, EPOCHS, 0))) == 2
