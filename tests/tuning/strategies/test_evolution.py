"""Members of a population take over from the right donors, with the right values; and PBT without exploring."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tests.support.strategies import make
from tuning.space import Space
from tuning.strategies.schedulers.evolution import Evolution, Member

pytestmark = pytest.mark.unit

EPOCHS = 4.0


def test_pbt_without_exploring_takes_the_donors_values_as_they_are() -> None:
    members = [Member(i, f"t{i}", float(i), {"learning_rate": 10.0 ** -(i + 3)}) for i in range(4)]
    space = Space({"learning_rate": {"loguniform": [1e-6, 1e-3]}})
    selecting = Evolution(space, 0, 0.25, 0.25, (0.8, 1.2), explore=False)
    ((member, donor, params),) = selecting.takeovers(1, members)
    assert (member.number, donor.number, params) == (0, 3, members[3].params)
    exploring = Evolution(space, 0, 0.25, 0.25, (0.8, 1.2))
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
    evolution = Evolution(Space({"learning_rate": {"loguniform": [1e-5, 1e-3]}}), 0, quantile, 0.25, (0.8, 1.2))
    assert len(evolution.takeovers(1, population)) == 7
