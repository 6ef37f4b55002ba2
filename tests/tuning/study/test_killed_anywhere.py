"""A driver that is killed at any moment of a study: the resumed study ends as if nothing had happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.simulated_studies import (
    history,
    long_experiment,
    run_study,
    run_until_killed,
    tear_the_newest_snapshot,
)
from tests.support.specs import GRID, HYPEROPT_ASHA, PBT, user_trainer_fields
from tuning import load_spec
from tuning.outcome import StudyOutcome, StudyState
from tuning.spec.models import ExperimentSpec

pytestmark = pytest.mark.tune

PAIR = {**PBT, "population": 2, "quantile": 0.5}
STRATEGIES = {
    "grid": (GRID, 2),
    "hyperopt_asha": (HYPEROPT_ASHA, 1),  # slots: with nobody beside it, no trial's fate depends on who is faster
    "pbt": (PBT, 2),
    # Of members that do not wait, who meets whom depends on who is faster.
    "asynchronous pbt": ({**PBT, "quantile": 0.5, "synchronous": False}, 1),
    "pb2": ({**PBT, "kind": "pb2"}, 2),
    "asynchronous pb2": ({**PBT, "kind": "pb2", "quantile": 0.5, "synchronous": False}, 1),
    "pbt of a user's Trainer": (PAIR, 1),  # in virtual time all slots share one process, and its random numbers
}
# After which call the driver dies, before it hears of it. PBT's generations end with reports 4, 8 and 12. Studies that
# run in one slot are cut off in test_resume_decisions.
MOMENTS = {
    "grid": [("train", 1), ("save", 2), ("train", 7), ("save", 11), ("train", 12), ("save", 12)],
    "pbt": [("save", 3), ("train", 4), ("save", 4), ("restore", 1), ("train", 6), ("save", 8), ("save", 15)],
    "asynchronous pbt": [(call, times) for call in ("train", "save") for times in (2, 5, 8, 11, 14)],
    "pb2": [(call, times) for call in ("train", "save") for times in (3, 4, 7, 8, 12)],
    "asynchronous pb2": [(call, times) for call in ("train", "save") for times in (2, 5, 8, 11, 14)],
    "pbt of a user's Trainer": [("restore", 1), ("train", 5)],
}


def spec_of(folder: Path, strategy: str) -> ExperimentSpec:
    recipe, slots = STRATEGIES[strategy]
    if "Trainer" in strategy:
        return load_spec(
            user_trainer_fields(folder, strategies=[dict(recipe)], cluster={"max_concurrent": slots}, test=False)
        )
    return long_experiment(folder, strategies=[dict(recipe)], cluster={"max_concurrent": slots})


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StudyOutcome]:
    return {name: run_study(spec_of(tmp_path_factory.mktemp(name), name))[0] for name in STRATEGIES}


@pytest.mark.parametrize(
    ("strategy", "method", "times"), [(name, *moment) for name, moments in MOMENTS.items() for moment in moments]
)
def test_a_study_whose_driver_was_killed_goes_on_to_the_same_end(
    undisturbed: dict[str, StudyOutcome], tmp_path: Path, strategy: str, method: str, times: int
) -> None:
    spec = spec_of(tmp_path, strategy)
    killed = run_until_killed(spec, method, times)
    study, _ = run_study(spec, resume=True, passed=killed.seconds)
    assert study.state is StudyState.FINISHED
    assert history(study) == history(undisturbed[strategy])


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if "pb" in name])
def test_what_goes_on_has_something_to_decide(undisturbed: dict[str, StudyOutcome], strategy: str) -> None:
    assert any(trial.lineage for trial in undisturbed[strategy].trials)


@pytest.mark.parametrize(
    ("strategy", "method", "times"), [("grid", "save", 7), ("hyperopt_asha", "train", 9), ("pbt", "train", 6)]
)
def test_a_study_whose_newest_snapshot_is_torn_goes_on_from_the_one_before(
    undisturbed: dict[str, StudyOutcome], tmp_path: Path, strategy: str, method: str, times: int
) -> None:
    """More is recorded than that one knows: it is taken back, and told again."""
    spec = spec_of(tmp_path, strategy)
    killed = run_until_killed(spec, method, times)
    tear_the_newest_snapshot(spec)
    study, _ = run_study(spec, resume=True, passed=killed.seconds)
    assert history(study) == history(undisturbed[strategy])


def test_a_driver_that_is_killed_again_and_again_comes_to_the_same_end(
    undisturbed: dict[str, StudyOutcome], tmp_path: Path
) -> None:
    """Also while it resumes, when it has told nothing yet."""
    spec, passed = spec_of(tmp_path, "pbt"), 0.0
    for resume, call in ((False, ("train", 3)), (True, ("save", 1)), (True, ("train", 5)), (True, ("restore", 1))):
        passed += run_until_killed(spec, *call, resume=resume, passed=passed).seconds
    study, _ = run_study(spec, resume=True, passed=passed)
    assert history(study) == history(undisturbed["pbt"])


def test_a_resume_trains_nothing_again_that_was_reported(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "pbt")
    killed = run_until_killed(spec, "save", 8)
    _, ray = run_study(spec, resume=True, passed=killed.seconds)
    trained: list[Any] = [method for _, _, method in (*killed.calls, *ray.calls) if method == "train"]
    assert len(trained) <= 16 + 2  # of the two that were on their way
