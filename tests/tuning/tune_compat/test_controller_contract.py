"""Tune's controller behaves as ours relies on, checked by runs of Tune's own code on simulated actors.

A release of Ray that works otherwise fails here. What a study makes of it is tested with nodes, failures and budgets.
"""

from __future__ import annotations

import functools
import inspect
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ray.actor import ActorClass
from ray.exceptions import OutOfMemoryError, RaySystemError
from ray.tune.execution.tune_controller import TuneController

from tests.support.specs import curve_experiment
from trainables.checkpoints.storage import FOLDERS
from tuning import run_experiment
from tuning.outcome import ExperimentOutcome, TrialState
from tuning.spec.models import STUDIES, ExperimentSpec
from tuning.testing.simulated_ray import PowerCut, SimulatedActor, SimulatedNode, simulated_ray
from tuning.tune_compat.controller import Controller
from tuning.tune_compat.heartbeats import BEATS
from tuning.tune_compat.saving_controller import SavingController
from tuning.tune_compat.settings import tune_settings
from tuning.tune_compat.snapshots import Snapshot, find_snapshots
from tuning.tune_compat.tune_run import slot_environment

pytestmark = pytest.mark.tune

GRID = [{"kind": "grid", "points": 6}]


def spec_in(folder: Path) -> ExperimentSpec:
    cluster = {"max_concurrent": 4, "gpus_per_trial": 0, "heartbeat_seconds": 30.0}
    return curve_experiment(
        folder, strategies=GRID, cluster=cluster, fixed={"model.seconds_per_epoch": 10.0}, test=False
    )


class Story(NamedTuple):
    """A run that loses a node, then its driver, and is resumed to its end."""

    folder: Path  # of the study
    outcome: ExperimentOutcome
    called: Counter[str]  # methods of `Controller`
    environments: list[dict[str, Any]]  # in which Tune started the processes of trials
    beats: tuple[int, int]  # heartbeats that the head keeps: at most, and at the end


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("story")
    spec, called, environments = spec_in(folder), Counter[str](), list[dict[str, Any]]()
    most = [0]

    def noted(name: str, method: Any) -> Any:
        @functools.wraps(method)
        def call(*arguments: Any, **options: Any) -> Any:
            called[name] += 1
            return method(*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in overridden():
            patch.setattr(owner, name, noted(name, vars(owner)[name]))
        with pytest.raises(PowerCut):
            cut_short(spec)
        with simulated_ray() as ray, pytest.MonkeyPatch.context() as simulated:
            start = ActorClass._remote

            def started(cls: Any, *arguments: Any, **options: Any) -> Any:
                environments.append({**cls._default_options, **options}["runtime_env"])
                return start(cls, *arguments, **options)

            def keep(actor: SimulatedActor, method: str, value: Any) -> None:
                most[0] = max(most[0], len(ray.table.keys(b"", namespace=BEATS)))

            simulated.setattr(ActorClass, "_remote", started)
            ray.after(keep)
            outcome = run_experiment(spec, progress=False, resume=True)
            left = ray.table.keys(b"", namespace=BEATS)
    beats = (most[0], len(left))
    return Story(spec.run_folder / STUDIES / "grid-seed0", outcome, called, environments, beats)


def cut_short(spec: ExperimentSpec) -> None:
    with simulated_ray(SimulatedNode("a", 2), SimulatedNode("b", 2)) as ray:
        ray.at(30.0, lambda: ray.lose("b"))
        ray.at(75.0, ray.end_driver)
        run_experiment(spec, progress=False)


def overridden() -> list[tuple[type, str]]:
    """Methods of Tune's controller that ours has, too, each with the class that has it."""
    ours = ((owner, name) for owner in (Controller, SavingController) for name in vars(owner))
    functions = ((owner, name) for owner, name in ours if inspect.isfunction(vars(owner)[name]))
    return [(owner, name) for owner, name in functions if hasattr(TuneController, name) and name != "__init__"]


def test_the_story_ends_with_every_trial_complete_and_in_its_place(story: Story) -> None:
    (study,) = story.outcome.studies
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETED] * 6
    assert [trial.number for trial in study.trials] == list(range(6))
    assert study.node_losses


def test_tune_calls_every_method_that_the_controller_overrides(story: Story) -> None:
    assert len(overridden()) > 10
    assert [name for _, name in overridden() if not story.called[name]] == []


def test_processes_of_trials_start_in_the_environment_that_waiting_workers_are_started_in(story: Story) -> None:
    with tune_settings():
        waiting = slot_environment()
    assert len(story.environments) > 1
    assert all(found == waiting for found in story.environments)


def test_the_heartbeats_of_a_study_are_forgotten_with_its_end(story: Story) -> None:
    most, left = story.beats
    assert most > 1
    assert left == 0


def test_everything_that_tune_saves_is_in_the_sealed_snapshot(story: Story) -> None:
    """Tune's own copies lie beside it, under the name of their session."""
    found = find_snapshots(FOLDERS, str(story.folder))
    assert found.newest is not None
    assert found.damaged == ()
    newest = Snapshot.parse((story.folder / "snapshots" / found.newest).read_bytes())
    kept = {path.name.partition("-")[0] for path in story.folder.glob("[!.]*") if path.is_file()}
    assert "experiment_state" in kept
    assert {name.partition("-")[0] for name in newest.files} == kept
    assert set(newest.positions) == {trial.id for trial in story.outcome.studies[0].trials}


@pytest.mark.parametrize("error", [OutOfMemoryError("Task was killed"), RaySystemError("out of file descriptors")])
def test_whatever_ends_a_process_ends_its_trial_and_not_the_experiment(tmp_path: Path, error: Exception) -> None:
    """Tune's own manager of actors raises at what is neither an error of a task nor of an actor."""
    with simulated_ray() as ray:
        ray.at(12.0, lambda: ray.kill(ray.actors[0], error=error))
        ray.at(14.0, lambda: ray.kill(next(one for one in ray.actors if one.alive), error=error))
        (study,) = run_experiment(spec_in(tmp_path), progress=False).studies
    states = [trial.state for trial in study.trials]
    assert len(states) == 6
    assert set(states) <= {TrialState.COMPLETED, TrialState.FAILED}
    assert states.count(TrialState.COMPLETED) >= 4
    if isinstance(error, RaySystemError):
        failed = [trial.error for trial in study.trials if trial.state is TrialState.FAILED]
        assert len(failed) == 2
        assert all("out of file descriptors" in (message or "") for message in failed)
