"""Whole searches of several objectives in virtual time: what they find, keep, score on test, and do after a cut."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from typing import Any

import pytest

from tests.support.planted_front import MINUTE, dominated_share, fields
from trainables.errors import InputError
from tuning import load_spec, run_experiment
from tuning.comparison import compare
from tuning.comparison.text import comparison_json, comparison_markdown
from tuning.outcome import ExperimentOutcome, StudyOutcome, StudyState
from tuning.report.page.document import page_content
from tuning.selection.picked import picked, refuse_to_choose
from tuning.spec.file import parse
from tuning.spec.models import ExperimentSpec
from tuning.store.study_store import StudyStore
from tuning.testing.simulated_ray import PowerCut, simulated_ray

pytestmark = pytest.mark.tune

MOASHA = {"kind": "random_moasha", "trials": 6}


def run(raw: dict[str, Any], *, resume: bool = False, passed: float = 0.0) -> ExperimentOutcome:
    with simulated_ray(tick=MINUTE, passed=passed):
        return run_experiment(load_spec(raw), progress=False, resume=resume)


def share(study: StudyOutcome) -> float:
    return dominated_share([(r.metrics["accuracy"], r.metrics["latency_ms"]) for _, r in study.front()])


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExperimentSpec, ExperimentOutcome]:
    """Three seeds of random search and MOASHA, and the defaults, at equal budgets."""
    strategies = [
        {"kind": "random", "trials": None},
        {"kind": "random_moasha", "trials": None},
        {"kind": "defaults", "values": {"width": 0.5, "rate": 0.5, "decay": 0.5}},
    ]
    raw = fields(tmp_path_factory.mktemp("planted"), strategies=strategies, seeds=[0, 1, 2], budget={"epochs": 96})
    return load_spec(raw), run(raw)


def test_moasha_finds_the_planted_front_and_more_of_it_than_random_search(
    searched: tuple[ExperimentSpec, ExperimentOutcome],
) -> None:
    found = {(study.strategy, study.seed): share(study) for study in searched[1].studies}
    ours, rival = ([found[name, seed] for seed in range(3)] for name in ("random_moasha", "random"))
    assert sum(one > other for one, other in zip(ours, rival, strict=True)) >= 2
    assert sum(ours) > sum(rival)
    assert min(ours) > 0.5
    widths = [report.metrics["latency_ms"] / 10 for _, report in searched[1].study("random_moasha", 0).front()]
    assert min(widths) < 0.2
    assert max(widths) > 0.7


def test_each_model_of_a_front_is_scored_on_test_once_and_its_checkpoint_stays(
    searched: tuple[ExperimentSpec, ExperimentOutcome],
) -> None:
    for study in searched[1].studies:
        assert study.test is None
        front = {(trial.id, report.epoch): report for trial, report in study.front()}
        tests = {(one.trial, one.epoch): one for one in study.front_tests}
        assert tests.keys() == front.keys()
        for key, test in tests.items():
            assert test.metrics["accuracy"] == pytest.approx(0.9 * front[key].metrics["accuracy"])
            assert test.metrics["latency_ms"] == front[key].metrics["latency_ms"]
            assert Path(test.checkpoint).is_dir()
        kept = {path for trial in study.trials for path in trial.checkpoints.values()}
        assert kept == {test.checkpoint for test in study.front_tests}


def test_they_are_compared_by_hypervolume_in_one_box_that_is_stated(
    searched: tuple[ExperimentSpec, ExperimentOutcome],
) -> None:
    spec, outcome = searched
    comparison = compare(outcome, spec=spec.plain())
    assert (comparison.metric, comparison.mode) == ("hypervolume", "max")
    assert "from accuracy 0." in comparison.caveats[0]
    assert "to the reference point accuracy " in comparison.caveats[0]
    by_name = {row.strategy: row for row in comparison.rows}
    volumes = {name: [one.chosen.validation for one in row.studies if one.chosen] for name, row in by_name.items()}
    assert sum(volumes["random_moasha"]) > sum(volumes["random"])
    assert all(0 <= volume <= 1 for found in volumes.values() for volume in found)
    for row in comparison.rows:
        for curve, study in zip(row.anytime.curves, row.studies, strict=True):
            scores = [step.score for step in curve.steps]
            assert scores == sorted(scores)
            assert study.chosen is not None
            assert scores[-1] == study.chosen.validation
            assert study.test is not None
            assert study.test < study.chosen.validation  # every accuracy is a tenth lower
    pair = next(one for one in comparison.pairs if {one.first, one.second} == {"random", "random_moasha"})
    assert (pair.first, pair.seeds) == ("random_moasha", 3)
    assert pair.withheld is not None  # a closed form of one's own has no test rows


def test_the_front_is_what_a_user_chooses_from(searched: tuple[ExperimentSpec, ExperimentOutcome]) -> None:
    spec, outcome = searched
    comparison = compare(outcome, spec=spec.plain())
    assert [point.validation["accuracy"] for point in comparison.front] == sorted(
        (point.validation["accuracy"] for point in comparison.front), reverse=True
    )
    assert [point.validation["latency_ms"] for point in comparison.front] == sorted(
        (point.validation["latency_ms"] for point in comparison.front), reverse=True
    )
    first = comparison.front[0]
    assert f"--pick {first.pick}`" in comparison.advice
    assert f"| {first.pick} | {first.strategy}, seed {first.seed} | " in comparison_markdown(comparison)
    assert f'"trial": "{first.trial}"' in comparison_json(comparison)
    winner = picked(outcome, first.pick)
    assert (winner.study.strategy, winner.study.seed, winner.candidate.epoch) == (
        first.strategy, first.seed, first.epoch,
    )  # fmt: skip
    assert dict(winner.candidate.schedule[-1].params).items() >= first.params.items()
    with pytest.raises(InputError, match=r"^--pick: .*several objectives have no single best.*" + first.pick):
        refuse_to_choose(outcome)
    with pytest.raises(InputError, match=f"^--pick: '{first.trial}@99': has no report at that epoch; it has"):
        picked(outcome, f"{first.trial}@99")
    with pytest.raises(InputError, match=r"^--pick: '00000000': is no trial of planted"):
        picked(outcome, "00000000")


def test_a_trial_is_picked_by_its_id_alone_with_the_best_of_its_own_front(
    searched: tuple[ExperimentSpec, ExperimentOutcome],
) -> None:
    study = searched[1].study("random", 0)
    on_front = {trial.id for trial, _ in study.front()}
    off = next(trial for trial in study.trials if trial.id not in on_front and trial.reports)
    winner = picked(searched[1], off.id)
    assert winner.candidate.searched == max(report.metrics["accuracy"] for report in off.reports)
    assert any("not on the front" in caveat for caveat in winner.caveats)


def test_the_page_shows_the_front_and_its_volume_over_cost(searched: tuple[ExperimentSpec, ExperimentOutcome]) -> None:
    spec, outcome = searched
    content = page_content(outcome, spec.to_yaml())
    front, anytime = content.figures["front"], content.figures["anytime"]
    assert front["views"][0]["label"] == "accuracy over latency_ms"
    assert {trace["name"] for trace in front["views"][0]["plot"]["data"]} == {
        *("random", "random_moasha", "defaults"), "front, validation", "front, test",
    }  # fmt: skip
    assert len(front["rows"]) == len(compare(outcome).front)
    assert "hypervolume" in anytime["views"][0]["plot"]["layout"]["yaxis"]["title"]["text"]
    assert "--pick" in content.body


def test_constraints_bound_the_front_and_what_is_scored(tmp_path: Path) -> None:
    raw = fields(tmp_path, strategies=[{"kind": "random", "trials": 10}], constraints=["latency_ms <= 4"])
    (study,) = run(raw).studies
    latencies = [report.metrics["latency_ms"] for _, report in study.front()]
    assert latencies
    assert max(latencies) <= 4
    assert {one.metrics["latency_ms"] for one in study.front_tests} == set(latencies)
    none = fields(tmp_path, name="none", strategies=[{"kind": "random", "trials": 3}], constraints=["latency_ms <= 0"])
    outcome = run(none)
    assert outcome.studies[0].front() == outcome.studies[0].front_tests == ()
    assert "no trial has a report that keeps latency_ms <= 0" in compare(outcome).advice


def test_a_strategy_of_one_score_follows_the_weighted_sum(tmp_path: Path) -> None:
    raw = fields(
        tmp_path,
        strategies=[{"kind": "pbt", "population": 4}, {"kind": "hyperopt_asha", "trials": 6}],
        scalarisation={"accuracy": 1, "latency_ms": 0.05},
        in_flight=["width", "rate", "decay"],
        epochs=4,
    )
    outcome = run(raw)
    for study in outcome.studies:
        assert study.state is StudyState.FINISHED
        assert study.front()
        assert study.front_tests
        for trial in study.trials:
            for report in trial.reports:
                expected = report.metrics["accuracy"] - 0.05 * report.metrics["latency_ms"]
                assert report.metrics["scalarised"] == pytest.approx(expected)
    pbt = outcome.study("pbt", 0)
    exploited = [(trial, one) for trial in pbt.trials for one in trial.lineage]
    assert exploited
    for trial, one in exploited:
        donor = next(other for other in pbt.trials if other.id == one.donor)
        of_donor = donor.reports[one.donor_reports - 1].metrics["scalarised"]
        assert of_donor > trial.reports[one.reports - 1].metrics["scalarised"]


def history(study: StudyOutcome) -> list[tuple[Any, ...]]:
    return sorted(
        (sorted(trial.params.items()), str(trial.state), [(r.epoch, dict(r.metrics)) for r in trial.reports])
        for trial in study.trials
        if "lost in an interruption" not in (trial.error or "")
    )


def scored(study: StudyOutcome) -> list[tuple[Any, ...]]:
    return sorted((one.epoch, sorted(one.params.items()), sorted(one.metrics.items())) for one in study.front_tests)


def test_a_search_that_is_cut_at_any_of_ten_points_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    """One slot computes all trials, so that none depends on which other one is faster after the cut."""
    alone = {"strategies": [MOASHA], "cluster": {"max_concurrent": 1}}
    (expected,) = run(fields(tmp_path / "whole", **alone)).studies
    seconds = expected.wall_seconds
    assert {trial.state.value for trial in expected.trials} == {"completed", "stopped"}
    for point in range(1, 11):
        raw = fields(tmp_path / f"cut-{point}", **alone)
        spec = load_spec(raw)
        after = seconds * point / 11
        with contextlib.suppress(PowerCut), simulated_ray(tick=MINUTE) as ray:
            ray.at(after, functools.partial(ray.end_driver, keeping=spec.run_folder))
            run_experiment(spec, progress=False)
        (study,) = run(raw, resume=True, passed=after).studies
        assert history(study) == history(expected), f"cut at {point} of 11"
        assert scored(study) == scored(expected), f"cut at {point} of 11"


def test_the_record_has_the_goal_and_reads_it_back(tmp_path: Path) -> None:
    raw = fields(tmp_path, strategies=[{"kind": "random", "trials": 2}], constraints=["latency_ms <= 9"])
    outcome = run(raw)
    spec = load_spec(raw)
    (study,) = StudyStore(spec.store_url).load(spec.name).studies
    assert study.goal == spec.goal
    plain = outcome.to_json()["studies"][0]
    assert plain["goal"]["constraints"] == [{"metric": "latency_ms", "at_most": 9.0, "at_least": None}]
    assert [one["trial"] for one in plain["front_tests"]] == [one.trial for one in study.front_tests]
    assert load_spec(parse(spec.to_yaml(), "again.yaml")) == spec
