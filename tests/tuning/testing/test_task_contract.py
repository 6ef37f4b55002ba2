"""The contract of tasks finds a task that breaks a rule, whichever it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support import broken_tasks as broken
from tests.support.contracts import check, rules_of
from trainables.tasks import Task
from tuning.testing.rules import RuleBroken
from tuning.testing.task_contract import TaskContract
from tuning.testing.task_data import local_copy, word_tokenizer

pytestmark = pytest.mark.unit

BROKEN: list[tuple[str, Task]] = [
    ("test_it_is_found_by_its_name", broken.TAKES_ANOTHERS_NAME),
    ("test_it_says_what_it_is", broken.TALKS_TOO_MUCH),
    ("test_it_says_what_it_is", broken.NoMetricOfItsOwn()),
    ("test_its_preset_says_what_it_lacks", broken.FindsFaultWithAll()),
    ("test_a_users_option_goes_before_the_presets", broken.KeepsItsSource()),
    ("test_a_users_option_goes_before_the_presets", broken.ForgetsTheUser()),
    ("test_it_reads_files_in_its_own_columns", broken.FindsFaultWithAll()),
    ("test_it_reads_files_in_its_own_columns", broken.LosesAColumn()),
    ("test_it_reads_files_in_its_own_columns", broken.MiscountsLabels()),
    ("test_the_public_validation_is_the_test_when_test_labels_are_hidden", broken.ReordersTheTest()),
    ("test_it_says_what_its_rows_came_to", broken.MiscountsInItsSummary()),
    ("test_it_says_what_its_rows_came_to", broken.NamesNoPositiveClass()),
    ("test_the_splits_are_disjoint_and_the_same_again", broken.TrainsOnTheTest()),
    ("test_the_splits_are_disjoint_and_the_same_again", broken.ShufflesAnew()),
    ("test_the_splits_are_disjoint_and_the_same_again", broken.HasAnotherDigestEachTime()),
    ("test_a_text_that_stands_in_several_files_is_in_one_split", broken.TrainsOnTheTest()),
    ("test_the_splits_are_stratified", broken.SortsByLabel()),
    ("test_a_smaller_subset_is_contained_in_a_larger_one", broken.DrawsSubsetsAnew()),
    ("test_another_seed_gives_other_splits", broken.IgnoresTheSeed()),
    ("test_another_seed_gives_other_splits", broken.ForgetsTheSeedInItsDigest()),
    ("test_the_order_of_rows_changes_nothing", broken.FollowsTheFirstRow()),
    ("test_digests_follow_the_content_wherever_it_is", broken.DigestsThePath()),
    ("test_digests_follow_the_content_wherever_it_is", broken.HasAnotherDigestEachTime()),
    ("test_loading_leaves_no_trace", broken.WritesBesideTheData()),
    ("test_loading_leaves_no_trace", broken.SeedsTheGlobalState()),
    ("test_it_tokenises_to_what_a_model_takes", broken.Padded()),
    ("test_it_tokenises_to_what_a_model_takes", broken.DropsTheLabels()),
    ("test_it_tokenises_to_what_a_model_takes", broken.CountsWhatIsLeft()),
    ("test_more_tokens_than_the_model_takes_are_refused", broken.TokenisesTooMuch()),
    ("test_perfect_predictions_score_best", broken.ScoresUpsideDown()),
    ("test_a_diverged_model_scores_nan", broken.HidesDivergence()),
    ("test_data_that_cannot_be_used_are_refused_by_the_name_of_the_option", broken.NamesAnotherOption()),
    ("test_data_that_cannot_be_used_are_refused_by_the_name_of_the_option", broken.LoadsAnything()),
    ("test_data_that_cannot_be_used_are_refused_by_the_name_of_the_option", broken.ChecksNoRows()),
]


def check_task(task: Task, rule: str, folder: Path) -> None:
    contract: Any = type("TestBroken", (TaskContract,), {"task": task, "installed": False})
    fixtures = {
        "data": lambda: local_copy(task, folder / "data"),
        "tmp_path": lambda: folder,
        "tokenizer": word_tokenizer,
    }
    check(contract, rule, fixtures)


@pytest.mark.parametrize(("rule", "task"), BROKEN, ids=[type(task).__name__ for _, task in BROKEN])
def test_a_task_that_breaks_a_rule_is_found(rule: str, task: Task, tmp_path: Path) -> None:
    with pytest.raises(RuleBroken, match=r"\n  seen: .*\n  next: "):
        check_task(task, rule, tmp_path)


@pytest.mark.parametrize("rule", sorted(rules_of(TaskContract)))
def test_a_sound_task_breaks_none(rule: str, tmp_path: Path) -> None:
    check_task(broken.Sound(), rule, tmp_path)


def test_every_rule_has_a_task_that_breaks_it() -> None:
    assert {rule for rule, _ in BROKEN} == rules_of(TaskContract)
