"""Studies that begin with points, priors and the trials of an earlier experiment: what they run, record and resume."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.power_cuts import Film
from tests.support.simulated_studies import history, long_experiment, run, run_until_killed
from tests.support.specs import curve_experiment
from tests.support.stopped_runs import outcomes, spec_of
from tuning.comparison import compare
from tuning.comparison.origins import EXPLOIT, SHARED
from tuning.earlier_trials import earlier_lines, require_same_rows, with_earlier_trials
from tuning.outcome import ExperimentOutcome, StudyOutcome, StudyState
from tuning.outcome.attributes import EARLIER_BEST, GIVEN_POINT, PRIOR_DRAW
from tuning.spec.loading import load_spec
from tuning.spec.mistakes import SpecError
from tuning.spec.models import SPEC_FILE, ExperimentSpec

pytestmark = pytest.mark.tune

SPACE = {"learning_rate": {"loguniform": [1e-5, 1e-2]}}
HYPEROPT = {"kind": "hyperopt", "trials": 6, "initial_random": 4}
POINT = {"learning_rate": 1e-4}
PRIOR = {"learning_rate": {"around": 1e-3, "factor": 2}}
KNOWING: dict[str, Any] = {"points": [POINT], "priors": PRIOR}
STRATEGIES: dict[str, dict[str, Any]] = {
    "random": {"kind": "random", "trials": 4},
    "random_asha": {"kind": "random_asha", "trials": 6},
    "hyperopt": HYPEROPT,
    "hyperopt_asha": {"kind": "hyperopt_asha", "trials": 8, "initial_random": 4},
    "pbt": {"kind": "pbt", "population": 3, "quantile": 0.34},
}
MOMENTS = 10  # at which a study is cut off


def experiment(folder: Path, name: str, **fields: Any) -> ExperimentSpec:
    """Returns an experiment of one slot: its decisions do not depend on who is faster."""
    return long_experiment(folder, **{"name": name, "space": SPACE, "cluster": {"max_concurrent": 1}, **fields})


def earlier_study(folder: Path, **fields: Any) -> StudyOutcome:
    """Runs the experiment `before`, which others start from."""
    outcome, _ = run(experiment(folder, "before", **{"strategies": [HYPEROPT], **fields}))
    return outcome.studies[0]


def only_study(outcome: ExperimentOutcome) -> StudyOutcome:
    (study,) = outcome.studies
    return study


def rates(study: StudyOutcome) -> list[Any]:
    return [trial.params["learning_rate"] for trial in study.trials]


def test_a_study_goes_on_from_earlier_trials_as_the_earlier_study_would_have(tmp_path: Path) -> None:
    before = earlier_study(tmp_path)
    longer = {**HYPEROPT, "trials": 10}
    (whole,) = run(experiment(tmp_path, "whole", strategies=[longer]))[0].studies
    assert rates(whole)[:6] == rates(before)
    spec = experiment(tmp_path, "after", strategies=[{**HYPEROPT, "trials": 4}], start_from="before")
    outcome, _ = run(spec)
    study = only_study(outcome)
    assert rates(study) == rates(whole)[6:]
    assert len(study.trials) == 4  # the earlier ones are not among its results
    assert study.cost is not None
    assert whole.cost is not None
    assert study.cost < whole.cost / 2  # and not in its cost
    comparison = compare(outcome, spec=spec.plain())
    sentence = "hyperopt began with 6 earlier trials of before. Their cost, and their results, are not in these."
    assert sentence in comparison.caveats
    assert comparison.rows[0].studies[0].origin == "the model's proposal, knowing earlier trials"


def test_a_resume_needs_the_earlier_experiment_no_more(tmp_path: Path) -> None:
    earlier_study(tmp_path / "there")
    fields = {"strategies": [{**HYPEROPT, "trials": 4}], "start_from": str(tmp_path / "there" / "before")}
    undisturbed = only_study(run(experiment(tmp_path / "one", "after", **fields))[0])
    spec = experiment(tmp_path / "other", "after", **fields)
    killed = run_until_killed(spec, "train", 6)
    shutil.rmtree(tmp_path / "there")
    study = only_study(run(spec, resume=True, passed=killed.seconds)[0])
    assert study.state is StudyState.FINISHED
    assert history(study) == history(undisturbed)
    with pytest.raises(SpecError, match=r"start_from: .*before.*: no experiment of that name"):
        run(experiment(tmp_path / "third", "after", **fields))


def test_a_study_that_had_not_begun_when_the_driver_died_starts_from_the_same_trials(tmp_path: Path) -> None:
    earlier_study(tmp_path)
    fields: dict[str, Any] = {
        "strategies": [{"kind": "hyperopt", "trials": 2}],
        "start_from": "before",
        "seeds": [0, 1],
    }
    undisturbed, _ = run(experiment(tmp_path, "one", **fields))
    spec = experiment(tmp_path, "other", **fields)
    killed = run_until_killed(spec, "train", 2)
    run(experiment(tmp_path, "before", strategies=[{**HYPEROPT, "trials": 5}], seeds=[7]), fresh=True)
    after, _ = run(spec, resume=True, passed=killed.seconds)
    assert [history(study) for study in after.studies] == [history(study) for study in undisturbed.studies]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_study_that_knows_something_ends_as_if_nothing_had_happened_wherever_it_is_cut_off(
    strategy: str, tmp_path: Path
) -> None:
    storage, seconds = tmp_path / "storage", 10.0
    fields: dict[str, Any] = {"seconds_per_epoch": seconds, "checkpoint": {"every_epochs": 1}}
    run(load_spec({**spec_of(storage, "hyperopt", **fields), "name": "before"}))
    raw = {**spec_of(storage, strategy, **fields), **KNOWING, "strategies": [STRATEGIES[strategy]]}
    film = Film({**raw, "start_from": "before"}, tmp_path / "aside", every=3)
    (expected,) = film.shoot().studies
    assert rates(expected)[0] == POINT["learning_rate"]
    film.moments = [one for one in film.moments if (one.folder / "run" / SPEC_FILE).is_file()]  # it reads before that
    for moment in film.spread(MOMENTS):
        film.bring_back(moment)
        (after,) = film.resume().studies
        assert outcomes(after) == outcomes(expected), f"moment {moment.number}, before {moment.before}"
    film.forget()


def test_the_origin_of_each_trial_is_known(tmp_path: Path) -> None:
    strategies = [
        {"kind": "random", "trials": 1, "label": "point"},
        {"kind": "random", "trials": 2, "label": "drawn"},
        {"kind": "pbt", "population": 5},
        {"kind": "grid", "points": 2, "informed": False},
    ]
    outcome, _ = run(curve_experiment(tmp_path, strategies=strategies, points=[POINT], priors=PRIOR))
    comparison = compare(outcome)
    found = {row.strategy: row.studies[0].origin for row in comparison.rows}
    best = {row.strategy: row.studies[0].chosen for row in comparison.rows}
    assert found["point"] == GIVEN_POINT
    assert best["drawn"] is not None
    assert found["drawn"] == (SHARED if best["drawn"].number else GIVEN_POINT)
    assert found["pbt"] == EXPLOIT
    assert found["grid"] == "point of the grid"
    unequal = "Unequal knowledge: point, drawn and pbt knew points, priors or earlier trials, and grid did not."
    assert unequal in comparison.caveats


def test_a_draw_from_a_prior_that_no_other_strategy_made_is_called_so(tmp_path: Path) -> None:
    outcome, _ = run(curve_experiment(tmp_path, strategies=[{"kind": "random", "trials": 3}], priors=PRIOR))
    assert compare(outcome).rows[0].studies[0].origin == PRIOR_DRAW


@pytest.mark.parametrize("strategy", [{"kind": "random", "trials": 5}, {"kind": "pbt", "population": 5}])
def test_a_strategy_without_a_model_begins_with_the_best_earlier_configurations(
    strategy: dict[str, Any], tmp_path: Path
) -> None:
    before = earlier_study(tmp_path)
    best = sorted(before.trials, key=lambda trial: -trial.reports[-1].metrics["accuracy"])[:3]
    spec = experiment(tmp_path, "after", strategies=[strategy], start_from="before", points=[POINT])
    outcome, _ = run(spec)
    study = only_study(outcome)
    assert rates(study)[:4] == [POINT["learning_rate"], *(trial.params["learning_rate"] for trial in best)]
    caveats = compare(outcome, spec=spec.plain()).caveats
    sentence = f"{study.strategy} began with the best configurations of an earlier experiment. "
    assert any(caveat.startswith(sentence) for caveat in caveats)
    if strategy["kind"] == "random":
        assert compare(outcome).rows[0].studies[0].origin == EARLIER_BEST


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"epochs": 3}, "epochs is 4 there and 3 here"),
        ({"task": "rte"}, "task is 'reviews' there and 'rte' here"),
        ({"objective": {"metric": "loss", "mode": "min"}}, "objective is 'accuracy, max' there and 'loss, min' here"),
        ({"data": {"max_length": 64}}, "data.max_length is null there and 64 here"),
        ({"fixed": {"model.seconds_per_epoch": 1.0}}, "fixed is {model.seconds_per_epoch: 60} there"),
        (
            {"space": {"learning_rate": {"loguniform": [0.1, 0.2]}}},
            "none of its 6 trials lies in the space of hyperopt",
        ),
        ({"space": {**SPACE, "weight_decay": {"uniform": [0, 0.1]}}}, "weight_decay is not searched there"),
    ],
)
def test_an_experiment_that_does_not_agree_is_refused_with_what_differs(
    fields: dict[str, Any], named: str, tmp_path: Path
) -> None:
    earlier_study(tmp_path)
    with pytest.raises(SpecError) as caught:
        with_earlier_trials(experiment(tmp_path, "after", strategies=[HYPEROPT], start_from="before", **fields))
    assert named in str(caught.value)


def test_trials_outside_a_narrower_space_are_left_out_and_that_is_said(tmp_path: Path) -> None:
    before = earlier_study(tmp_path)
    narrow = {"learning_rate": {"loguniform": [1e-4, 1e-2]}}
    inside = sum(rate >= 1e-4 for rate in rates(before))
    assert 0 < inside < 6
    spec = experiment(tmp_path, "after", strategies=[HYPEROPT], start_from="before", space=narrow)
    started = with_earlier_trials(spec)
    assert len(started.space_of(started.strategies[0]).knowledge.trials) == inside
    (line,) = earlier_lines(started)
    assert line == (
        f"hyperopt: its model learns from {inside} of the 6 trials of before; the others are outside its space, or "
        "repeat one"
    )


def test_a_finite_space_that_was_tried_whole_leaves_nothing_to_search(tmp_path: Path) -> None:
    two = {"learning_rate": {"choice": [1e-4, 1e-3]}}
    earlier_study(tmp_path, space=two)
    with pytest.raises(SpecError, match="all 2 configurations of the space of hyperopt were tried there"):
        with_earlier_trials(experiment(tmp_path, "after", strategies=[HYPEROPT], start_from="before", space=two))


def test_other_rows_are_refused(tmp_path: Path) -> None:
    earlier_study(tmp_path)
    started = with_earlier_trials(experiment(tmp_path, "after", strategies=[HYPEROPT], start_from="before"))
    require_same_rows(started, ("a",))  # the curve has no rows
    (earlier,) = started.earlier
    rows = started.model_copy(update={"earlier": (earlier.model_copy(update={"fingerprints": ("a", "b")}),)})
    require_same_rows(rows, ("b", "a", "c"))
    with pytest.raises(SpecError, match=r"its rows or labels are others \(fingerprint b, and here a\)"):
        require_same_rows(rows, ("a",))
