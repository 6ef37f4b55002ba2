"""Tests contrasts with a baseline over several experiments against scipy, and the sentence that reports the gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import wilcoxon

from tests.support.several_experiments import BETTER, alike_everywhere, experiment
from tuning.across import Across, compare_across
from tuning.across.significance import typical_difference
from tuning.across.text import across_markdown
from tuning.outcome import ExperimentOutcome
from tuning.report.page.across import across_content, across_pair_table

pytestmark = pytest.mark.unit

OVER_DEFAULTS = {"pbt": 0.02, "asha": 0.012, "defaults": 0.0}
SHARES = {("asha", "defaults"): 0.4, ("defaults", "pbt"): 0.4, ("asha", "pbt"): 0.2}  # of the error rate


def scattered(tasks: int, ahead: Mapping[str, float], metric: str = "accuracy") -> list[ExperimentOutcome]:
    """Makes tasks with one seed, whose strategies lie around their means."""
    rng = np.random.default_rng(3)
    noise = rng.normal(0.0, 0.01, (tasks, len(ahead)))
    return [
        experiment(
            f"task{task}",
            {name: [round(0.6 + by + noise[task, place], 4)] for place, (name, by) in enumerate(ahead.items())},
            metric,
            "min" if metric == "mse" else "max",
        )
        for task in range(tasks)
    ]


def differences(across: Across, first: str, second: str) -> np.ndarray:
    """Returns the differences of the means of two strategies by task."""
    places = across.strategies.index(first), across.strategies.index(second)
    return np.round([task.means[places[0]] - task.means[places[1]] for task in across.tasks], 9)


def holms(
    found: Mapping[tuple[str, ...], float], shares: Mapping[tuple[str, ...], float]
) -> dict[tuple[str, ...], float]:
    """Corrects p step by step: the smallest p in relation to its share comes first, its share goes to the others."""
    corrected, left, largest = {}, dict(shares), 0.0
    while left:
        pair = min(left, key=lambda pair: found[pair] / left[pair])
        largest = max(largest, found[pair] * sum(left.values()) / left[pair])
        corrected[pair] = min(1.0, largest)
        del left[pair]
    return corrected


@pytest.mark.parametrize("ahead", [OVER_DEFAULTS, {"pbt": 0.011, "asha": -0.004, "defaults": 0.0}], ids=str)
def test_contrasts_with_the_baseline_have_most_of_the_error_rate(ahead: Mapping[str, float]) -> None:
    across = compare_across(scattered(9, ahead))
    assert across.baseline == "defaults"
    found = {pair: float(wilcoxon(differences(across, *pair)).pvalue) for pair in SHARES}
    expected = holms(found, SHARES)
    for pair in across.pairs:
        name = tuple(sorted((pair.first, pair.second)))
        assert pair.p == pytest.approx(found[name])
        assert pair.corrected == pytest.approx(expected[name])
        assert pair.shown is (expected[name] <= 0.05)
    assert ["defaults" in (pair.first, pair.second) for pair in across.pairs] == [True, True, False]


def test_without_a_baseline_all_pairs_have_equal_weight() -> None:
    across = compare_across(scattered(9, BETTER))
    pairs = [("asha", "grid"), ("asha", "pbt"), ("grid", "pbt")]
    expected = holms(
        {one: float(wilcoxon(differences(across, *one)).pvalue) for one in pairs}, dict.fromkeys(pairs, 1 / 3)
    )
    assert across.baseline is None
    found = {tuple(sorted((pair.first, pair.second))): pair.corrected for pair in across.pairs}
    assert found == pytest.approx(expected)
    assert [pair.p for pair in across.pairs] == sorted(pair.p for pair in across.pairs)


def test_the_estimate_and_the_interval_are_those_of_the_signed_rank_test() -> None:
    """The example is table 3.1 of Hollander and Wolfe (Nonparametric Statistical Methods): 0.46 [0.010, 0.786]."""
    before = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
    after = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29])
    middle, ends = typical_difference(before - after, 0.05)
    assert ends is not None
    assert (middle, *ends) == pytest.approx((0.46, 0.010, 0.786), abs=1e-9)
    rng = np.random.default_rng(1)
    for tasks, level in ((6, 0.05), (8, 0.0125), (12, 0.02), (20, 0.05)):
        found = rng.normal(0.3, 1.0, tasks)
        _, ends = typical_difference(found, level)
        assert ends is not None
        for shift in rng.uniform(-1.5, 2.0, 40):
            assert (wilcoxon(found - shift).pvalue > level) == (ends[0] < shift < ends[1])


def test_an_interval_needs_tasks_enough_for_its_level_and_differences_that_differ() -> None:
    assert typical_difference(np.arange(1.0, 6.0), 0.05) == (3.0, None)  # five tasks: p is 0.0625 at least
    assert typical_difference(np.arange(1.0, 7.0), 0.05) == (3.5, (1.0, 6.0))
    assert typical_difference(np.full(9, 0.2), 0.05) == (pytest.approx(0.2), None)
    assert typical_difference(np.zeros(9), 0.05) == (0.0, None)


def test_the_first_sentence_is_the_gain_over_the_baseline_with_its_interval() -> None:
    across = compare_across(alike_everywhere(7, OVER_DEFAULTS))
    assert across.verdict.startswith(
        "pbt gained 0.021 [0.020, 0.021] accuracy over the baseline defaults, ahead in 7 of 7 tasks (Wilcoxon's "
        "signed-rank test over tasks, p = 0.039, corrected for 3 pairs). Over 7 tasks pbt has the best mean rank"
    )
    assert across.verdict.count("pbt did better than defaults") == 0
    assert "asha did better than defaults over tasks" in across.verdict
    pair = across.pairs[0]
    assert (pair.first, pair.second, pair.difference) == ("pbt", "defaults", pytest.approx(0.0206))
    assert pair.difference_interval is not None
    assert pair.difference_interval[:2] == pytest.approx((0.02, 0.0212))
    assert pair.difference_interval.covers == ("tasks",)


def test_with_five_strategies_eight_tasks_can_show_a_gain() -> None:
    ahead = {"pbt": 0.02, "asha": -0.01, "grid": -0.02, "random": -0.03, "defaults": 0.0}
    across = compare_across(alike_everywhere(8, ahead))
    assert across.verdict.startswith("pbt gained 0.021 [0.020, 0.021] accuracy over the baseline defaults")
    assert across.tasks_needed == 8
    others = [replace(one, studies=tuple(replace(s, kind=s.strategy.replace("defaults", "own")) for s in one.studies))
              for one in alike_everywhere(8, ahead)]  # fmt: skip
    across = compare_across(others)
    assert (across.baseline, across.tasks_needed) == (None, 9)
    assert not any(pair.shown for pair in across.pairs)


def test_the_first_sentence_is_that_no_gain_is_shown() -> None:
    few = compare_across(alike_everywhere(3, OVER_DEFAULTS))
    assert few.verdict.startswith(
        "No gain over the baseline defaults is shown: pbt, the nearest to one, is ahead by 0.020 accuracy, in 3 of 3 "
        "tasks (Wilcoxon's signed-rank test over tasks, p = 0.62, corrected for 3 pairs). Over 3 tasks pbt has"
    )
    assert "Its p is 0.25 at least, 0.62 corrected for 3 pairs; from 7 tasks on it can." in few.verdict
    near = compare_across(scattered(9, {"pbt": 0.001, "asha": -0.02, "defaults": 0.0}))
    low, high = typical_difference(differences(near, "pbt", "defaults"), 0.05 * 0.4)[1] or (0.0, 0.0)
    assert "No gain over the baseline defaults is shown: pbt, the nearest to one, is ahead by 0.00" in near.verdict
    assert f"[{low:.3f}, {high:.3f}] accuracy" in near.verdict
    two = compare_across(scattered(9, {"pbt": 0.001, "defaults": 0.0}))
    assert "any two" not in two.verdict  # its only pair stands in the first sentence


def test_what_lost_to_the_baseline_is_no_gain() -> None:
    across = compare_across(alike_everywhere(7, {"pbt": -0.02, "asha": -0.012, "defaults": 0.0}))
    assert across.verdict.startswith(
        "No gain over the baseline defaults: it did better than asha, the nearest to it, by 0.012 [0.012, 0.013] "
        "accuracy, ahead in 7 of 7 tasks"
    )
    assert "defaults did better than pbt over tasks" in across.verdict


def test_nothing_is_gained_where_nothing_may_be_claimed() -> None:
    outcomes = alike_everywhere(8, OVER_DEFAULTS)
    across = compare_across([*outcomes, replace(outcomes[2], name="again")])
    assert across.verdict.startswith("No gain over the baseline defaults is shown. Over 9 tasks pbt has")
    assert "Nothing is claimed over tasks: task2 and again have the same data" in across.verdict


def test_a_gain_is_positive_where_lower_is_better_and_on_the_normalised_scale_where_metrics_differ() -> None:
    ahead = {"pbt": -0.05, "asha": -0.02, "defaults": 0.0}
    across = compare_across(scattered(9, ahead, "mse"))
    expected, _ = typical_difference(-differences(across, "pbt", "defaults"), 0.02)
    assert across.pairs[0].difference == pytest.approx(expected)
    assert f"pbt gained {expected:.3f} [" in across.verdict
    assert " mse over the baseline defaults" in across.verdict
    mixed = compare_across([*scattered(5, ahead, "mse"), *(replace(one, name=f"more{n}") for n, one in
                            enumerate(alike_everywhere(5, OVER_DEFAULTS)))])  # fmt: skip
    assert " of the normalised score over the baseline defaults, ahead in 10 of 10 tasks" in mixed.verdict


def named(outcomes: Sequence[ExperimentOutcome], *baselines: str | None) -> Across:
    """Compares experiments whose specs name these baselines."""
    return compare_across(outcomes, specs=[{"baseline": baseline} for baseline in baselines])


def test_the_spec_names_the_baseline_and_else_the_defaults_are_it() -> None:
    outcomes = alike_everywhere(8, {**OVER_DEFAULTS, "grid": 0.005})
    assert named(outcomes, *["grid"] * 8).verdict.startswith("pbt gained 0.016 [")
    assert named(outcomes, *["grid"] * 8).baseline == "grid"
    assert named(outcomes, *[None] * 8).baseline == "defaults"
    assert named(outcomes, *["defaults", None] * 4).baseline == "defaults"
    assert compare_across(alike_everywhere(7)).baseline is None


def test_different_baselines_are_named_in_a_caveat_and_all_pairs_have_equal_weight() -> None:
    outcomes = alike_everywhere(7, OVER_DEFAULTS)
    across = named(outcomes, "asha", "pbt", *[None] * 5)
    assert across.baseline is None
    assert across.caveats[0].startswith(
        "The experiments have no baseline in common (task0 asha, task1 pbt, task2 defaults, "
    )
    assert across.verdict.startswith("Over 7 tasks pbt has the best mean rank")
    assert all(pair.corrected == pytest.approx(3 * 2 / 2**7) for pair in across.pairs)


def test_a_baseline_that_is_left_out_is_named_in_a_caveat() -> None:
    one, *others = alike_everywhere(7, OVER_DEFAULTS)
    bare = replace(one, studies=tuple(study for study in one.studies if study.strategy != "defaults"))
    assert "(task0 none, task1 defaults" in " ".join(compare_across([bare, *others]).caveats)
    other_kind = replace(
        one, studies=tuple(replace(s, kind="x" if s.strategy == "pbt" else s.kind) for s in one.studies)
    )
    across = named([other_kind, *others], *["pbt"] * 7)
    assert (across.baseline, across.strategies) == (None, ("asha", "defaults"))
    assert "The baseline pbt is not among the compared strategies: all pairs have equal weight." in across.caveats


def test_table_markdown_and_page_show_the_gain_and_put_the_contrasts_first() -> None:
    across = compare_across(alike_everywhere(7, OVER_DEFAULTS))
    assert "| pbt - defaults | 7 : 0 | 100 % | 0.021 [0.020, 0.021] | 0.039 |" in across_markdown(across)
    assert max(map(len, str(across).splitlines())) <= 80
    table = across_pair_table(across)
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row["pair"] == "pbt against defaults"
    assert (row["difference"], row["95 % interval of it"]) == (pytest.approx(0.0206), "0.020 to 0.021")
    body = across_content(across).body
    assert "pbt gained 0.021 [0.020, 0.021] accuracy over the baseline defaults" in body
    assert "those with the baseline defaults first, which have most of the error rate" in body
    assert "the smallest p first" in across_content(compare_across(alike_everywhere(7))).body
