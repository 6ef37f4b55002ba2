"""Trials that raise: what is tried again, when a run stops early, and what a resume does then."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from trainables.reporting import NonFiniteScore
from tuning import load_spec, run_experiment
from tuning.outcome import StudyOutcome, StudyState, TrialState
from tuning.run.alike import failed_alike
from tuning.run.ends import FailedAlike
from tuning.run.failures import Raised, blanked
from tuning.spec import ExperimentSpec
from tuning.store.study_store import StudyStore

RATES = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2]
STRATEGIES: dict[str, dict[str, Any]] = {
    "grid": {"kind": "grid"},
    "hyperopt_asha": {"kind": "hyperopt_asha", "trials": 5, "initial_random": 4},
    "pbt": {"kind": "pbt", "population": 5},
}


def script(folder: Path, what: dict[float | None, tuple[str, str]]) -> None:
    """How trials fail from now on: by rate (None: all), where and with what."""
    (folder / "script.json").write_text(json.dumps(what))


def lives(folder: Path) -> Counter[float]:
    """How often each rate was begun."""
    return Counter(map(float, (folder / "lives").read_text().split()))


def spec_of(folder: Path, **changed: Any) -> ExperimentSpec:
    raw: dict[str, Any] = {
        "name": "failing",
        "trainable": "tests.support.own_trainables:Raises",
        "task": "reviews",
        "epochs": 2,
        "objective": {"metric": "accuracy", "mode": "max"},
        "space": {"learning_rate": {"choice": RATES}},
        "fixed": {"model.script": str(folder / "script.json"), "model.lives": str(folder / "lives")},
        "strategies": [STRATEGIES["grid"]],
        "cluster": {"storage": str(folder), "gpus_per_trial": 0, "max_concurrent": 1},
        "test": False,
    }
    return load_spec({**raw, **changed})


def studies(spec: ExperimentSpec) -> tuple[StudyOutcome, ...]:
    return StudyStore(spec.store_url).load(spec.name).studies


def failed(error: str, reports: int = 0) -> tuple[TrialState, int, str]:
    return TrialState.FAILED, reports, f"{error} (traceback: /runs/x/{id(error)}/error.txt)"


ALIKE = [failed(f"ValueError: trial a{n}c of process {100 + n}: shape ({n}, 4)") for n in range(3)]


@pytest.mark.unit
def test_failures_are_alike_whatever_numbers_and_ids_they_name() -> None:
    told = failed_alike(ALIKE, 3)
    assert told == f"the first 3 trials failed alike: {ALIKE[0][2]}"
    assert blanked("OSError: /tmp/x1/a is full (traceback: /b)") == "OSError: /tmp/#/a is full"


@pytest.mark.unit
@pytest.mark.parametrize(
    "trials",
    [
        ALIKE[:2],
        [*ALIKE[:2], failed("KeyError: 'lr'")],
        [*ALIKE[:2], failed("ValueError: another")],
        [*ALIKE, (TrialState.COMPLETED, 2, None)],
        [*ALIKE, (TrialState.STOPPED, 1, None)],
        [*ALIKE, (TrialState.RUNNING, 1, None)],
        [failed("NonFiniteScore: accuracy is nan at epoch 1")] * 3,
        [failed("OutOfMemory: the kernel; out of memory, also when started once more: x")] * 3,
    ],
    ids=["two", "type", "message", "one is complete", "one was stopped", "one has reported", "diverged", "memory"],
)
def test_the_study_goes_on(trials: list[tuple[TrialState, int, str | None]]) -> None:
    assert failed_alike(trials, 3) is None


@pytest.mark.unit
def test_it_stops_though_others_run_and_have_said_nothing_and_though_those_that_failed_had_reported() -> None:
    assert failed_alike([*ALIKE, (TrialState.RUNNING, 0, None)], 3) is not None
    assert failed_alike([failed("TypeError: save()", reports=1)] * 3, 3) is not None


class OfTheNetwork(OSError, ValueError):
    """As requests' JSONDecodeError."""


@pytest.mark.unit
@pytest.mark.parametrize(
    ("error", "repeated"),
    [
        *((error("x"), True) for error in (ValueError, KeyError, ImportError, AssertionError, NonFiniteScore)),
        *((error("x"), False) for error in (RuntimeError, OSError, OfTheNetwork)),
    ],
)
def test_what_a_program_says_of_itself_is_repeated_and_what_the_world_does_to_it_is_not(
    error: Exception, repeated: bool
) -> None:
    assert Raised.of(error).repeated is repeated


@pytest.mark.ray
def test_only_what_may_go_away_is_tried_again_and_each_failure_is_one_line(ray_session: None, tmp_path: Path) -> None:
    raised = [("advance", "ValueError"), ("built", "KeyError"), ("advance", "RuntimeError"), ("built", "OSError")]
    script(tmp_path, dict(zip(RATES, [*raised, ("advance", "MemoryError")], strict=True)))
    spec = spec_of(tmp_path, max_failures=2, space={"learning_rate": {"choice": [*RATES, 0.1]}})
    (study,) = run_experiment(spec, progress=False).studies
    assert [trial.state for trial in study.trials] == [TrialState.FAILED] * 5 + [TrialState.COMPLETED]
    assert lives(tmp_path) == dict(zip([*RATES, 0.1], [1, 1, 3, 3, 2, 1], strict=True))
    for trial, kind in zip(study.trials, [kind for _, kind in raised] + ["MemoryError"], strict=False):
        error = trial.error or ""
        assert error.startswith(f"{kind}: ")
        assert "\n" not in error
        traceback = Path(error.rpartition("(traceback: ")[2].removesuffix(")")).read_text()
        assert "no column x in process" in traceback
        assert "own_trainables.py" in traceback
        assert ("out of memory, also when started once more" in error) == (kind == "MemoryError")


@pytest.mark.ray
@pytest.mark.parametrize(("strategy", "where"), [("grid", "built"), ("hyperopt_asha", "save"), ("pbt", "advance")])
def test_the_first_trials_failing_alike_stop_the_run_and_a_resume_runs_them_again(
    ray_session: None, tmp_path: Path, strategy: str, where: str
) -> None:
    script(tmp_path, {None: (where, "ValueError")})
    spec = spec_of(tmp_path, strategies=[STRATEGIES[strategy], {"kind": "grid", "label": "next"}])
    with pytest.raises(
        FailedAlike, match=f"{strategy}, seed 0: the first 3 trials failed alike: ValueError: no c"
    ) as told:
        run_experiment(spec, progress=False)
    assert f"all logs: {spec.run_folder}/studies/{strategy}-seed0" in str(told.value)
    (study,) = studies(spec)
    assert study.state is StudyState.RUNNING
    assert study.count(TrialState.FAILED) == 3
    assert sum(lives(tmp_path).values()) < 5
    if strategy == "grid":
        with pytest.raises(FailedAlike):
            run_experiment(spec, progress=False, resume=True)  # nothing is mended
        assert studies(spec)[0].count(TrialState.FAILED) == 3

    script(tmp_path, {})
    outcome = run_experiment(spec, progress=False, resume=True)
    assert [(s.strategy, s.state) for s in outcome.studies] == [(n, StudyState.FINISHED) for n in (strategy, "next")]
    for one in outcome.studies:
        assert one.count(TrialState.FAILED) == 0
        assert len(one.trials) == 5
        assert all(trial.error is None for trial in one.trials)
    assert {trial.id for trial in study.trials} <= {trial.id for trial in outcome.studies[0].trials}


@pytest.mark.ray
def test_where_it_is_so_declared_a_study_goes_on_whatever_fails(ray_session: None, tmp_path: Path) -> None:
    script(tmp_path, dict.fromkeys(RATES[:4], ("built", "ValueError")))
    (study,) = run_experiment(spec_of(tmp_path, alike_failures=None), progress=False).studies
    assert [study.count(state) for state in (TrialState.FAILED, TrialState.COMPLETED)] == [4, 1]


@pytest.mark.ray
def test_half_of_a_space_that_diverges_fails_at_once_and_never_wins(ray_session: None, tmp_path: Path) -> None:
    """A rate above 0.5 gives NaN. A member of the population that PBT sends there leaves it."""
    strategies = [{"kind": "grid", "points": 6}, {**STRATEGIES["hyperopt_asha"], "trials": 8}, STRATEGIES["pbt"]]
    outcome = run_experiment(
        spec_of(
            tmp_path,
            trainable="learning_curve",
            epochs=4,
            space={"learning_rate": {"loguniform": [0.26, 0.96]}},
            fixed={},
            strategies=strategies,
            max_failures=2,
        ),
        progress=False,
    )
    for study in outcome.studies:
        assert 0 < study.count(TrialState.FAILED) < len(study.trials)
        for trial in study.trials:
            assert all(math.isfinite(report.metrics["accuracy"]) for report in trial.reports)
            assert (trial.state is TrialState.FAILED) == (trial.error is not None)
            if trial.error is not None:
                assert trial.error.startswith("NonFiniteScore: accuracy is nan at epoch ")
                told = Path(trial.error.rpartition("(traceback: ")[2].removesuffix(")")).read_text()
                assert told.count("Failure #") == 1  # it was not started again
        best = study.best()
        assert best is not None
        assert best[0].state is not TrialState.FAILED
        assert math.isfinite(best[1].metrics["accuracy"])
    population = outcome.study("pbt", 0)
    donors = {exploit.donor for trial in population.trials for exploit in trial.lineage}
    assert donors
    assert donors <= {trial.id for trial in population.trials if trial.reports}
