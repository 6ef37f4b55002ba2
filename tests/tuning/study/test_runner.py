"""run_experiment, whole: what it leaves in the store and in the run folder, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.simulated_faults import COSTS, Moment, befall
from tests.support.specs import GRID, curve_experiment
from tests.support.stamped import stamps
from tuning import run_experiment
from tuning.errors import RunFolderError
from tuning.outcome import ExperimentOutcome, StudyOutcome, StudyState, TrialState
from tuning.run_folder.folder import claim_run_folder
from tuning.spec.models import ExperimentSpec
from tuning.testing.simulated_ray import simulated_ray

pytestmark = pytest.mark.tune

MINUTE = 60.0  # seconds that an epoch of the whole run takes


def run(spec: ExperimentSpec, *, resume: bool = False) -> ExperimentOutcome:
    with simulated_ray(tick=MINUTE):
        return run_experiment(spec, progress=False, resume=resume)


def folders_of_checkpoints(spec: ExperimentSpec, study: StudyOutcome) -> list[Path]:
    return sorted((spec.run_folder / "studies" / f"{study.strategy}-seed{study.seed}").glob("*/checkpoint_*"))


def curves(study: StudyOutcome) -> list[tuple[Any, ...]]:
    """Returns the values, scores and state of each trial, without its id and its time."""
    return [(dict(t.params), [(r.epoch, dict(r.metrics)) for r in t.reports], t.state) for t in study.trials]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExperimentSpec, ExperimentOutcome]:
    fixed = {"model.seconds_per_epoch": MINUTE}
    spec = curve_experiment(tmp_path_factory.mktemp("whole"), seeds=[0, 1], fixed=fixed)
    return spec, run(spec)


def test_every_strategy_and_seed_is_a_finished_study_with_as_many_trials_as_planned(
    whole: tuple[ExperimentSpec, ExperimentOutcome],
) -> None:
    _, outcome = whole
    counts = {(s.strategy, s.seed): len(s.trials) for s in outcome.studies}
    assert counts == {(name, seed): n for name, n in (("grid", 3), ("hyperopt_asha", 6), ("pbt", 4)) for seed in (0, 1)}
    assert all(study.state is StudyState.FINISHED for study in outcome.studies)


def test_trials_are_complete_or_stopped_by_asha_alone(whole: tuple[ExperimentSpec, ExperimentOutcome]) -> None:
    _, outcome = whole
    for study in outcome.studies:
        for trial in study.trials:
            full = trial.epochs == 4
            assert trial.state is (TrialState.COMPLETED if full else TrialState.STOPPED)
            assert full or study.strategy == "hyperopt_asha"


def test_only_the_best_checkpoint_of_a_study_stays_and_it_is_the_one_scored(
    whole: tuple[ExperimentSpec, ExperimentOutcome],
) -> None:
    spec, outcome = whole
    for study in outcome.studies:
        trial, report = study.best() or pytest.fail("no best")
        assert {t.id: dict(t.checkpoints) for t in study.trials if t.checkpoints} == {
            trial.id: {report.epoch: trial.checkpoints[report.epoch]}
        }
        assert folders_of_checkpoints(spec, study) == [Path(trial.checkpoints[report.epoch])]
        assert study.test is not None
        assert (study.test.trial, study.test.epoch) == (trial.id, report.epoch)
        assert study.test.checkpoint == trial.checkpoints[report.epoch]
        assert study.test.metrics == report.metrics  # the closed form is the same on both splits


def test_what_a_study_cost_is_what_it_held_of_the_slots(whole: tuple[ExperimentSpec, ExperimentOutcome]) -> None:
    _, outcome = whole
    for study in outcome.studies:
        assert (study.slots, study.devices_per_trial, study.device) == (2, 1, "CPU core")
        trained = sum(trial.device_seconds for trial in study.trials)
        assert trained >= MINUTE * sum(trial.epochs for trial in study.trials)
        assert trained <= study.device_seconds <= study.wall_seconds * 2
    assert (
        sum(study.device_seconds for study in outcome.studies)
        < sum(study.wall_seconds for study in outcome.studies) * 2
    )


def test_a_study_knows_the_versions_it_ran_with(whole: tuple[ExperimentSpec, ExperimentOutcome]) -> None:
    import ray

    _, outcome = whole
    for study in outcome.studies:
        assert study.attributes["ray"] == ray.__version__
        assert {"torch", "transformers", "tunefleet"} <= study.attributes.keys()


def test_resuming_a_finished_experiment_runs_and_scores_nothing_again(
    whole: tuple[ExperimentSpec, ExperimentOutcome],
) -> None:
    spec, outcome = whole
    with simulated_ray(tick=MINUTE) as ray:
        assert run_experiment(spec, progress=False, resume=True) == outcome
    assert ray.actors == []


def test_running_into_an_experiment_that_exists_is_refused(whole: tuple[ExperimentSpec, ExperimentOutcome]) -> None:
    spec, _ = whole
    go_on = f"it is finished: `tunefleet compare {spec.run_folder}` shows it, begin anew with"
    with pytest.raises(RunFolderError, match=rf"holds an experiment already; {go_on}"):
        run(spec)
    other = spec.model_copy(update={"epochs": spec.epochs + 1})
    with pytest.raises(RunFolderError, match=rf"of another spec.*; go on with `tunefleet resume {spec.run_folder}`"):
        run(other)


def test_resuming_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"nothing to resume .*start it with `tunefleet run`"):
        claim_run_folder(curve_experiment(tmp_path), resume=True)


def test_resuming_with_another_spec_names_what_differs_and_only_that(
    whole: tuple[ExperimentSpec, ExperimentOutcome],
) -> None:
    spec, _ = whole
    changed = curve_experiment(
        Path(spec.cluster.storage), epochs=8, seeds=[0], fixed=dict(spec.fixed), cluster={"gpus_per_trial": 0}
    )
    with pytest.raises(RunFolderError, match=r"\(different: epochs, seeds\)"):
        claim_run_folder(changed, resume=True)


def test_a_resume_may_change_where_it_runs(whole: tuple[ExperimentSpec, ExperimentOutcome]) -> None:
    spec, _ = whole
    cluster = {"max_concurrent": 1, "gpus_per_trial": 0}
    changed = curve_experiment(Path(spec.cluster.storage), seeds=[0, 1], fixed=dict(spec.fixed), cluster=cluster)
    claim_run_folder(changed, resume=True)


def test_the_same_spec_gives_the_same_grid_trial_by_trial(
    whole: tuple[ExperimentSpec, ExperimentOutcome], tmp_path: Path
) -> None:
    _, outcome = whole
    again = run(curve_experiment(tmp_path, strategies=[GRID], fixed={"model.seconds_per_epoch": MINUTE}))
    assert curves(again.study("grid", 0)) == curves(outcome.study("grid", 0))


def test_a_study_whose_trials_all_fail_is_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    diverging = {"kind": "grid", "label": "hot", "space": {"learning_rate": {"choice": [0.8, 0.9]}}}
    hot, grid = run(curve_experiment(tmp_path, strategies=[diverging, GRID])).studies
    assert [trial.state for trial in hot.trials] == [TrialState.FAILED] * 2
    assert all((trial.error or "").startswith("NonFiniteScore: accuracy is nan") for trial in hot.trials)
    assert (hot.state, hot.best(), hot.test) == (StudyState.FINISHED, None, None)
    assert grid.count(TrialState.COMPLETED) == 3
    assert grid.test is not None


def test_without_test_the_test_split_is_not_looked_at(tmp_path: Path) -> None:
    fields = {"trainable": "tests.support.own_trainables:Lucky", "fixed": {"model.log": str(tmp_path / "log")}}
    for name, test in (("looks", True), ("does-not", False)):
        outcome = run(curve_experiment(tmp_path, name=name, strategies=[GRID], test=test, **fields))
        assert (outcome.study("grid", 0).test is not None) is test
        assert ('["test"' in (tmp_path / "log").read_text()) is test
        (tmp_path / "log").unlink()


def test_a_failed_trial_goes_on_from_its_checkpoint_as_often_as_allowed(tmp_path: Path) -> None:
    changed = {
        "trainable": "tests.support.own_trainables:FailsOnce",
        "fixed": {"model.failed": str(tmp_path / "failed")},
        "strategies": [GRID],
        "cluster": {"max_concurrent": 1},
    }
    study = run(curve_experiment(tmp_path, max_failures=1, **changed)).study("grid", 0)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETED] * 3
    assert [report.epoch for report in study.trials[0].reports] == [1, 2, 3, 4]

    (tmp_path / "failed").unlink()
    study = run(curve_experiment(tmp_path, name="strict", **changed)).study("grid", 0)
    assert [trial.state for trial in study.trials] == [TrialState.FAILED, *[TrialState.COMPLETED] * 2]
    assert (study.trials[0].error or "").startswith("RuntimeError: out of luck")


@pytest.mark.parametrize(("every", "again"), [(2, [3]), (None, [1, 2, 3])])
def test_a_trial_whose_process_dies_goes_on_from_its_last_optimizer_state_or_is_trained_again(
    tmp_path: Path, every: float | None, again: list[float]
) -> None:
    spec = curve_experiment(
        tmp_path,
        trainable="tests.support.stamped:Stamped",
        fixed={"model.log": str(tmp_path / "log")},
        strategies=[{"kind": "grid", "points": 1}],
        checkpoint={"every_epochs": every},
        max_failures=1,
    )
    with simulated_ray(costs=COSTS) as ray:
        befall(ray, Moment("save", 3), ray.kill)
        (study,) = run_experiment(spec, progress=False).studies
    assert [report.epoch for report in study.trials[0].reports] == [1, 2, 3, 4]
    assert [note["epoch"] for note in stamps(tmp_path / "log")] == [1, 2, 3, *again, 4]
