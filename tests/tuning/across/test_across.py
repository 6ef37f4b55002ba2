"""The comparison over several experiments: what it claims with few tasks, what it leaves out, what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.support.several_experiments import BETTER, alike_everywhere, experiment
from trainables.errors import InputError
from tuning.across import compare_across
from tuning.outcome import ExperimentOutcome, ScoredRows, StudyOutcome, StudyState

pytestmark = pytest.mark.unit


def test_three_tasks_can_show_nothing_of_two_strategies_and_say_so() -> None:
    across = compare_across(alike_everywhere(3))
    assert across.verdict.startswith("Over 3 tasks pbt has the best mean rank, 1.00 of 3.")
    assert "3 tasks: no test of two strategies over tasks can show a difference at 5 %." in across.verdict
    assert "Its p is 0.25 at least, 0.75 corrected for 3 pairs; from 7 tasks on it can." in across.verdict
    assert "not all equal over tasks (Friedman's test, exact p = 0.028)" in across.verdict
    assert not any(pair.shown for pair in across.pairs)


def test_seven_tasks_that_all_say_the_same_show_it() -> None:
    across = compare_across(alike_everywhere(7))
    shown = {(pair.first, pair.second, pair.wins) for pair in across.pairs if pair.shown}
    assert shown == {("pbt", "asha", 7), ("pbt", "grid", 7), ("asha", "grid", 7)}
    assert all(pair.corrected == pytest.approx(3 * 2 / 2**7) for pair in across.pairs)
    assert "pbt did better than grid over tasks: ahead in 7 of 7" in across.verdict
    assert across.verdict.endswith("That holds for tasks like these, with their models, spaces and budgets.")


def test_means_and_differences_that_are_equal_on_paper_are_ties() -> None:
    assert math.fsum((0.6, 0.61, 0.8)) / 3 != 0.67
    tie = experiment("a", {"pbt": [0.6, 0.61, 0.8], "grid": [0.67, 0.67, 0.67]})
    assert compare_across([tie, replace(tie, name="b")]).tasks[0].ranks == (1.5, 1.5)
    assert 0.3 - 0.2 < 0.4 - 0.3 < 0.8 - 0.7
    tasks = [
        experiment("a", {"pbt": [0.8], "grid": [0.7]}),
        experiment("b", {"pbt": [0.4], "grid": [0.3]}),
        experiment("c", {"pbt": [0.2], "grid": [0.3]}),
    ]
    assert compare_across(tasks).pairs[0].p == 1.0  # with ranks 3, 2 and -1 it would be 0.5


def test_two_strategies_have_no_friedman_test_and_need_six_tasks() -> None:
    across = compare_across(alike_everywhere(2, {"pbt": 0.02, "grid": 0.0}))
    assert across.friedman is None
    assert "Its p is 0.5 at least; from 6 tasks on it can." in across.verdict
    assert any(caveat.startswith("With two strategies, one has 1 and the other 0") for caveat in across.caveats)


def test_strategies_that_are_not_in_all_experiments_are_left_out_by_name() -> None:
    one, other, third = alike_everywhere(3, {"pbt": 0.02, "asha": 0.01, "grid": 0.0, "own": 0.0})
    other = replace(other, studies=tuple(one for one in other.studies if one.strategy != "asha"))
    third = replace(
        third, studies=tuple(replace(s, kind="random") if s.strategy == "own" else s for s in third.studies)
    )
    across = compare_across([one, other, third])
    assert across.strategies == ("pbt", "grid")
    assert across.left_out == (
        "asha (not in task1)",
        "own (of kind own in task0, of kind own in task1, of kind random in task2)",
    )
    assert any(caveat.startswith("Left out") and "asha (not in task1)" in caveat for caveat in across.caveats)


def test_an_experiment_without_test_scores_is_left_out_by_name() -> None:
    outcomes = alike_everywhere(3)
    bare = replace(outcomes[1], studies=tuple(replace(study, test=None) for study in outcomes[1].studies))
    across = compare_across([outcomes[0], bare, outcomes[2]])
    assert [task.experiment for task in across.tasks] == ["task0", "task2"]
    assert across.left_out == ("task1 (no test score of pbt, asha and grid)",)
    with pytest.raises(InputError, match=r"fewer than two of them can be compared; left out: task1 \(no test score"):
        compare_across([outcomes[0], bare])


@pytest.mark.parametrize(
    ("outcomes", "rule"),
    [
        (alike_everywhere(1), "a comparison over tasks needs two experiments"),
        (alike_everywhere(1) * 2, "'task0': is given twice"),
        ([*alike_everywhere(1), ExperimentOutcome("empty", "d")], "'empty': holds no study"),
        ([*alike_everywhere(1), experiment("z", {"grid": [0.5], "own": [0.5]})], r"have one strategy in common"),
        ([*alike_everywhere(1), experiment("z", {"own": [0.5]})], r"no strategies in common \(task0 has pbt, asha"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused_with_what_to_do(outcomes: list[ExperimentOutcome], rule: str) -> None:
    with pytest.raises(InputError, match=rule):
        compare_across(outcomes)


def test_metrics_may_differ_also_in_direction() -> None:
    accuracy = experiment("a", {"pbt": [0.9, 0.8], "grid": [0.7, 0.6], "asha": [0.75, 0.7]})
    error = experiment("b", {"pbt": [0.01, 0.02], "grid": [0.3, 0.4], "asha": [0.2, 0.1]}, "mse", "min")
    across = compare_across([accuracy, error])
    assert [task.ranks for task in across.tasks] == [(1, 3, 2), (1, 3, 2)]
    assert [row.strategy for row in across.rows] == ["pbt", "asha", "grid"]
    assert across.differences == "normalised scores"
    assert any(caveat.startswith("Metrics differ (accuracy, mse)") for caveat in across.caveats)
    (best, *_) = [pair for pair in across.pairs if (pair.first, pair.second) == ("pbt", "grid")]
    assert (best.better, best.interval) == (1.0, None)
    same = compare_across(alike_everywhere(2))
    assert same.differences == "accuracy"


def with_data(outcome: ExperimentOutcome, **attributes: str) -> ExperimentOutcome:
    """Return the outcome with attributes added to each study."""
    return replace(outcome, studies=tuple(replace(study, attributes=attributes) for study in outcome.studies))


def test_experiments_over_the_same_data_are_no_two_tasks() -> None:
    outcomes = [with_data(one, data_fingerprint=f"f{n}") for n, one in enumerate(alike_everywhere(8))]
    assert any(pair.shown for pair in compare_across(outcomes).pairs)
    outcomes[7] = with_data(outcomes[7], data_fingerprint="f0")
    across = compare_across(outcomes)
    assert not any(pair.shown for pair in across.pairs)
    assert across.verdict.endswith(
        "Nothing is claimed over tasks: task0 and task7 have the same data or scores, so they are the same task."
    )


def test_one_experiment_under_two_names_is_no_two_tasks() -> None:
    outcomes = alike_everywhere(7)
    across = compare_across([*outcomes, replace(outcomes[2], name="again")])
    assert "task2 and again have the same data or scores, so they are the same task" in across.verdict
    assert not any(pair.shown for pair in across.pairs)


def test_the_same_test_rows_are_seen_through_another_subset_of_train() -> None:
    labels = tuple(float(label) for label in np.random.default_rng(1).integers(2, size=60))
    sorted_labels = tuple(sorted(labels))
    for copied, same in ((labels, True), (sorted_labels, False)):
        outcomes = [
            replace(one, studies=tuple(
                replace(study, test=replace(study.test, scored=ScoredRows(copied, copied))) for study in one.studies
            ))
            for one in alike_everywhere(2)
        ]  # fmt: skip
        assert (compare_across(outcomes).withheld is not None) is same


def failed(study: StudyOutcome) -> StudyOutcome:
    """Make a study in which no trial has a score."""
    return replace(study, trials=(), test=None)


def test_a_failed_search_counts_as_the_defaults_or_forbids_a_claim() -> None:
    outcomes = alike_everywhere(8, {**BETTER, "defaults": -0.1})
    lost, *others = outcomes
    lost = replace(lost, studies=tuple(failed(s) if (s.strategy, s.seed) == ("pbt", 1) else s for s in lost.studies))
    across = compare_across([lost, *others])
    assert "pbt seed 1 of task0" in " ".join(across.caveats)
    assert across.tasks[0].scores[0] == pytest.approx((0.62, 0.501, 0.622))
    without = [replace(one, studies=tuple(s for s in one.studies if s.kind != "defaults")) for one in (lost, *others)]
    across = compare_across(without)
    assert across.tasks[0].seeds == (0, 2)
    assert "Nothing is claimed over tasks: there is no test score of pbt seed 1 of task0" in across.verdict
    assert not any(pair.shown for pair in across.pairs)


def test_one_seed_has_no_interval_and_equal_means_no_scale() -> None:
    flat = experiment("flat", {"pbt": [0.5], "grid": [0.5], "asha": [0.5]})
    across = compare_across([*alike_everywhere(2), flat])
    caveats = " ".join(across.caveats)
    assert "One seed only in flat" in caveats
    assert "Unequal numbers of seeds (task0 3, task1 3, flat 1)" in caveats
    assert "All strategies have the same mean in flat: no normalised scores there." in caveats
    assert across.tasks[2].ranks == (2, 2, 2)
    assert all(pair.interval is None for pair in across.pairs)
    assert all(row.interval is not None for row in across.rows)  # the flat one is not in them
    nothing = compare_across([flat, replace(flat, name="also")])
    assert [row.middle for row in nothing.rows] == [None] * 3
    assert nothing.verdict.startswith("Over 2 tasks pbt, grid and asha share the best mean rank, 2.00 of 3.")


def test_what_is_not_finished_is_reported() -> None:
    first, *others = alike_everywhere(2)
    open_one = replace(first.studies[0], state=StudyState.RUNNING)
    across = compare_across([replace(first, studies=(open_one, *first.studies[1:])), *others])
    assert "Not finished: pbt seed 0 of task0." in across.caveats
