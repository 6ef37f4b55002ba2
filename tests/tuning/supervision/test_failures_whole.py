"""Trials that raise, or whose processes die, in whole runs: what is tried again, and what stops a run early.

Also how often, and what a resume does then.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.simulated_faults import COSTS, MOMENTS, Moment, befall
from tests.support.specs import GRID, HYPEROPT_ASHA, PBT, curve_experiment
from tuning import run_experiment
from tuning.errors import RepeatedFailure
from tuning.outcome import ExperimentOutcome, StudyOutcome, StudyState, TrialState
from tuning.spec.models import ExperimentSpec
from tuning.store.study_store import StudyStore
from tuning.testing.simulated_ray import SimulatedNode, simulated_ray

pytestmark = pytest.mark.tune

RATES = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2]
FIVE: dict[str, dict[str, Any]] = {
    "grid": {"kind": "grid"},
    "hyperopt_asha": {"kind": "hyperopt_asha", "trials": 5, "initial_random": 4},
    "pbt": {"kind": "pbt", "population": 5},
}
KILLED = {strategy["kind"]: strategy for strategy in (GRID, HYPEROPT_ASHA, PBT)}
DIED = "RayActorError: The actor died unexpectedly before finishing this task."


def script(folder: Path, what: dict[float | None, tuple[str, str]]) -> None:
    """Makes trials fail from now on: by rate (None: all), where and with what."""
    (folder / "script.json").write_text(json.dumps(what))


def lives(folder: Path) -> Counter[float]:
    """Counts how often a trial of each rate was begun."""
    return Counter(map(float, (folder / "lives").read_text().split()))


def raising(folder: Path, **changed: Any) -> ExperimentSpec:
    """An experiment whose trials fail as the script says, one at a time."""
    fields: dict[str, Any] = {
        "trainable": "tests.support.own_trainables:Raises",
        "epochs": 2,
        "objective": {"metric": "accuracy", "mode": "max"},
        "space": {"learning_rate": {"choice": RATES}},
        "fixed": {"model.script": str(folder / "script.json"), "model.lives": str(folder / "lives")},
        "strategies": [FIVE["grid"]],
        "cluster": {"max_concurrent": 1},
        "test": False,
    }
    return curve_experiment(folder, **{**fields, **changed})


def run(spec: ExperimentSpec, *, resume: bool = False) -> ExperimentOutcome:
    with simulated_ray():
        return run_experiment(spec, progress=False, resume=resume)


def studies(spec: ExperimentSpec) -> tuple[StudyOutcome, ...]:
    return StudyStore(spec.store_url).load(spec.name).studies


def traceback_of(error: str) -> str:
    return Path(error.rpartition("(traceback: ")[2].removesuffix(")")).read_text()


@pytest.mark.parametrize("where", ["built", "advance", "save"])
@pytest.mark.parametrize("max_failures", [0, 2])
def test_only_what_may_go_away_is_tried_again_and_each_failure_is_one_line(
    tmp_path: Path, where: str, max_failures: int
) -> None:
    begun = {"ValueError": 1, "KeyError": 1, "RuntimeError": 1 + max_failures, "OSError": 1 + max_failures}
    begun["MemoryError"] = 2  # whatever max_failures is
    script(tmp_path, {rate: (where, kind) for rate, kind in zip(RATES, begun, strict=True)})
    spec = raising(tmp_path, max_failures=max_failures, space={"learning_rate": {"choice": [*RATES, 0.1]}})
    (study,) = run(spec).studies
    assert [trial.state for trial in study.trials] == [TrialState.FAILED] * 5 + [TrialState.COMPLETED]
    assert lives(tmp_path) == dict(zip([*RATES, 0.1], [*begun.values(), 1], strict=True))
    for trial, kind in zip(study.trials, begun, strict=False):
        error = trial.error or ""
        assert error.startswith(f"{kind}: ")
        assert "\n" not in error
        assert "no column x in process" in traceback_of(error)
        assert "own_trainables.py" in traceback_of(error)
        assert ("out of memory, also when started once more" in error) == (kind == "MemoryError")


@pytest.mark.parametrize("where", ["built", "advance"])
def test_a_gpu_that_was_not_ready_is_tried_once_more_whatever_max_failures_is(tmp_path: Path, where: str) -> None:
    script(tmp_path, {RATES[0]: (where, "DeviceNotReady")})
    (study,) = run(raising(tmp_path)).studies
    assert [trial.state for trial in study.trials] == [TrialState.FAILED] + [TrialState.COMPLETED] * 4
    assert lives(tmp_path)[RATES[0]] == 2


@pytest.mark.parametrize(("kind", "restores"), [("ValueError", 1), ("OSError", 3)])
def test_what_raises_as_it_goes_on_from_its_checkpoint_is_tried_again_by_the_same_rule(
    tmp_path: Path, kind: str, restores: int
) -> None:
    script(tmp_path, {RATES[0]: ("restore", kind)})
    spec = raising(tmp_path, max_failures=3)
    begun: list[str] = []
    with simulated_ray(costs=COSTS) as ray:
        befallen = befall(ray, Moment("train", 1), ray.kill)  # the first failure of four
        ray.before(lambda actor, method: begun.append(actor.trial) if method == "restore" else None)
        (study,) = run_experiment(spec, progress=False).studies
    assert begun == befallen * restores
    assert [trial.state for trial in study.trials] == [TrialState.FAILED] + [TrialState.COMPLETED] * 4
    assert study.trials[0].id == befallen[0]
    assert str(study.trials[0].error).startswith(f"{kind}: no column x")
    assert "no column x" in traceback_of(str(study.trials[0].error))


@pytest.mark.parametrize(
    ("strategy", "where", "kind"),
    [
        ("grid", "built", "ValueError"),
        ("hyperopt_asha", "built", "OSError"),
        ("hyperopt_asha", "save", "ValueError"),
        ("pbt", "advance", "RuntimeError"),
    ],
)
def test_the_first_trials_failing_alike_stop_the_run_and_a_resume_runs_them_again(
    tmp_path: Path, strategy: str, where: str, kind: str
) -> None:
    script(tmp_path, {None: (where, kind)})
    spec = raising(tmp_path, strategies=[FIVE[strategy], {"kind": "grid", "label": "next"}])
    message = f"{strategy}, seed 0: the first 3 trials failed alike: {kind}: no c"
    with pytest.raises(RepeatedFailure, match=message) as stopped:
        run(spec)
    assert f"all logs: {spec.run_folder}/studies/{strategy}-seed0" in str(stopped.value)
    (study,) = studies(spec)
    assert study.state is StudyState.RUNNING
    assert study.count(TrialState.FAILED) == 3
    assert sum(lives(tmp_path).values()) < 5
    with pytest.raises(RepeatedFailure, match=message):
        run(spec, resume=True)  # nothing is mended
    assert studies(spec)[0].count(TrialState.FAILED) == 3

    script(tmp_path, {})
    outcome = run(spec, resume=True)
    assert [(s.strategy, s.state) for s in outcome.studies] == [(n, StudyState.FINISHED) for n in (strategy, "next")]
    for one in outcome.studies:
        assert one.count(TrialState.FAILED) == 0
        assert len(one.trials) == 5
        assert all(trial.error is None for trial in one.trials)
    assert {trial.id for trial in study.trials} <= {trial.id for trial in outcome.studies[0].trials}


def test_a_study_that_runs_beside_one_that_stops_the_run_goes_on_where_it_was(tmp_path: Path) -> None:
    """Ten slots: the grid of two rates holds two of them, the one of failing rates takes the others."""
    script(tmp_path, dict.fromkeys(RATES[2:], ("advance", "ValueError")))
    sound = {"kind": "grid", "label": "sound", "space": {"learning_rate": {"choice": RATES[:2]}}}
    failing = {"kind": "grid", "label": "failing", "space": {"learning_rate": {"choice": RATES[2:]}}}
    fixed = {"model.script": str(tmp_path / "script.json"), "model.lives": str(tmp_path / "lives")}
    spec = raising(
        tmp_path,
        strategies=[sound, failing],
        fixed={**fixed, "model.seconds_per_epoch": 30.0},
        cluster={"max_concurrent": 10},
    )
    with simulated_ray(SimulatedNode(cpus=10)), pytest.raises(RepeatedFailure, match="failing, seed 0: the first 3"):
        run_experiment(spec, progress=False)
    assert [study.state for study in studies(spec)] == [StudyState.RUNNING] * 2
    script(tmp_path, {})
    with simulated_ray(SimulatedNode(cpus=10)):
        outcome = run_experiment(spec, progress=False, resume=True)
    assert [study.count(TrialState.COMPLETED) for study in outcome.studies] == [2, 3]
    assert set(lives(tmp_path).values()) == {2}  # the sound ones, too: they had not reported yet


@pytest.mark.parametrize("alike", [1, 2, 4, None])
def test_so_many_as_are_declared_stop_it_and_without_a_number_a_study_goes_on_whatever_fails(
    tmp_path: Path, alike: int | None
) -> None:
    script(tmp_path, dict.fromkeys(RATES[:4], ("built", "ValueError")))
    spec = raising(tmp_path, alike_failures=alike)
    if alike is None:
        run(spec)
    else:
        with pytest.raises(RepeatedFailure):
            run(spec)
    (study,) = studies(spec)
    assert study.count(TrialState.FAILED) == (alike or 4)
    assert study.count(TrialState.COMPLETED) == (alike is None)


def test_half_of_a_space_that_diverges_fails_at_once_and_never_wins(tmp_path: Path) -> None:
    """A rate above 0.5 gives NaN. A member of the population that PBT sends there leaves it."""
    strategies = [{"kind": "grid", "points": 6}, {**FIVE["hyperopt_asha"], "trials": 8}, FIVE["pbt"]]
    space = {"learning_rate": {"loguniform": [0.26, 0.96]}}
    outcome = run(curve_experiment(tmp_path, space=space, strategies=strategies, max_failures=2, test=False))
    for study in outcome.studies:
        assert 0 < study.count(TrialState.FAILED) < len(study.trials)
        for trial in study.trials:
            assert all(math.isfinite(report.metrics["accuracy"]) for report in trial.reports)
            assert (trial.state is TrialState.FAILED) == (trial.error is not None)
            if trial.error is not None:
                assert trial.error.startswith("NonFiniteScore: accuracy is nan at epoch ")
                assert traceback_of(trial.error).count("Failure #") == 1  # it was not started again
        best = study.best()
        assert best is not None
        assert best[0].state is not TrialState.FAILED
        assert math.isfinite(best[1].metrics["accuracy"])
    population = outcome.study("pbt", 0)
    donors = {exploit.donor for trial in population.trials for exploit in trial.lineage}
    assert donors
    assert donors <= {trial.id for trial in population.trials if trial.reports}


def killed(folder: Path, strategy: str, moment: Moment, times: int, max_failures: int) -> tuple[StudyOutcome, set[str]]:
    """Returns the outcome of a study, and the ids of the trials whose processes were killed."""
    fixed = {"model.seconds_per_epoch": 60.0}
    spec = curve_experiment(
        folder, strategies=[KILLED[strategy]], fixed=fixed, max_failures=max_failures, test=False, alike_failures=None
    )
    with simulated_ray(costs=COSTS, tick=20.0) as ray:
        befallen = befall(ray, moment, ray.kill, times=times)
        (study,) = run_experiment(spec, progress=False).studies
    assert len(befallen) == times
    return study, set(befallen)


@pytest.mark.parametrize("strategy", KILLED)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_process_that_dies_at_any_moment_costs_its_trial_one_failure_and_nothing_else(
    tmp_path: Path, strategy: str, moment: str
) -> None:
    study, _ = killed(tmp_path, strategy, MOMENTS[moment], times=1, max_failures=1)
    assert study.count(TrialState.FAILED) == 0
    assert study.node_losses == ()  # its node lives
    for trial in study.trials:
        assert trial.state in (TrialState.COMPLETED, TrialState.STOPPED)
        assert trial.error is None
        assert [report.epoch for report in trial.reports] == list(range(1, len(trial.reports) + 1))


@pytest.mark.parametrize("strategy", KILLED)
@pytest.mark.parametrize(("times", "max_failures"), [(1, 0), (2, 2), (3, 2), (3, 3)])
def test_a_trial_whose_process_dies_more_often_than_is_allowed_has_failed_and_the_others_go_on(
    tmp_path: Path, strategy: str, times: int, max_failures: int
) -> None:
    study, befallen = killed(tmp_path, strategy, MOMENTS["in the third epoch"], times, max_failures)
    failed = [trial for trial in study.trials if trial.state is TrialState.FAILED]
    assert {trial.id for trial in failed} == (befallen if times > max_failures else set())
    for trial in failed:
        assert str(trial.error).startswith(DIED)
        assert [report.epoch for report in trial.reports] == [1, 2]
    assert study.node_losses == ()
    assert not any(trial.state is TrialState.RUNNING for trial in study.trials)
