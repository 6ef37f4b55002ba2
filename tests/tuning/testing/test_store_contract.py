"""The contract of study stores finds a store that breaks a rule, whichever it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import broken_stores as broken
from tests.support.contracts import check, rules_of
from tests.support.stores import open_study
from tuning.store.study_store import StudyStore, sqlite_url
from tuning.testing.rules import RuleBroken
from tuning.testing.store_contract import StoreContract

pytestmark = pytest.mark.unit

BROKEN: list[tuple[str, type[StudyStore]]] = [
    ("test_everything_that_goes_in_comes_out", broken.DoublesReports),
    ("test_everything_that_goes_in_comes_out", broken.LosesErrors),
    ("test_everything_that_goes_in_comes_out", broken.LosesCheckpoints),
    ("test_everything_that_goes_in_comes_out", broken.CountsTwice),
    ("test_everything_that_goes_in_comes_out", broken.ForgetsTheData),
    ("test_what_models_said_to_25_000_rows_comes_out_and_takes_little_room", broken.LosesWhatFollows),
    ("test_every_final_model_is_remembered", broken.LosesWhatFollows),
    ("test_optuna_sees_states_values_and_distributions", broken.RecordsNoEnds),
    ("test_a_trial_recorded_twice_is_one", broken.DoublesTrials),
    ("test_epochs_computed_again_after_a_crash_replace_the_old_ones", broken.DoublesReports),
    ("test_epochs_computed_again_after_a_crash_replace_the_old_ones", broken.NeverGoesBack),
    ("test_a_second_crash_at_an_earlier_epoch_leaves_no_trace_of_both_futures", broken.NeverGoesBack),
    ("test_a_clone_that_goes_back_to_an_earlier_epoch_of_its_donor_keeps_its_own_past", broken.NeverGoesBack),
    ("test_a_crash_from_before_an_exploit_takes_the_exploit_back", broken.NeverRewinds),
    ("test_an_exploit_recorded_twice_is_one", broken.DoublesExploits),
    ("test_an_exploit_of_an_epoch_that_the_donor_never_reported_is_refused", broken.SwallowsErrors),
    ("test_the_last_epochs_of_a_completed_trial_recorded_again_change_nothing", broken.RecordsNoEnds),
    ("test_a_failed_trial_that_goes_on_is_one_trial_with_its_past", broken.EndsWhatHasEnded),
    ("test_no_trial_completes_without_a_report", broken.SwallowsErrors),
    ("test_a_trial_that_was_never_begun_is_refused", broken.SwallowsErrors),
    ("test_values_outside_the_space_are_kept", broken.RoundsValues),
    ("test_numpys_values_become_plain_ones", broken.RoundsValues),
    ("test_a_metric_that_is_not_finite_survives", broken.LosesInfinity),
    ("test_a_dropped_checkpoint_is_forgotten_even_after_the_trials_end", broken.LosesCheckpoints),
    ("test_of_two_checkpoints_of_one_epoch_the_better_reports_is_named", broken.LosesCheckpoints),
    ("test_the_time_of_a_killed_run_counts_until_its_last_sign", broken.CountsTwice),
    ("test_the_cost_of_a_trial_stays_when_it_is_recorded_again", broken.LosesCosts),
    ("test_a_finished_study_opened_again_is_running_and_one_only_written_to_is_not", broken.FinishesEverything),
    ("test_a_writer_for_a_study_that_is_not_there_is_refused", broken.FindsAnything),
    ("test_another_spec_under_the_same_name_is_refused_with_the_keys_that_differ", broken.FindsAnything),
    ("test_a_new_run_is_refused_where_another_one_has_recorded_the_study", broken.FindsAnything),
    ("test_an_unknown_experiment_names_the_nearest", broken.FindsAnything),
    ("test_experiments_share_a_store_in_order_of_their_start", broken.SortsByName),
    ("test_studies_of_other_programs_are_let_be", broken.ShowsOtherPrograms),
    ("test_a_layout_of_a_newer_version_is_refused", broken.FindsAnything),
    ("test_a_study_that_is_deleted_during_a_run_is_reported", broken.SwallowsErrors),
    ("test_neither_store_nor_writer_can_be_pickled", broken.GoesAlong),
    ("test_a_trials_name_is_the_same_in_every_run_of_its_study_and_no_other_studys", broken.NamesByChance),
    ("test_a_trial_that_is_proposed_again_with_the_same_values_goes_on_with_its_record", broken.DoublesReports),
    (
        "test_one_that_is_proposed_again_with_other_values_is_another_and_the_first_is_kept",
        broken.KeepsTheFirstProposal,
    ),
    ("test_a_store_in_which_a_trial_was_set_back_has_lost_nothing", broken.NeverGoesBack),
    ("test_the_test_rows_are_remembered_with_who_looked_at_them_before", broken.ForgetsTestRows),
    ("test_an_experiment_is_copied_whole_and_alone", broken.DoublesReports),
    ("test_an_experiment_that_is_not_there_leaves_no_copy", broken.NamesAnother),
]


@pytest.mark.parametrize(("rule", "faulty"), BROKEN, ids=[faulty.__name__ for _, faulty in BROKEN])
def test_a_store_that_breaks_a_rule_is_found(rule: str, faulty: type[StudyStore], tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "study.db")
    store = faulty(url)
    fixtures = {
        "store_url": lambda: url,
        "store": lambda: store,
        "writer": lambda: open_study(store),
        "tmp_path": lambda: tmp_path,
    }
    with pytest.raises(RuleBroken, match=r"\n  seen: .*\n  next: "):
        check(StoreContract, rule, fixtures)


def test_every_rule_has_a_store_that_breaks_it() -> None:
    assert {rule for rule, _ in BROKEN} == rules_of(StoreContract)
