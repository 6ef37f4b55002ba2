"""Members of a population take over from the right donors, with the right values; and PBT without exploring."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tests.support.strategies import make
from tuning.space import Space
from tuning.strategies.schedulers.evolution import Evolution, Inheritance, Member, Perturbation

pytestmark = pytest.mark.unit

EPOCHS = 4.0


def test_pbt_without_exploring_takes_the_donors_values_as_they_are() -> None:
    members = [Member(i, f"t{i}", float(i), {"learning_rate": 10.0 ** -(i + 3)}) for i in range(4)]
    space = Space({"learning_rate": {"loguniform": [1e-6, 1e-3]}})
    selecting = Evolution(0, 0.25, Inheritance())
    ((member, donor, params),) = selecting.takeovers(1, members)
    assert (member.number, donor.number, params) == (0, 3, members[3].params)
    exploring = Evolution(0, 0.25, Perturbation(space, 0.25, (0.8, 1.2)))
    assert exploring.takeovers(1, members)[0].params != members[3].params


def test_pbt_without_exploring_takes_what_cannot_change_in_flight() -> None:
    space = Space.model_validate({"optim": {"choice": ["adamw_torch", "sgd"]}})
    assert make("pbt", explore=False).refusals(space, EPOCHS) == []
    assert make("pbt", explore=False).changed_in_flight(space) == ()
    assert make("pbt").changed_in_flight(space) == ("optim",)
    assert [path for path, _ in make("pbt", explore=False).refusals(Space({"optim": "sgd"}), EPOCHS)] == ["space"]


def test_keys_that_pbt_would_not_read_without_exploring_are_refused() -> None:
    with pytest.raises(ValidationError, match="would not be read"):
        make("pbt", explore=False, factors=(0.5, 2.0))


@pytest.mark.parametrize(("quantile", "members"), [(0.28, 25), (0.07, 100), (0.14, 50)])
def test_a_quantile_that_is_a_whole_number_of_members_replaces_that_many(quantile: float, members: int) -> None:
    population = [Member(i, f"t{i}", float(i), {"learning_rate": 1e-4}) for i in range(members)]
    assert len(Evolution(0, quantile, Inheritance()).takeovers(1, population)) == 7
    taken = [Evolution(0, quantile, Inheritance()).takeover(one, population, times=0) for one in population]
    assert [one is not None for one in taken] == [True] * 7 + [False] * (members - 7)


def scored(*scores: float, clones: tuple[int, ...] = ()) -> list[Member]:
    return [Member(i, f"t{i}", score, {"lr": float(i)}, 1, i not in clones) for i, score in enumerate(scores)]


def test_a_member_is_compared_with_the_scores_that_are_there() -> None:
    evolution = Evolution(0, 0.25, Inheritance())
    assert evolution.takeover(scored(0.1)[0], scored(0.1), times=0) is None
    first, second = scored(0.1, 0.2)
    assert evolution.takeover(second, [first, second], times=0) is None
    found = evolution.takeover(first, [first, second], times=0)
    assert found is not None
    assert (found.member, found.donor, found.params) == (first, second, second.params)


def test_a_member_that_has_only_a_donors_weights_is_ranked_and_does_not_donate() -> None:
    evolution = Evolution(0, 0.25, Inheritance())
    members = scored(0.1, 0.2, 0.3, 0.4, clones=(3,))
    assert evolution.takeover(members[0], members, times=0) is None
    members = scored(0.1, 0.2, 0.3, 0.4, clones=(0,))
    assert evolution.takeover(members[1], members, times=0) is None  # the worst one is replaced, and stays the bar
    assert evolution.takeover(members[0], members, times=1) is not None


def test_draws_follow_the_seed_the_member_and_how_often_it_has_taken_over() -> None:
    space = Space.model_validate({"lr": {"uniform": [0, 20]}})
    members = scored(0.1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)

    def params(seed: int, number: int, times: int) -> object:
        found = Evolution(seed, 0.25, Perturbation(space, 1.0, (0.8, 1.2))).takeover(members[number], members, times)
        assert found is not None
        return found.params

    drawn = [params(*key) for key in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))]
    assert len({str(one) for one in drawn}) == 4
    assert params(0, 0, 0) == drawn[0]
