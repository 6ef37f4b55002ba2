"""The contract of storages finds a storage that breaks a rule, whichever it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import broken_storages as broken
from tests.support.contracts import check, rules_of
from trainables.checkpoints.storage import FolderStorage
from tuning.testing.rules import RuleBroken
from tuning.testing.storage_contract import StorageContract

pytestmark = pytest.mark.unit

BROKEN: list[tuple[str, FolderStorage]] = [
    ("test_a_copy_can_be_gone_on_from_then_scored_and_goes_with_its_checkpoint", broken.HoldsEverything()),
    ("test_a_copy_can_be_gone_on_from_then_scored_and_goes_with_its_checkpoint", broken.StripsNothing()),
    ("test_weights_alone_are_copied_when_no_more_is_asked_for", broken.CopiesAll()),
    ("test_a_checkpoint_that_is_deleted_takes_the_copy_of_its_state_along", broken.LeavesTheCopy()),
    ("test_a_state_beside_its_manifest_is_found_by_other_trials_and_stripped", broken.LooksInOnePlace()),
    ("test_what_is_stripped_early_is_reported", broken.StripsInSecret()),
    ("test_what_an_earlier_run_left_in_the_same_checkpoint_goes", broken.LeavesOtherStates()),
    ("test_a_copy_that_breaks_off_is_none_and_can_be_made_again", broken.WritesInPlace()),
    ("test_a_damaged_manifest_is_read_from_its_copy_and_two_are_refused", broken.ReadsOneCopy()),
    ("test_the_checkpoints_of_a_trial_come_in_order", broken.Unordered()),
    ("test_a_functions_own_files_are_scored_all", broken.ScoresRecipesAlone()),
    ("test_a_file_is_written_whole_read_found_and_removed", broken.Appends()),
    ("test_a_copy_of_the_storage_reads_the_same", broken.Locked()),
]


@pytest.mark.parametrize(("rule", "faulty"), BROKEN, ids=[type(faulty).__name__ for _, faulty in BROKEN])
def test_a_storage_that_breaks_a_rule_is_found(rule: str, faulty: FolderStorage, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    fixtures = {
        "storage": lambda: faulty,
        "study": lambda: str(tmp_path / "study"),
        "scratch": lambda: tmp_path / "scratch",
    }
    with pytest.raises(RuleBroken, match=r"\n  seen: .*\n  next: "):
        check(StorageContract, rule, fixtures)


def test_every_rule_has_a_storage_that_breaks_it() -> None:
    assert {rule for rule, _ in BROKEN} == rules_of(StorageContract)
