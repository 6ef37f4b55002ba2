"""Tests comparisons over several experiments against published tables, scipy and statsmodels, also with few tasks."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from tests.support.several_experiments import BETTER, alike_everywhere, experiment
from trainables.errors import InputError
from tuning.across import Across, compare_across
from tuning.across.aggregates import (
    bootstrap_seeds,
    interquartile_means,
    normalise,
    percentile_interval,
    performance_profile,
    probability_of_improvement,
    profile_thresholds,
)
from tuning.across.significance import friedman, rank_means, signed_ranks, smallest_p, tasks_needed, wilcoxon_p
from tuning.across.text import across_csv, across_json, across_markdown
from tuning.comparison.multiple_comparisons import holm
from tuning.outcome import ExperimentOutcome, ScoredRows, StudyOutcome, StudyState
from tuning.report.page.across import across_content
from tuning.report.page.document import render_page

pytestmark = pytest.mark.unit

# Demsar, JMLR 7 (2006), table 6: AUC of C4.5, with m, with cf, with both, on 14 data sets.
DEMSAR = np.array([
    (0.763, 0.768, 0.771, 0.798), (0.599, 0.591, 0.590, 0.569), (0.954, 0.971, 0.968, 0.967),
    (0.628, 0.661, 0.654, 0.657), (0.882, 0.888, 0.886, 0.898), (0.936, 0.931, 0.916, 0.931),
    (0.661, 0.668, 0.609, 0.685), (0.583, 0.583, 0.563, 0.625), (0.775, 0.838, 0.866, 0.875),
    (1.000, 1.000, 1.000, 1.000), (0.940, 0.962, 0.965, 0.962), (0.619, 0.666, 0.614, 0.669),
    (0.972, 0.981, 0.9751, 0.9750), (0.957, 0.978, 0.946, 0.970),
])  # fmt: skip


def test_ranks_and_friedmans_test_are_those_of_demsars_table() -> None:
    ranks = np.array([rank_means(row, "max") for row in DEMSAR])
    assert ranks.mean(axis=0) == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    found = friedman(ranks)
    ties = 1 - (3 * 6 + 60) / (14 * 4 * (4**2 - 1))  # his 9.28 is not corrected for ties
    assert found.statistic * ties == pytest.approx(9.28, abs=0.01)
    assert not found.exact
    assert 0.008 < found.p < 0.03  # by his F: 0.02; by chi squared: 0.017
    assert rank_means((3.0, 1.0, 2.0), "min") == (3, 1, 2)


def test_friedmans_p_is_exact_for_few_tasks() -> None:
    """The reference is Friedman's table (JASA 32, 1937) for three strategies."""
    one, other = (1.0, 2.0, 3.0), (1.0, 3.0, 2.0)
    for ranks, statistic, p in (([one] * 3, 6.0, 0.028), ([one] * 3 + [other], 6.5, 0.042), ([one] * 4, 8.0, 0.0046)):
        found = friedman(np.array(ranks))
        assert found.exact
        assert (found.statistic, found.p) == (pytest.approx(statistic), pytest.approx(p, abs=5e-4))
    assert friedman(np.full((4, 3), 2.0)).p == 1.0


def test_wilcoxons_test_is_that_of_demsars_example() -> None:
    """In table 2 the sums of ranks are 93 and 12, and the critical value for 5 % is 21."""
    differences = np.round(DEMSAR[:, 1] - DEMSAR[:, 0], 3)
    assert signed_ranks(differences) == pytest.approx(93 - 12)
    assert wilcoxon_p(differences) < 0.05
    assert wilcoxon_p(np.array([5.0, -3.0, 4.0, -6.0, 1.0])) > 0.5
    assert wilcoxon_p(np.zeros(9)) == 1.0


@pytest.mark.parametrize("tasks", [3, 5, 6, 7, 12])
def test_no_p_over_tasks_is_smaller_than_that_of_one_who_is_always_ahead(tasks: int) -> None:
    assert wilcoxon_p(np.arange(1.0, tasks + 1)) == pytest.approx(smallest_p(tasks)) == pytest.approx(2 / 2**tasks)
    assert wilcoxon_p(np.ones(tasks)) == pytest.approx(smallest_p(tasks))  # ties: of normalised scores of two


def test_holm_agrees_with_statsmodels_and_the_tasks_that_it_takes_are_counted() -> None:
    from statsmodels.stats.multitest import multipletests

    found = [0.02, 0.004, 0.3, 0.02, 0.9]
    pairs = list(combinations("abcde", 2))[: len(found)]
    assert holm(pairs, found, None) == pytest.approx(multipletests(found, method="holm")[1])
    assert [tasks_needed(1 / pairs) for pairs in (1, 3, 6, 10)] == [6, 7, 8, 9]


def test_scores_are_normalised_between_the_worst_and_the_best_mean_in_either_direction() -> None:
    assert normalise(np.array([0.5, 0.6, 0.9]), (0.5, 0.7), "max") == pytest.approx([0.0, 0.5, 2.0])
    assert normalise(np.array([3.0, 2.0, 1.0]), (3.0, 1.0), "min") == pytest.approx([0.0, 0.5, 1.0])
    assert normalise(np.array([0.5]), (0.5, 0.5), "max") is None


def test_interquartile_means_profiles_and_chances_are_those_that_a_reader_counts() -> None:
    scores = [np.array([[0.0, 1.0], [0.5, 0.5]]), np.array([[0.2, 0.4], [0.3, 0.3]])]
    assert interquartile_means(scores) == pytest.approx([0.3, 0.4])  # of 0, 0.2, 0.4, 1 the two in the middle
    assert performance_profile(scores, 0, np.array([-0.1, 0.0, 0.3, 1.0])) == pytest.approx([1.0, 0.75, 0.5, 0.0])
    assert probability_of_improvement(scores, 0, 1) == 0.5
    uneven = [np.array([[3.0, 4.0, 5.0], [1.0, 4.0, 2.0]])]
    from scipy.stats import mannwhitneyu

    assert probability_of_improvement(uneven, 0, 1) == mannwhitneyu(uneven[0][0], uneven[0][1]).statistic / 9
    assert probability_of_improvement(uneven, 1, 0) == pytest.approx(1 - probability_of_improvement(uneven, 0, 1))
    ends = profile_thresholds([np.array([[-0.304, 40.0]])])
    assert (ends[0], ends[-1], 0.5 in ends) == (-0.31, 2.0, True)


def test_intervals_hold_as_often_as_they_say_for_a_few_seeds() -> None:
    """If n of n seeds were drawn, they would cover 87 of 100 experiments with six tasks and three seeds."""
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(150):
        drawn = bootstrap_seeds([rng.normal(size=(2, 3)) for _ in range(6)])
        assert drawn is not None
        found = percentile_interval(probability_of_improvement(drawn, 0, 1), 18)
        assert found is not None
        held += found.low <= 0.5 <= found.high
    assert 0.9 * 150 <= held <= 0.99 * 150
    assert bootstrap_seeds([np.zeros((2, 3)), np.zeros((2, 1))]) is None
    assert percentile_interval(np.ones(50), 9) is None


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


def test_what_is_not_finished_is_told() -> None:
    first, *others = alike_everywhere(2)
    open_one = replace(first.studies[0], state=StudyState.RUNNING)
    across = compare_across([replace(first, studies=(open_one, *first.studies[1:])), *others])
    assert "Not finished: pbt seed 0 of task0." in across.caveats


def printed(across: Across) -> str:
    return "\n".join(line.rstrip() for line in str(across).splitlines())


def test_the_terminal_shows_it_in_80_columns_and_the_other_forms_hold_the_same() -> None:
    across = compare_across(alike_everywhere(3))
    text = printed(across)
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith("3 strategies over 3 tasks\n")
    assert " pbt      1.00 3 of 3  1.00 [0.96, 1.04]" in text
    assert "Normalised scores: in each task 0 is the worst mean" in text
    plain = json.loads(across_json(across))
    assert plain["schema_version"] == 2
    assert plain["friedman"] == {"statistic": pytest.approx(6.0), "p": pytest.approx(1 / 36), "exact": True}
    assert plain["pairs"][0].keys() >= {"wins", "losses", "better", "difference", "p", "corrected", "shown"}
    assert across_markdown(across).startswith("## 3 strategies over 3 tasks\n")
    assert plain["rows"][-1]["middle"] == 0.0
    lines = across_csv(across).splitlines()
    assert lines[0] == "experiment,metric,strategy,seeds,test,rank,normalised,device_seconds"
    assert len(lines) == 1 + 3 * 3
    assert lines[1].startswith("task0,accuracy,pbt,3,0.621,1.0,1.0,300")


def test_the_page_has_each_figure_in_words_and_as_numbers() -> None:
    across = compare_across(alike_everywhere(3))
    content = across_content(across)
    assert content.figures.keys() == {"ranks", "profiles", "middles", "chances"}
    assert content.figures["ranks"]["views"][0]["summary"] == "Mean ranks: pbt 1.00, asha 2.00 and grid 3.00."
    assert ("pbt", "task0", 1.0) in [tuple(row) for row in content.figures["ranks"]["rows"]]
    summary = content.figures["profiles"]["views"][0]["summary"]
    assert summary == "Searches with a normalised score above 0.5: pbt 100 %, asha 100 % and grid 0 %."
    lines = [t for t in content.figures["profiles"]["views"][0]["plot"]["data"] if t.get("name")]
    assert [line["name"] for line in lines] == ["pbt", "asha", "grid"]
    assert len({(line["line"]["color"], line["line"]["dash"]) for line in lines}) == 3
    assert [row[0] for row in content.figures["middles"]["rows"]] == ["pbt", "asha", "grid"]
    assert len(content.figures["chances"]["rows"]) == 3
    assert "no test of two strategies over tasks can show a difference" in content.body
    html = render_page(content)
    assert "<title>task0, task1, task2 · tunefleet</title>" in html


def test_a_hostile_name_stays_a_text_on_the_page() -> None:
    outcomes = [replace(one, name=f"<img src=x>{n}") for n, one in enumerate(alike_everywhere(2))]
    content = across_content(compare_across(outcomes))
    assert "<img" not in content.body
    assert "&lt;img src=x&gt;0" in content.body


def test_a_page_without_a_scale_says_why() -> None:
    flat = experiment("flat", {"pbt": [0.5], "grid": [0.5], "asha": [0.5]})
    content = across_content(compare_across([flat, replace(flat, name="also")]))
    assert content.figures.keys() == {"ranks", "chances"}
    assert content.body.count("Not shown: all strategies have the same mean in each task.") == 2
