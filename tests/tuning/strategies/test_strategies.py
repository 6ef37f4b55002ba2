"""The contract of every strategy that is found, and what single ones promise beyond it.

A strategy in a new file, or from another package's entry point, is tested by being installed.
"""

from __future__ import annotations

import math
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError
from ray import cloudpickle

from tests.support.outcomes import known_to_tune
from trainables.spec import FineTuneSpec, Objective
from tuning.search.evolution import Evolution, Member
from tuning.space import Space
from tuning.strategies import Plan, Strategy, find_strategies

OBJECTIVE = Objective(metric="accuracy", mode="max")
EPOCHS = 4.0
SPACE = Space.model_validate(
    yaml.safe_load("""
learning_rate: {loguniform: [1e-5, 1e-3]}
weight_decay: {uniform: [0, 0.3], step: 0.1}
model.hidden_dropout_prob: {uniform: [0, 0.3]}
warmup_steps: {int: [0, 500]}
per_device_train_batch_size: {choice: [16, 32]}
adam_beta1: 0.9
""")
)
every_strategy = pytest.mark.parametrize("kind", find_strategies())
every_open_one = pytest.mark.parametrize(
    "kind", [kind for kind, strategy in find_strategies().items() if "trials" in strategy.model_fields]
)


def make(kind: str, **fields: Any) -> Strategy:
    """The strategy with its defaults; what has none (trials, population) is 6."""
    strategy = find_strategies()[kind]
    required = {name: 6 for name, field in strategy.model_fields.items() if field.is_required()}
    return strategy(**{**required, **fields})


def proposals(plan: Plan) -> list[dict[str, Any]]:
    """The trials' configs, made by Tune's own code and shown to the scheduler as in a run; nothing is run."""
    from ray.tune.experiment import Experiment
    from ray.tune.registry import register_trainable
    from ray.tune.search import BasicVariantGenerator, SearchAlgorithm, SearchGenerator

    register_trainable("nothing", lambda config: None)
    algorithm = plan.searcher or BasicVariantGenerator()
    if not isinstance(algorithm, SearchAlgorithm):
        algorithm = SearchGenerator(algorithm)
    algorithm.add_configurations([Experiment("x", "nothing", config=dict(plan.param_space), num_samples=plan.trials)])
    configs = []
    while (trial := algorithm.next_trial()) is not None:
        plan.scheduler.on_trial_add(None, trial)
        configs.append(trial.config)
    return configs


@pytest.mark.unit
@every_strategy
def test_a_strategy_parses_from_its_own_dump(kind: str) -> None:
    strategy = make(kind)
    assert type(strategy).model_validate(strategy.model_dump(mode="json")) == strategy
    assert strategy.name == kind


@pytest.mark.unit
@every_strategy
def test_an_unknown_key_of_a_strategy_is_refused(kind: str) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        type(make(kind)).model_validate({**make(kind).model_dump(), "trails": 3})


@pytest.mark.unit
@every_strategy
def test_an_ordinary_space_is_not_refused(kind: str) -> None:
    assert make(kind).refusals(SPACE, EPOCHS) == []


@pytest.mark.unit
@every_strategy
def test_refusals_are_pairs_of_a_path_and_a_rule(kind: str) -> None:
    everything_wrong = Space.model_validate({"num_train_epochs": {"choice": [1, 2]}, "data.max_length": 128})
    for path, rule in make(kind).refusals(everything_wrong, 0.25):
        root = path.split(".")[0]
        assert root == "space" or root in type(make(kind)).model_fields
        assert rule


@pytest.mark.unit
@every_strategy
def test_the_same_arguments_give_the_same_proposals_in_the_space(kind: str) -> None:
    first, again = (proposals(make(kind).plan(SPACE, OBJECTIVE, EPOCHS, seed=3)) for _ in range(2))
    assert first == again
    assert len({repr(config) for config in first}) > 1
    for config in first:
        assert SPACE.contains(config), config
        assert list(config) == list(SPACE.names)
        assert all(type(value) in (int, float, str, bool) for value in config.values())


@pytest.mark.unit
@every_strategy
def test_a_plan_proposes_exactly_as_many_trials_as_it_says(kind: str) -> None:
    plan = make(kind).plan(SPACE, OBJECTIVE, EPOCHS, seed=0)
    assert plan.trials == len(proposals(plan)) > 0


@pytest.mark.unit
@every_strategy
def test_what_a_strategy_plans_in_epochs_is_what_its_trials_take_to_their_ends(kind: str) -> None:
    planned = make(kind).planned_epochs(SPACE, EPOCHS)
    if kind.endswith("asha"):
        assert planned is None
    else:
        assert planned == (make(kind).plan(SPACE, OBJECTIVE, EPOCHS, seed=0).trials or 0) * EPOCHS


@pytest.mark.unit
@every_open_one
def test_without_a_number_of_trials_proposals_go_on_and_begin_with_the_same(kind: str) -> None:
    plan, numbered = (
        make(kind, trials=trials, **({"initial_random": 6} if "hyperopt" in kind else {})).plan(
            SPACE, OBJECTIVE, EPOCHS, seed=0
        )
        for trials in (None, 6)
    )
    assert plan.trials is None
    assert plan.searcher is not None
    endless = [plan.searcher.suggest(f"trial{i}") for i in range(9)]
    assert endless[:6] == proposals(numbered)
    assert all(SPACE.contains(params) for params in endless)


@pytest.mark.unit
@pytest.mark.parametrize("seed", [0, 5])
def test_for_one_seed_all_that_draw_begin_with_the_same_points(seed: int) -> None:
    drawn = {kind: find_strategies()[kind](trials=8) for kind in ("random", "random_asha")}
    modelled = {kind: find_strategies()[kind](trials=8, initial_random=5) for kind in ("hyperopt", "hyperopt_asha")}
    populations = {
        explore: find_strategies()["pbt"](population=5, explore=explore, label=str(explore))
        for explore in (True, False)
    }
    strategies = [*drawn.values(), *modelled.values(), *populations.values()]
    first, *others = (proposals(strategy.plan(SPACE, OBJECTIVE, EPOCHS, seed))[:5] for strategy in strategies)
    assert all(points == first for points in others)
    assert first != proposals(strategies[0].plan(SPACE, OBJECTIVE, EPOCHS, seed + 1))[:5]


@pytest.mark.unit
def test_a_single_choice_of_every_kind_is_an_initial_point_of_tpe() -> None:
    space = Space.model_validate(
        {
            "lr_scheduler_type": {"choice": ["linear", "cosine"]},
            "max_grad_norm": {"choice": [0, 1.0]},
            "data.max_length": {"logint": [16, 64]},
        }
    )
    one, other = (make(kind, trials=12).plan(space, OBJECTIVE, EPOCHS, seed=1) for kind in ("random", "hyperopt"))
    assert proposals(one)[:4] == proposals(other)[:4]


@pytest.mark.unit
def test_only_strategies_that_are_named_after_it_stop_trials_early() -> None:
    schedulers = {kind: type(make(kind).plan(SPACE, OBJECTIVE, EPOCHS, seed=0).scheduler) for kind in find_strategies()}
    assert {kind for kind, scheduler in schedulers.items() if scheduler.__name__ == "ASHA"} == {
        "hyperopt_asha",
        "random_asha",
    }


@pytest.mark.unit
@every_strategy
def test_planning_leaves_the_global_random_states_alone(kind: str) -> None:
    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    make(kind).plan(SPACE, OBJECTIVE, EPOCHS, seed=0)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # type: ignore[index, union-attr]


@pytest.mark.unit
@every_strategy
def test_global_random_states_do_not_reach_the_proposals(kind: str) -> None:
    drawn = []
    for state in (1, 2):
        random.seed(state)
        np.random.seed(state)
        drawn.append(proposals(make(kind).plan(SPACE, OBJECTIVE, EPOCHS, seed=0)))
    assert drawn[0] == drawn[1]


@pytest.mark.unit
@every_strategy
def test_planning_needs_no_ray_session(kind: str) -> None:
    import ray

    running = ray.is_initialized()
    make(kind).plan(SPACE, OBJECTIVE, EPOCHS, seed=0)
    assert ray.is_initialized() == running


@pytest.mark.unit
@every_strategy
def test_the_scheduler_is_one_of_tune_and_fresh_per_plan(kind: str) -> None:
    from ray.tune.schedulers import TrialScheduler

    one, other = (make(kind).plan(SPACE, OBJECTIVE, EPOCHS, seed=0) for _ in range(2))
    assert isinstance(one.scheduler, TrialScheduler)
    assert one.scheduler is not other.scheduler


@pytest.mark.unit
@every_strategy
def test_a_strategy_and_its_plan_pickle_and_the_copy_proposes_the_same(kind: str) -> None:
    strategy = cloudpickle.loads(cloudpickle.dumps(make(kind)))
    assert strategy == make(kind)
    plan = strategy.plan(SPACE, OBJECTIVE, EPOCHS, seed=0)
    assert proposals(cloudpickle.loads(cloudpickle.dumps(plan))) == proposals(plan)


# The members of a PBT population are restored together with its scheduler: tests/test_pbt.py.
@pytest.mark.unit
@pytest.mark.parametrize("kind", sorted(find_strategies().keys() - {"pbt"}))
def test_a_searcher_goes_on_where_it_was_saved(kind: str, tmp_path: Path) -> None:
    whole = proposals(make(kind).plan(SPACE, OBJECTIVE, EPOCHS, seed=0))
    first, second = (make(kind).plan(SPACE, OBJECTIVE, EPOCHS, seed=0).searcher for _ in range(2))
    assert first is not None
    assert second is not None
    head = [first.suggest(f"trial{i}") for i in range(2)]
    first.save(str(tmp_path / "searcher"))
    second.restore(str(tmp_path / "searcher"))
    assert [*head, *(second.suggest(f"trial{i}") for i in range(2, len(whole)))] == whole


@pytest.mark.system
def test_finding_strategies_imports_nothing_heavy() -> None:
    code = "import sys; from tuning.strategies import find_strategies; find_strategies(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"ray", "torch", "transformers", "optuna", "hyperopt", "numpy"} & set(loaded)


@pytest.mark.unit
def test_grid_runs_every_combination_in_the_declared_order_to_the_end() -> None:
    space = Space.model_validate({"per_device_train_batch_size": {"choice": [32, 16]}, "warmup_steps": {"int": [0, 9]}})
    plan = make("grid").model_copy(update={"points": 2}).plan(space, OBJECTIVE, EPOCHS, seed=0)
    assert [tuple(config.values()) for config in proposals(plan)] == [(32, 0), (32, 9), (16, 0), (16, 9)]
    assert type(plan.scheduler).__name__ == "FIFOScheduler"


def asha(**fields: Any) -> Strategy:
    return find_strategies()["hyperopt_asha"](**fields)


@pytest.mark.unit
def test_hyperopt_learns_where_the_good_scores_are() -> None:
    space = Space.model_validate({"warmup_steps": {"int": [0, 500]}})
    misses = []
    for seed in range(3):
        searcher: Any = asha(trials=50, initial_random=10).plan(space, OBJECTIVE, EPOCHS, seed).searcher
        for i in range(50):
            miss = abs(searcher.suggest(f"trial{i}")["warmup_steps"] - 400)
            searcher.on_trial_complete(f"trial{i}", {"metrics/accuracy": -miss})
            misses += [miss] if i >= 10 else []
    assert np.median(misses) < 110  # of random draws: 150


MOST_FAILURES = 0.45  # of what TPE proposes; 0.84 where failed trials are forgotten


@pytest.mark.unit
def test_hyperopt_turns_away_from_where_trials_fail() -> None:
    """Half of the space fails. Ray's own searcher forgets what failed, and proposes its like again."""
    space = Space.model_validate({"learning_rate": {"loguniform": [1e-5, 1e-1]}})
    failures = 0
    for seed in range(3):
        searcher: Any = asha(trials=40, initial_random=10).plan(space, OBJECTIVE, EPOCHS, seed).searcher
        for i in range(40):
            exponent = math.log10(searcher.suggest(f"trial{i}")["learning_rate"])
            failed = exponent > -3
            score = None if failed else {"metrics/accuracy": -abs(exponent + 3.5)}
            searcher.on_trial_complete(f"trial{i}", score, error=failed)
            failures += failed and i >= 10
    assert failures < 3 * 30 * MOST_FAILURES


@pytest.mark.unit
def test_a_failed_trial_that_runs_again_counts_with_its_score() -> None:
    searcher: Any = asha(trials=6, initial_random=4).plan(SPACE, OBJECTIVE, EPOCHS, seed=0).searcher
    for i in range(5):
        searcher.suggest(f"trial{i}")
        searcher.on_trial_complete(f"trial{i}", error=True)
    searcher.on_trial_complete("trial2", {"metrics/accuracy": 0.5})
    results = [trial["result"] for trial in searcher._hpopt_trials.trials]
    assert sorted(result["status"] for result in results) == ["fail"] * 4 + ["ok"]
    assert [result["loss"] for result in results if "loss" in result] == [-0.5]


@pytest.mark.unit
def test_more_random_trials_than_trials_are_refused() -> None:
    with pytest.raises(ValidationError, match="initial_random: 9 must be at most trials: 8"):
        asha(trials=8, initial_random=9)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("space", "epochs", "path"),
    [
        ({"num_train_epochs": {"choice": [2, 3]}}, 3.0, "space.num_train_epochs"),
        ({"learning_rate": 1e-4}, 3.0, "space"),
        ({"weight_decay": {"uniform": [0, 0.3]}}, 0.5, "grace_epochs"),
    ],
)
def test_hyperopt_asha_refuses_what_cannot_work(space: dict[str, Any], epochs: float, path: str) -> None:
    assert [found for found, _ in asha(trials=8).refusals(Space.model_validate(space), epochs)] == [path]


@pytest.mark.unit
def test_the_rungs_of_random_asha_come_back_with_its_searcher(tmp_path: Path) -> None:
    first, second = (make("random_asha", trials=4).plan(SPACE, OBJECTIVE, EPOCHS, seed=0) for _ in range(2))
    first.scheduler.on_trial_add(None, trial := known_to_tune("one"))
    first.scheduler.on_trial_result(None, trial, {"epoch": 1.0, "metrics/accuracy": 0.9})
    assert first.searcher is not None
    assert second.searcher is not None
    first.searcher.save(str(tmp_path / "searcher"))
    second.searcher.restore(str(tmp_path / "searcher"))
    assert [rung for _, rung in second.scheduler._brackets[0]._rungs if rung] == [{"one": 0.9}]


@pytest.mark.unit
def test_pbt_without_exploring_takes_the_donors_values_as_they_are() -> None:
    members = [Member(i, f"t{i}", float(i), {"learning_rate": 10.0 ** -(i + 3)}) for i in range(4)]
    space = Space({"learning_rate": {"loguniform": [1e-6, 1e-3]}})
    selecting = Evolution(space, 0, 0.25, 0.25, (0.8, 1.2), explore=False)
    ((member, donor, params),) = selecting.takeovers(1, members)
    assert (member.number, donor.number, params) == (0, 3, members[3].params)
    exploring = Evolution(space, 0, 0.25, 0.25, (0.8, 1.2))
    assert exploring.takeovers(1, members)[0].params != members[3].params


@pytest.mark.unit
def test_pbt_without_exploring_takes_what_cannot_change_in_flight() -> None:
    space = Space.model_validate({"optim": {"choice": ["adamw_torch", "sgd"]}})
    assert make("pbt", explore=False).refusals(space, EPOCHS) == []
    assert [path for path, _ in make("pbt").refusals(space, EPOCHS)] == ["space.optim"]
    assert [path for path, _ in make("pbt", explore=False).refusals(Space({"optim": "sgd"}), EPOCHS)] == ["space"]


@pytest.mark.unit
def test_keys_that_pbt_would_not_read_without_exploring_are_refused() -> None:
    with pytest.raises(ValidationError, match="would not be read"):
        make("pbt", explore=False, factors=(0.5, 2.0))


@pytest.mark.unit
def test_unequal_schedules_are_compared_only_when_asked_for() -> None:
    space = Space.model_validate({"num_train_epochs": {"choice": [2, 3]}})
    assert asha(trials=8, compare_unequal_schedules=True).refusals(space, 3.0) == []


@pytest.mark.unit
def test_a_stop_that_was_decided_and_not_done_is_decided_again_after_a_restart() -> None:
    """The driver died after the report, before its checkpoint was saved: the trial will report that epoch again."""
    scheduler = asha(trials=2, grace_epochs=1, reduction_factor=2).plan(SPACE, OBJECTIVE, 4.0, seed=0).scheduler
    better, worse = (known_to_tune(name) for name in ("better", "worse"))
    for trial in (better, worse):
        scheduler.on_trial_add(None, trial)

    def told(trial: SimpleNamespace, epoch: float, score: float) -> str:
        return str(scheduler.on_trial_result(None, trial, {"epoch": epoch, "metrics/accuracy": score}))

    assert [told(better, 1.0, 0.9), told(worse, 1.0, 0.9)] == ["CONTINUE", "CONTINUE"]
    assert [told(better, 2.0, 0.9), told(worse, 2.0, 0.1)] == ["CONTINUE", "STOP"]
    restored = known_to_tune("worse", saved=1.0)
    scheduler.on_trial_add(None, restored)
    assert told(restored, 2.0, 0.1) == "STOP"
    scheduler.on_trial_add(None, known_to_tune("better", saved=2.0))
    assert "better" in scheduler._brackets[0]._rungs[1][1]  # that one was passed for good


@pytest.mark.unit
def test_asha_judges_nobody_between_rungs_when_a_report_passed_two_of_them() -> None:
    scheduler = asha(trials=2, grace_epochs=1, reduction_factor=2).plan(SPACE, OBJECTIVE, 8.0, seed=0).scheduler
    better, worse = (known_to_tune(name) for name in ("better", "worse"))
    for trial in (better, worse):
        scheduler.on_trial_add(None, trial)
    decisions = [
        scheduler.on_trial_result(None, trial, {"epoch": epoch, "metrics/accuracy": score})
        for epoch, scores in {2.0: (0.5, 0.5), 4.0: (0.6, 0.6), 6.0: (0.9, 0.7)}.items()
        for trial, score in zip((better, worse), scores, strict=True)
    ]
    assert decisions == ["CONTINUE"] * 6  # the rungs are 1, 2, 4 and 8; with reports every 2 epochs nobody is seen at 1


@pytest.mark.ray
@pytest.mark.parametrize(
    ("every", "fields", "rungs"),
    [
        (0.5, {"grace_epochs": 1.0, "reduction_factor": 2.0}, {1.0, 2.0}),
        (0.25, {"grace_epochs": 0.5, "reduction_factor": 3.0}, {0.5, 1.5}),
        (0.1, {"grace_epochs": 0.3, "reduction_factor": 2.0}, {0.3, 0.6, 1.2, 2.4}),
    ],
)
def test_asha_stops_trials_exactly_at_its_rungs(
    ray_session: None, tmp_path: Path, every: float, fields: dict[str, float], rungs: set[float]
) -> None:
    from ray import tune

    from trainables.slot import make_trainable

    spec = FineTuneSpec(
        trainable="learning_curve", task="none", epochs=4, report_every_epochs=every, objective=OBJECTIVE
    )
    space = Space.model_validate({"learning_rate": {"loguniform": [1e-5, 1e-2]}})
    plan = asha(trials=12, **fields).plan(space, OBJECTIVE, spec.epochs, seed=0)
    results = tune.Tuner(
        tune.with_resources(make_trainable(spec, devices=1), {"cpu": 1}),
        param_space=dict(plan.param_space),
        tune_config=tune.TuneConfig(
            num_samples=plan.trials,
            search_alg=plan.searcher,
            scheduler=plan.scheduler,
            max_concurrent_trials=2,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(storage_path=str(tmp_path), name="asha", verbose=0),
    ).fit()
    ends = [result.metrics["epoch"] for result in results]
    stopped = {epoch for epoch in ends if epoch < spec.epochs}
    assert len(ends) == 12
    assert 4.0 in ends
    assert stopped
    assert stopped <= rungs


@pytest.mark.unit
@pytest.mark.parametrize(("quantile", "members"), [(0.28, 25), (0.07, 100), (0.14, 50)])
def test_a_quantile_that_is_a_whole_number_of_members_replaces_that_many(quantile: float, members: int) -> None:
    population = [Member(i, f"t{i}", float(i), {"learning_rate": 1e-4}) for i in range(members)]
    evolution = Evolution(Space({"learning_rate": {"loguniform": [1e-5, 1e-3]}}), 0, quantile, 0.25, (0.8, 1.2))
    assert len(evolution.takeovers(1, population)) == 7


@pytest.mark.unit
def test_a_report_a_rounding_before_a_rung_is_at_it() -> None:
    scheduler = asha(trials=2, grace_epochs=1 / 3, reduction_factor=3).plan(SPACE, OBJECTIVE, 3.0, seed=0).scheduler
    trials = [known_to_tune(name) for name in ("better", "worse")]
    for trial in trials:
        scheduler.on_trial_add(None, trial)
    told = [
        scheduler.on_trial_result(None, trial, {"epoch": 0.333333, "metrics/accuracy": score})
        for trial, score in zip(trials, (0.9, 0.1), strict=True)
    ]
    assert told == ["CONTINUE", "STOP"]
