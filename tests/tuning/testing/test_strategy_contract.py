"""The contract of strategies finds a strategy that breaks a rule, whichever it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support import broken_strategies as broken
from tests.support.contracts import check, rules_of
from tuning.strategies import Strategy
from tuning.testing.plan_contract import PlanContract
from tuning.testing.rules import RuleBroken
from tuning.testing.study_contract import StudyContract

PLANS: list[tuple[str, Strategy]] = [
    ("test_it_is_found_by_its_kind", broken.TakesAnothersKind()),
    ("test_it_parses_from_its_own_dump", broken.HidesAField(hidden=4)),
    ("test_it_refuses_an_unknown_key", broken.TakesAnyKey()),
    ("test_its_numbers_have_bounds", broken.TakesAnyNumber()),
    ("test_its_numbers_have_bounds", broken.TakesNoNumber()),
    ("test_it_can_search_an_ordinary_space", broken.RefusesEverything()),
    ("test_what_it_does_not_refuse_by_path_it_can_search", broken.AlwaysProposesARate()),
    ("test_what_it_does_not_refuse_by_path_it_can_search", broken.RefusesByNoPath()),
    ("test_it_refuses_what_it_cannot_search", broken.Sound()),
    ("test_it_proposes_values_of_the_space", broken.LeavesTheSpace()),
    ("test_it_proposes_values_of_the_space", broken.ProposesNumPys()),
    ("test_it_proposes_values_of_the_space", broken.ProposesOnePoint()),
    ("test_it_proposes_as_many_trials_as_it_plans", broken.EndsEarly()),
    ("test_the_same_seed_gives_the_same_proposals", broken.ForgetsItsSeed()),
    ("test_another_seed_gives_other_proposals", broken.HasASeedOfItsOwn()),
    ("test_planning_leaves_the_global_random_states_alone", broken.SeedsTheGlobalState()),
    ("test_planning_leaves_the_global_random_states_alone", broken.SeedsNumPysGlobalState()),
    ("test_global_random_states_do_not_reach_the_proposals", broken.DrawsFromTheGlobalState()),
    ("test_planning_starts_no_ray", broken.StartsRay()),
    ("test_each_plan_has_a_scheduler_and_a_searcher_of_its_own", broken.SharesItsScheduler()),
    ("test_each_plan_has_a_scheduler_and_a_searcher_of_its_own", broken.SchedulesByItself()),
    ("test_a_copy_of_a_plan_proposes_the_same", broken.CannotBePickled()),
    ("test_a_search_that_is_restored_goes_on_as_if_it_had_not_been_interrupted", broken.ForgetsWhereItWas()),
]
STUDIES: list[tuple[str, Strategy]] = [
    ("test_its_study_ends_with_all_its_trials", broken.ProposesWhatDiverges()),
    ("test_every_report_has_the_values_that_were_proposed", broken.ChangesValuesInSecret()),
    ("test_it_trains_the_epochs_that_it_plans", broken.PlansTooMuch()),
    ("test_it_keeps_to_the_slots", broken.LeavesSlotsFree()),
    ("test_trials_that_go_on_from_a_checkpoint_have_their_optimizer_state", broken.ClonesWithoutMoments(population=4)),
    ("test_it_repeats_exactly", broken.StopsByChance()),
    ("test_it_keeps_to_a_budget", broken.RefusesToStop()),
    ("test_a_study_that_is_cut_and_resumed_ends_as_an_undisturbed_one", broken.LosesItsSchedulersState()),
]


def contract_of(contract: type, tested: Strategy, **stated: Any) -> type:
    return type("TestBroken", (contract,), {"strategy": tested, "installed": False, **stated})


@pytest.fixture
def nothing_left() -> Any:
    yield
    broken.StartsRay.started.close()


@pytest.mark.unit
@pytest.mark.parametrize(("rule", "strategy"), PLANS, ids=[type(one).__name__ for _, one in PLANS])
def test_a_plan_that_breaks_a_rule_is_found(rule: str, strategy: Strategy, tmp_path: Path, nothing_left: None) -> None:
    refused = [({"learning_rate": 1e-4}, 4.0, "space")]
    contract = contract_of(PlanContract, strategy, refused=refused)
    with pytest.raises(RuleBroken, match=r"\n  seen: .*\n  next: "):
        check(contract, rule, {"tmp_path": lambda: tmp_path})


@pytest.mark.tune
@pytest.mark.parametrize(("rule", "strategy"), STUDIES, ids=[type(one).__name__ for _, one in STUDIES])
def test_a_study_that_breaks_a_rule_is_found(rule: str, strategy: Strategy, tmp_path: Path) -> None:
    contract: Any = contract_of(StudyContract, strategy)
    fixtures = {"tmp_path": lambda: tmp_path, "whole": lambda: contract.run(tmp_path / "whole")}
    with pytest.raises(RuleBroken, match=r"\n  seen: .*\n  next: "):
        check(contract, rule, fixtures)


@pytest.mark.unit
def test_every_rule_has_a_strategy_that_breaks_it() -> None:
    assert {rule for rule, _ in PLANS} == rules_of(PlanContract)
    assert {rule for rule, _ in STUDIES} == rules_of(StudyContract)


@pytest.mark.unit
@pytest.mark.parametrize("rule", sorted(rules_of(PlanContract)))
def test_a_sound_plan_breaks_none(rule: str, tmp_path: Path) -> None:
    check(contract_of(PlanContract, broken.Sound()), rule, {"tmp_path": lambda: tmp_path})
