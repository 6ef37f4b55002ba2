"""What one already knows, in every strategy that uses it: points first, priors, and earlier trials in the model.

The planted truth: a search that has imported trials proposes what it would have proposed had it run them itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tests.support.strategies import kinds, make, plan_contracts, proposals
from trainables.spec import Params
from tuning.space import EarlierTrial, Knowledge, KnownPoint, Prior, Space
from tuning.space.knowledge import KNOWLEDGE
from tuning.testing.plan_contract import OBJECTIVE, SPACE, PlanContract
from tuning.testing.proposals import score_of

pytestmark = pytest.mark.unit

EPOCHS = 4.0
USING = [kind for kind in kinds() if make(kind).uses == KNOWLEDGE]
MODELLED = ["hyperopt", "hyperopt_asha"]
PRIORS = {
    "learning_rate": Prior(around=1e-4, factor=2),
    "weight_decay": Prior(around=0.1, spread=0.1),
    "per_device_train_batch_size": Prior(around=32, share=0.8),
}
POINTS = (
    KnownPoint({"learning_rate": 2e-5, "per_device_train_batch_size": 32}, "given point"),
    KnownPoint({**SPACE.grid(2)[0]}, "given point"),
)
FINITE = Space.model_validate({"learning_rate": {"choice": [1e-5, 1e-4, 1e-3]}, "warmup_steps": {"int": [0, 9]}})


def earlier(trials: Sequence[tuple[Params, float | None]]) -> tuple[EarlierTrial, ...]:
    return tuple(EarlierTrial(params=dict(params), score=score) for params, score in trials)


TRIALS = earlier([(SPACE.grid(2)[place], score) for place, score in ((3, 0.5), (8, None), (21, 0.75))])
INFORMED = SPACE.knowing(Knowledge(POINTS, PRIORS))
# Every strategy that uses knowledge keeps the whole contract of plans in a space of which much is known.
globals().update(
    {
        f"{name}_that_knows": type(f"{name}_that_knows", (contract,), {"space": INFORMED})
        for name, contract in plan_contracts(PlanContract).items()
        if contract.strategy.uses == KNOWLEDGE
    }
)


class Test_a_model_that_knows_earlier_trials(PlanContract):
    strategy = make("hyperopt", trials=8, initial_random=4)
    space = SPACE.knowing(Knowledge(POINTS, PRIORS, TRIALS))


def test_every_strategy_that_draws_uses_knowledge() -> None:
    assert {"random", "random_asha", "hyperopt", "hyperopt_asha", "pbt"} <= set(USING)
    assert {"grid", "defaults"}.isdisjoint(USING)
    assert make("optuna").uses == ("points", "start_from")


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_samplers_of_optuna_try_points_first_and_learn_from_earlier_trials(sampler: str) -> None:
    known = [
        SPACE.knowing(Knowledge(POINTS, {}, earlier([(p, sign * score_of(p)) for p in SPACE.grid(2)])))
        for sign in (1, -1)
    ]
    found = [proposals(make("optuna", sampler=sampler, trials=6).plan(space, OBJECTIVE, EPOCHS, 3)) for space in known]
    assert found[0][:2] == found[1][:2]
    assert found[0][1] == POINTS[1].values
    assert found[0][2:] != found[1][2:]


@pytest.mark.parametrize("kind", USING)
def test_points_are_tried_first_by_every_strategy_and_are_the_same_for_one_seed(kind: str) -> None:
    first = proposals(make(kind).plan(INFORMED, OBJECTIVE, EPOCHS, 3))[:2]
    assert (first[0]["learning_rate"], first[0]["per_device_train_batch_size"]) == (2e-5, 32)
    assert first[1] == SPACE.grid(2)[0]
    assert first == proposals(make("random").plan(INFORMED, OBJECTIVE, EPOCHS, 3))[:2]


@pytest.mark.parametrize("kind", USING)
def test_first_draws_come_from_the_priors(kind: str) -> None:
    informed = SPACE.knowing(Knowledge(priors=PRIORS))
    rates = [
        params["learning_rate"]
        for seed in range(40)
        for params in proposals(make(kind).plan(informed, OBJECTIVE, EPOCHS, seed))[:4]
    ]
    near = sum(5e-5 <= rate <= 2e-4 for rate in rates) / len(rates)
    assert near > 0.55  # 0.3 without the prior


def searcher_of(kind: str, space: Space, **fields: Any) -> Any:
    return make(kind, **{"trials": 40, **fields}).plan(space, OBJECTIVE, EPOCHS, 5).searcher


def run(searcher: Any, numbers: range) -> list[tuple[dict[str, Any], float | None]]:
    """Runs trials one after the other, as one slot does; every fifth one fails."""
    ran = []
    for number in numbers:
        params = searcher.suggest(f"trial{number}")
        score = None if number % 5 == 4 else score_of(params)
        result = None if score is None else {f"metrics/{OBJECTIVE.metric}": score}
        searcher.on_trial_complete(f"trial{number}", result, error=score is None)
        ran.append((params, score))
    return ran


@pytest.mark.parametrize("kind", MODELLED)
@pytest.mark.parametrize(("random_first", "imported"), [(5, 12), (8, 3), (20, 12), (1, 2)])
@pytest.mark.parametrize(
    "space", [SPACE, FINITE, SPACE.knowing(Knowledge(priors=PRIORS))], ids=["ranges", "finite", "priors"]
)
def test_a_search_that_imports_trials_proposes_as_if_it_had_run_them(
    space: Space, random_first: int, imported: int, kind: str
) -> None:
    itself = searcher_of(kind, space, initial_random=random_first)
    before, after = run(itself, range(imported)), run(itself, range(imported, imported + 8))
    known = Knowledge(priors=space.knowledge.priors, trials=earlier(before))
    importer = searcher_of(kind, space.knowing(known), initial_random=random_first)
    assert run(importer, range(imported, imported + 8)) == after


def test_earlier_trials_change_what_a_model_proposes() -> None:
    """Scores decide: a searcher that ignores them would also propose as if it had run imported trials."""
    found = []
    for sign in (1, -1):
        trials = [(params, sign * score_of(params)) for params in SPACE.grid(2)]
        found.append(searcher_of("hyperopt", SPACE.knowing(Knowledge(trials=earlier(trials)))).suggest("a"))
    assert found[0] != found[1]


def test_a_model_that_knows_where_the_optimum_is_proposes_near_it() -> None:
    space = Space.model_validate({"learning_rate": {"loguniform": [1e-6, 1e-1]}})
    rates = np.logspace(-6, -1, 30)
    trials = earlier([({"learning_rate": float(rate)}, -abs(math.log10(rate) + 4)) for rate in rates])
    misses: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(10):
        for informed, known in ((True, space.knowing(Knowledge(trials=trials))), (False, space)):
            searcher: Any = make("hyperopt", trials=40).plan(known, OBJECTIVE, EPOCHS, seed).searcher
            misses[informed] += [abs(math.log10(searcher.suggest(f"t{n}")["learning_rate"]) + 4) for n in range(4)]
    assert np.median(misses[True]) < np.median(misses[False]) / 2


def test_points_are_told_to_the_model_like_any_other_trial() -> None:
    """Proposals after points are those of a search that has imported the points with the same scores."""
    points = (KnownPoint(SPACE.grid(2)[3], "given point"), KnownPoint(SPACE.grid(2)[20], "given point"))
    trying = searcher_of("hyperopt", SPACE.knowing(Knowledge(points)), initial_random=2)
    ran = run(trying, range(6))
    assert [params for params, _ in ran[:2]] == [point.values for point in points]
    importer = searcher_of("hyperopt", SPACE.knowing(Knowledge(trials=earlier(ran[:2]))), initial_random=2)
    assert run(importer, range(2, 6)) == ran[2:]


def test_points_and_earlier_trials_count_as_random_ones() -> None:
    strategy = make("hyperopt", trials=20, initial_random=5)
    assert strategy.learns_after(SPACE) == 5
    assert strategy.learns_after(SPACE.knowing(Knowledge(POINTS))) == 5
    assert strategy.learns_after(SPACE.knowing(Knowledge(POINTS * 3))) == 6
    assert strategy.learns_after(SPACE.knowing(Knowledge(trials=TRIALS))) == 2
    assert strategy.learns_after(SPACE.knowing(Knowledge(trials=TRIALS * 2))) == 0
    assert strategy.outline(SPACE) == "the first 5 at random, then TPE"
    assert strategy.outline(SPACE.knowing(Knowledge(POINTS))) == "2 points first, then 3 at random, then TPE"
    assert strategy.outline(SPACE.knowing(Knowledge(trials=TRIALS * 2))) == "TPE"


def test_in_a_finite_space_what_was_tried_earlier_is_not_proposed_again_but_as_a_point() -> None:
    tried = FINITE.grid(10)[:20]
    known = Knowledge(
        (KnownPoint(tried[0], "given point"),), {}, earlier([(params, score_of(params)) for params in tried])
    )
    plan = make("hyperopt", trials=100, initial_random=5).plan(FINITE.knowing(known), OBJECTIVE, EPOCHS, 0)
    proposed = proposals(plan)
    assert plan.trials == 10
    assert proposed[0] == tried[0]
    assert len({repr(params) for params in proposed}) == 10
    assert all(params not in tried for params in proposed[1:])
