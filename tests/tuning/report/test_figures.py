"""The numbers behind each figure of the page."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.outcomes import make_report, population, study, trial
from tests.support.page_outcomes import asha, everything, spec_text
from tuning.budget import BudgetUse
from tuning.comparison import compare
from tuning.outcome import ExperimentOutcome, StudyOutcome, TrialState
from tuning.report.page.anytime import anytime_info
from tuning.report.page.confirmed import seed_info
from tuning.report.page.document import PageContent, all_figures, page_content
from tuning.report.page.figure import Figure
from tuning.report.page.hyperparameters import WINNERS_WIDTH
from tuning.report.page.learning import trial_curves
from tuning.report.page.lineage import Clone, lineage_info
from tuning.report.page.recorded_spec import RecordedSpec
from tuning.report.page.rungs import has_rungs, milestones, rungs
from tuning.report.page.schedules import schedule_info
from tuning.report.page.scored_trials import pooled_study, scored_trials
from tuning.report.page.slots import timeline, utilisation, utilisation_table
from tuning.report.page.tables import cost_table, trial_table
from tuning.report.page.winners import winners

pytestmark = pytest.mark.unit

SPEC = RecordedSpec.parse(spec_text())


@pytest.fixture(scope="module")
def content() -> PageContent:
    return page_content(everything(), spec_text())


def figures(*studies: StudyOutcome) -> dict[str, Figure]:
    outcome = ExperimentOutcome("e", "d", studies)
    return {figure.id: figure for figure in all_figures(outcome, compare(outcome), SPEC)}


def test_an_anytime_line_is_the_mean_from_where_every_seed_has_a_score() -> None:
    seeds = [
        study("grid", [trial(0, [make_report(1, 0.5 + i / 10, time=4 * i)])], seed=i, wall=100.0) for i in range(3)
    ]
    info = anytime_info(compare(ExperimentOutcome("e", "d", tuple(seeds))).rows[0].anytime)
    assert [score for _, score in info.mean] == pytest.approx([0.6] * len(info.mean))
    assert info.mean[-1] == (100.0, pytest.approx(0.6))
    assert len(info.mean) == len(info.band) == len(info.regret) < 201
    cost, low, high = info.band[-1]
    assert (cost, low < 0.5 < 0.7 < high <= 1.0) == (100.0, True)  # three seeds pay for what they do not know
    assert info.regret[-1] == (100.0, pytest.approx(0.1))
    cost, least, most = info.regret_band[-1]
    assert (cost, least, most) == (100.0, 0.0, pytest.approx(0.7 - low))
    assert [seed[-1] for seed in info.seeds] == [(100.0, 0.5), (100.0, 0.6), (100.0, 0.7)]


def test_an_anytime_figure_says_where_there_is_no_band_and_no_mean() -> None:
    two = [study("grid", [trial(0, [make_report(1, 0.5 + i / 10)])], seed=i) for i in range(2)]
    found = figures(*two, study("late", [trial(0, [make_report(1, 0.6)])]), study("late", [], seed=1))["anytime"]
    assert [view.label for view in found.views] == ["all strategies", "regret"]
    assert found.views[0].summary == (
        "Mean best validation accuracy at the end: grid 0.55. No mean: a seed of late has no score. "
        "No band of grid and late: it needs 3 seeds."
    )
    same = [study("grid", [trial(0, [make_report(1, 0.5)])], seed=i) for i in range(3)]
    assert "No band of grid: all seeds have the same curve." in figures(*same)["anytime"].views[0].summary


def test_confirmed_and_tested_scores_stand_in_the_anytime_figure(content: PageContent) -> None:
    view = content.figures["anytime"]["views"][0]
    for text in ("Confirmed, mean over seeds: grid 0.8", "On test, mean over seeds: grid 0.8"):
        assert text in view["summary"]
    symbols = [line.get("marker", {}).get("symbol") for line in view["plot"]["data"]]
    assert (symbols.count("circle-open"), symbols.count("diamond")) == (3, 3)


def test_the_expected_best_is_drawn_over_trials_and_over_cost() -> None:
    trials = [trial(i, [make_report(1, 0.5 + i / 10)]) for i in range(4)]
    found = figures(study("random", trials))["expected"]
    assert [view.label for view in found.views] == ["over trials", "over device-seconds"]
    assert [row[:4] for row in found.table.rows] == [
        ("random", 1, 25.0, pytest.approx(0.65)),
        ("random", 2, 50.0, pytest.approx(0.5 + 0.1 * 14 / 6)),  # 1, 2, 2, 3, 3, 3: the larger of each pair
        ("random", 3, 75.0, pytest.approx(0.775)),
        ("random", 4, 100.0, pytest.approx(0.8)),
    ]
    assert [row[4] is None for row in found.table.rows] == [False, False, True, True]
    assert found.views[0].summary.startswith("Expected best validation accuracy of random: 0.65 [")
    assert found.views[0].summary.endswith("of 2 trials, 0.8 of 4 trials.")
    for view, last in zip(found.views, (4, 100.0), strict=True):
        assert view.plot["data"][-1]["x"][-1] == last


def test_a_learning_curve_breaks_where_a_member_took_over_weights() -> None:
    _, member = trial_curves(study("pbt", list(population())))
    assert member.pieces == (((1, 0.1), (2, 0.2)), ((2, 0.7), (3, 0.8)))


def test_a_trial_counts_with_its_best_score_and_the_values_in_force_then() -> None:
    donor, member = scored_trials([study("pbt", list(population()))])
    assert (donor.params, donor.score) == ({"learning_rate": 0.2}, 0.65)
    assert (member.params, member.score) == ({"learning_rate": 0.4}, 0.8)


def test_a_failed_trial_is_drawn_by_itself_and_left_out_of_what_did_well() -> None:
    """Its last score is that of chance, which would stretch the axis and flatten the other lines."""
    good = [
        trial(i, [make_report(1, 0.9 + i / 100, rate=i + 1.0), make_report(2, 0.95, rate=i + 1.0)]) for i in range(2)
    ]
    failed = trial(2, [make_report(1, 0.5, rate=9.0)], TrialState.FAILED, error="ValueError: no")
    found = figures(study("grid", [*good, failed]))
    grid, apart = found["learning"].views
    assert (grid.label, apart.label) == ("grid", "failed trials")
    scores = [y for trace in grid.plot["data"] for y in trace["y"] if y is not None]
    assert min(scores) == 0.9
    assert "1 failed trial is not drawn here" in grid.summary
    assert [y for trace in apart.plot["data"] for y in trace["y"] if y is not None] == [0.5]
    assert ("grid", 0, "2 (t2)", "failed", 1, 0.5) in found["learning"].table.rows
    for id in ("parallel", "slices"):
        assert [row[3] for row in found[id].table.rows] == [0.95, 0.95]
        assert "1 failed trial is not drawn here" in found[id].views[0].summary


def test_a_failed_trial_that_was_chosen_is_drawn_with_the_others() -> None:
    failed = trial(1, [make_report(1, 0.97)], TrialState.FAILED, error="ValueError: no")
    (view,) = figures(study("grid", [trial(0, [make_report(1, 0.9)]), failed]))["learning"].views
    assert "Winner: trial 1 (t1) of grid, seed 0: 0.97 at epoch 1." in view.summary


def test_the_winner_has_the_thickest_line_and_is_named() -> None:
    found = figures(
        study("grid", [trial(i, [make_report(1, 0.8 + i / 10), make_report(2, 0.7 + i / 10)]) for i in range(2)])
    )
    traces = found["learning"].views[0].plot["data"]
    line, star = traces[-2:]
    assert line["name"] == "winner: trial 1 (t1)"
    assert line["line"]["width"] > max(trace["line"]["width"] for trace in traces[:-2])
    assert (star["marker"]["symbol"], star["x"], star["y"]) == ("star", [1], [0.9])


def test_the_thickest_of_the_parallel_lines_is_the_winner_s_also_where_numbers_are_chosen() -> None:
    for seed in range(3):
        outcome = ExperimentOutcome("e", "d", (asha(seed),))
        chosen = winners(compare(outcome)).overall
        (best,) = (one for one in scored_trials(outcome.studies) if one.key == chosen)
        (view,) = figures(*outcome.studies)["parallel"].views
        (thick,) = (line for line in view.plot["data"] if line.get("line", {}).get("width") == WINNERS_WIDTH)
        _, *values = (value for _, value in thick["customdata"])  # the first is the score
        shown = dict(zip(sorted(best.params), values, strict=True))
        assert shown["per_device_train_batch_size"] == str(best.params["per_device_train_batch_size"])
        assert float(shown["learning_rate"]) == pytest.approx(best.params["learning_rate"], rel=0.01)


def test_all_strategies_are_shown_together_first_where_there_are_several(content: PageContent) -> None:
    for id in ("anytime", "learning", "parallel", "slices", "slots"):
        assert content.figures[id]["views"][0]["label"] == "all strategies"
    alone = figures(study("grid", [trial(i, [make_report(1, 0.8, rate=i + 1.0)]) for i in range(2)]))
    assert [view.label for view in alone["learning"].views] == ["grid"]
    assert [view.label for view in alone["parallel"].views] == ["grid"]


def test_strategies_with_spaces_of_their_own_share_the_axes_that_they_have_in_common() -> None:
    outcome = everything()
    trials = scored_trials(outcome.studies)
    pooled = pooled_study(trials, "max")
    by_strategy = {trial.params["strategy"]: set(trial.params) for trial in pooled.trials}
    assert by_strategy["pbt"] == {"strategy", "learning_rate", "weight_decay"}
    assert by_strategy["grid"] == {"strategy", "learning_rate", "per_device_train_batch_size"}
    assert [trial.value for trial in pooled.trials] == [trial.score for trial in trials]


def test_the_table_of_trials_has_a_column_per_hyperparameter_and_marks_the_winner() -> None:
    other = trial(0, [make_report(1, 0.8)])
    bare = replace(
        other, params={"weight_decay": 0.1}, reports=(make_report(1, 0.6)._replace(params={"weight_decay": 0.1}),)
    )
    outcome = ExperimentOutcome("e", "d", (study("grid", [bare]), study("pbt", list(population()))))
    chosen = winners(compare(outcome))
    table = trial_table(outcome, chosen.overall)
    assert table.columns[8:] == ("weight_decay", "learning_rate", "error")
    assert [row[8:10] for row in table.rows] == [(0.1, None), (None, 0.2), (None, 0.4)]
    assert chosen.overall == ("pbt", 0, "1 (t1)")
    assert table.marked == 2


def test_importances_put_the_hyperparameter_that_matters_first() -> None:
    outcome = everything()
    found = {figure.id: figure for figure in all_figures(outcome, compare(outcome), SPEC)}["importances"]
    ranked = [name for strategy, name, _ in found.table.rows if strategy == "hyperopt_asha"]
    assert ranked[0] == "learning_rate"
    assert len(ranked) == 4


def test_lineage_tells_who_cloned_whom_and_which_way_the_best_weights_went() -> None:
    info = lineage_info(study("pbt", list(population())))
    assert info.clones == (Clone(member=1, donor=0, left=2.0, taken=1.0),)
    assert info.winner == ((0, 1), (1, 2), (1, 3))


def test_a_failed_member_does_not_stretch_the_scale_of_the_colours() -> None:
    failed = trial(2, [make_report(1, 0.01, 0.3)], TrialState.FAILED, error="ValueError: no")
    found = figures(study("pbt", [*population(), failed]))
    (marks,) = [trace for trace in found["lineage"].views[0].plot["data"] if "colorscale" in trace.get("marker", {})]
    assert (marks["marker"]["cmin"], marks["marker"]["cmax"]) == (0.1, 0.8)
    assert marks["marker"]["symbol"].count("x") == 1


def test_studies_that_ran_one_after_the_other_share_a_timeline() -> None:
    first = study("grid", [trial(0, [make_report(1, 0.5, seconds=10, time=110)])], wall=20)
    second = study("random", [trial(0, [make_report(1, 0.6, seconds=10, time=130)])], wall=20)
    line = timeline(*(replace(one, devices_per_trial=1.0) for one in (first, second)))
    assert [(s.strategy, s.row, s.start, s.end) for s in line.spans] == [("grid", 0, 0, 10), ("random", 0, 20, 30)]


def test_a_schedule_is_what_the_best_weights_were_trained_with() -> None:
    info = schedule_info(study("pbt", list(population())))
    assert info.schedule == {"learning_rate": ((1, 0.2), (2, 0.4), (3, 0.4))}
    assert (1, 2, 0.9) in info.values["learning_rate"]


def test_rungs_lie_at_the_grace_epochs_and_each_reduction_factor_later() -> None:
    assert milestones({"grace_epochs": 1, "reduction_factor": 3}, 27) == [1, 3, 9]


def test_only_a_rule_with_rungs_is_drawn_as_one() -> None:
    keys = {"grace_epochs": 1, "reduction_factor": 3}
    assert [has_rungs(one) for one in (keys, {**keys, "pruner": "hyperband"}, {**keys, "stopping": "asha"})] == [
        True
    ] * 3
    assert [has_rungs(one) for one in ({}, {**keys, "pruner": "none"}, {**keys, "stopping": "median"})] == [False] * 3


def test_a_rung_counts_who_reached_it_who_was_stopped_and_what_that_saved() -> None:
    stopped = trial(0, [make_report(1, 0.5, seconds=10)], TrialState.STOPPED)
    longer = trial(1, [make_report(1, 0.5, seconds=10), make_report(2, 0.6, seconds=10)], TrialState.STOPPED)
    done = trial(2, [make_report(e, 0.7, seconds=10) for e in (1, 2, 3, 4)])
    first, second = rungs([stopped, longer, done], [1, 2], SPEC)
    assert (first.reached, first.stopped, first.device_seconds, first.saved) == (3, 1, 10, 30)
    assert (second.reached, second.stopped, second.device_seconds, second.saved) == (2, 1, 20, 20)


def test_a_trial_that_a_spent_budget_stopped_between_rungs_counts_at_none() -> None:
    cut = trial(0, [make_report(e, 0.5) for e in (1, 2, 3)], TrialState.STOPPED)
    assert [rung.stopped for rung in rungs([cut], [1, 2], SPEC)] == [0, 0]


def test_what_a_study_left_of_its_budget_is_reported() -> None:
    limited = replace(study("grid", [trial(0, [make_report(1, 0.5)])]), budget=BudgetUse("epochs", 24.0, 18.0, False))
    assert utilisation_table([limited]).rows[0][-2:] == ("24 epochs", 6.0)


def test_held_and_busy_device_seconds_stand_side_by_side() -> None:
    one = replace(
        study("grid", [trial(0, [make_report(1, 0.5, seconds=30), make_report(2, 0.5, seconds=20)])], wall=100.0),
        slot_seconds=150.0,
        cost=150.0,
    )
    columns, (row,) = utilisation_table([one]).columns, utilisation_table([one]).rows
    shown = dict(zip(columns, row, strict=True))
    assert (shown["slots"], shown["slots, on average"]) == (2, 1.5)
    assert (shown["held (device-s)"], shown["busy (device-s)"], shown["idle (device-s)"]) == (150.0, 50.0, 100.0)
    compared = compare(ExperimentOutcome("e", "d", (one, replace(one, seed=1))))
    costs = cost_table(compared)
    assert dict(zip(costs.columns, costs.rows[0], strict=True))["of these busy"] == 100.0
    assert [row.busy_device_seconds for row in compared.rows[0].studies] == [50.0, 50.0]


def test_trials_lie_in_the_first_row_that_is_free_and_a_pause_parts_a_trial() -> None:
    one = trial(0, [make_report(1, 0.5, seconds=10, time=110), make_report(2, 0.6, seconds=10, time=150)])
    other = trial(1, [make_report(1, 0.5, seconds=10, time=115)])
    line = timeline(replace(study("grid", [one, other], wall=50), devices_per_trial=1.0))
    assert [(s.trial, s.row, s.start, s.end) for s in line.spans] == [
        ("0 (t0)", 0, 0, 10),
        ("1 (t1)", 1, 5, 15),
        ("0 (t0)", 0, 40, 50),
    ]
    assert line.rows == 2
    assert utilisation(line) == pytest.approx(0.3)


def test_a_seed_tells_what_the_search_promised_and_what_was_confirmed() -> None:
    (row, *_) = compare(everything()).rows
    info = seed_info(row, row.studies[0])
    assert info is not None
    assert len(info.confirmed) == 5
    assert info.mean == pytest.approx(sum(info.confirmed) / 5)
    assert info.gap == pytest.approx(info.searched - info.mean)


def test_a_figure_without_data_says_why_and_is_not_drawn() -> None:
    found = figures(study("grid", [trial(0, [make_report(1, 0.5)])]))
    assert {id for id, figure in found.items() if figure.missing} == {
        "expected", "parallel", "importances", "slices", "lineage", "schedules", "rungs",
    }  # fmt: skip
    assert "20 trials" in str(found["importances"].missing)


def test_every_figure_of_the_full_experiment_but_that_of_a_random_search_is_drawn(content: PageContent) -> None:
    assert list(content.figures) == [
        "anytime", "learning", "parallel", "importances", "slices", "lineage", "schedules", "rungs", "slots", "seeds",
    ]  # fmt: skip
    for figure in content.figures.values():
        assert all(len(row) == len(figure["columns"]) for row in figure["rows"])
        assert figure["rows"]
