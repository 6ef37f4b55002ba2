"""run_experiment, whole: what it leaves in the store and in the run folder, and what it refuses."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.experiments import STRATEGIES, spec_of
from tests.support.raylets import TRIALS
from trainables.recipe import Recipe
from tuning import run_experiment
from tuning.outcome import ExperimentOutcome, StudyOutcome, StudyState, TrialState
from tuning.run.folder import RunFolderError, claim_run_folder
from tuning.spec import ExperimentSpec
from tuning.states import study_states


def folders_of_checkpoints(spec: ExperimentSpec, study: StudyOutcome) -> list[Path]:
    return sorted((spec.run_folder / "studies" / f"{study.strategy}-seed{study.seed}").glob("*/checkpoint_*"))


def curves(study: StudyOutcome) -> list[tuple[Any, ...]]:
    """What each trial was and scored, without its id and its time."""
    return [(dict(t.params), [(r.epoch, dict(r.metrics)) for r in t.reports], t.state) for t in study.trials]


@pytest.fixture(scope="module")
def whole(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[ExperimentSpec, ExperimentOutcome]:
    spec = spec_of(tmp_path_factory.mktemp("whole"), seeds=[0, 1])
    return spec, run_experiment(spec, progress=False)


@pytest.mark.ray
def test_every_strategy_and_seed_is_a_finished_study_with_as_many_trials_as_planned(
    whole: tuple[ExperimentSpec, ExperimentOutcome],
) -> None:
    _, outcome = whole
    counts = {(s.strategy, s.seed): len(s.trials) for s in outcome.studies}
    assert counts == {(name, seed): n for name, n in (("grid", 3), ("hyperopt_asha", 6), ("pbt", 4)) for seed in (0, 1)}
    assert all(study.state is StudyState.FINISHED for study in outcome.studies)


@pytest.mark.ray
def test_trials_are_complete_or_stopped_by_asha_alone(whole: tuple[ExperimentSpec, ExperimentOutcome]) -> None:
    _, outcome = whole
    for study in outcome.studies:
        for trial in study.trials:
            full = trial.epochs == 4
            assert trial.state is (TrialState.COMPLETED if full else TrialState.STOPPED)
            assert full or study.strategy == "hyperopt_asha"


@pytest.mark.ray
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


@pytest.mark.ray
def test_what_a_study_cost_is_its_wall_time_on_all_slots(whole: tuple[ExperimentSpec, ExperimentOutcome]) -> None:
    _, outcome = whole
    for study in outcome.studies:
        assert (study.slots, study.devices_per_trial, study.device) == (2, 1, "GPU")
        assert 0 < sum(trial.device_seconds for trial in study.trials) <= study.device_seconds < 60
        assert study.device_seconds == study.wall_seconds * 2


@pytest.mark.ray
def test_a_study_knows_the_versions_it_ran_with(whole: tuple[ExperimentSpec, ExperimentOutcome]) -> None:
    import ray

    _, outcome = whole
    for study in outcome.studies:
        assert study.attributes["ray"] == ray.__version__
        assert {"torch", "transformers", "tunefleet"} <= study.attributes.keys()


@pytest.mark.ray
def test_resuming_a_finished_experiment_runs_and_scores_nothing_again(
    whole: tuple[ExperimentSpec, ExperimentOutcome],
) -> None:
    spec, outcome = whole
    assert run_experiment(spec, progress=False, resume=True) == outcome


@pytest.mark.ray
def test_running_into_an_experiment_that_exists_is_refused(whole: tuple[ExperimentSpec, ExperimentOutcome]) -> None:
    spec, _ = whole
    go_on = f"go on with `tunefleet resume {spec.run_folder}`"
    with pytest.raises(RunFolderError, match=rf"holds an experiment already; {go_on}"):
        run_experiment(spec, progress=False)


@pytest.mark.system
def test_resuming_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"nothing to resume .*start it with `tunefleet run`"):
        claim_run_folder(spec_of(tmp_path), resume=True)


@pytest.mark.ray
def test_resuming_with_another_spec_names_what_differs_and_only_that(
    whole: tuple[ExperimentSpec, ExperimentOutcome],
) -> None:
    spec, _ = whole
    cluster = {"storage": spec.cluster.storage, "gpus_per_trial": 0}
    with pytest.raises(RunFolderError, match=r"\(different: epochs, seeds\)"):
        claim_run_folder(spec_of(Path(spec.cluster.storage), epochs=8, seeds=[0], cluster=cluster), resume=True)


@pytest.mark.ray
def test_a_resume_may_change_where_it_runs(whole: tuple[ExperimentSpec, ExperimentOutcome]) -> None:
    spec, _ = whole
    cluster = {"storage": spec.cluster.storage, "gpus_per_trial": 0}
    claim_run_folder(spec_of(Path(spec.cluster.storage), seeds=[0, 1], cluster=cluster), resume=True)


@pytest.mark.ray
def test_the_same_spec_gives_the_same_grid_trial_by_trial(
    whole: tuple[ExperimentSpec, ExperimentOutcome], tmp_path: Path
) -> None:
    _, outcome = whole
    again = run_experiment(spec_of(tmp_path, strategies=STRATEGIES[:1]), progress=False)
    assert curves(again.study("grid", 0)) == curves(outcome.study("grid", 0))


@pytest.mark.ray
def test_a_study_whose_trials_all_fail_is_recorded_and_the_others_go_on(ray_session: None, tmp_path: Path) -> None:
    diverging = {"kind": "grid", "label": "hot", "space": {"learning_rate": {"choice": [0.8, 0.9]}}}
    outcome = run_experiment(spec_of(tmp_path, strategies=[diverging, STRATEGIES[0]]), progress=False)
    hot, grid = outcome.studies
    assert [trial.state for trial in hot.trials] == [TrialState.FAILED] * 2
    assert all((trial.error or "").startswith("NonFiniteScore: accuracy is nan") for trial in hot.trials)
    assert (hot.state, hot.best(), hot.test) == (StudyState.FINISHED, None, None)
    assert grid.count(TrialState.COMPLETED) == 3
    assert grid.test is not None


@pytest.mark.ray
def test_without_test_the_test_split_is_not_looked_at(ray_session: None, tmp_path: Path) -> None:
    outcome = run_experiment(spec_of(tmp_path, strategies=STRATEGIES[:1], test=False), progress=False)
    assert outcome.study("grid", 0).test is None


@pytest.mark.ray
def test_a_failed_trial_goes_on_from_its_checkpoint_as_often_as_allowed(ray_session: None, tmp_path: Path) -> None:
    changed = {
        "trainable": "tests.support.own_trainables:FailsOnce",
        "fixed": {"model.failed": str(tmp_path / "failed")},
        "strategies": STRATEGIES[:1],
        "cluster": {"storage": str(tmp_path), "max_concurrent": 1},
    }
    study = run_experiment(spec_of(tmp_path, max_failures=1, **changed), progress=False).study("grid", 0)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETED] * 3
    assert [report.epoch for report in study.trials[0].reports] == [1, 2, 3, 4]

    (tmp_path / "failed").unlink()
    study = run_experiment(spec_of(tmp_path, name="strict", **changed), progress=False).study("grid", 0)
    assert [trial.state for trial in study.trials] == [TrialState.FAILED, *[TrialState.COMPLETED] * 2]
    assert (study.trials[0].error or "").startswith("RuntimeError: out of luck")


@pytest.mark.ray
def test_a_long_trial_of_a_grid_whose_process_dies_goes_on_from_its_last_optimizer_state(
    ray_session: None, tiny_model: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_states, "EVERY_SECONDS", 0.0)  # every epoch is a long one
    spec = spec_of(
        tmp_path,
        trainable="finetune",
        task="text_classification",
        data={"path": str(tiny_data), "text": ["text"], "label": "label", "max_length": 32},
        model=str(tiny_model),
        epochs=6,
        space={"learning_rate": {"choice": [3e-3]}},
        strategies=[{"kind": "grid"}],
        max_failures=1,
        test=False,
    )
    found: list[Recipe] = []
    killed: list[int] = []

    def kill_after_second_epoch() -> None:
        while not (folders := list(spec.run_folder.glob("studies/*/*/checkpoint_000001/recipe.json"))):
            time.sleep(0.02)
        found.append(Recipe.read(folders[0].parent))
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name().startswith(TRIALS):
                    process.kill()
                    killed.append(process.pid)

    killer = threading.Thread(target=kill_after_second_epoch)
    killer.start()
    (study,) = run_experiment(spec, progress=False).studies
    killer.join()
    assert killed
    (trial,) = study.trials
    assert [report.epoch for report in trial.reports] == [1, 2, 3, 4, 5, 6]
    (kept,) = folders_of_checkpoints(spec, study)
    assert found[0].moments
    assert found[0].bases[0] in Recipe.read(kept).bases  # trained again from its start it would have others
    assert not list(kept.glob("state-*"))


@pytest.mark.ray
def test_a_function_of_the_users_own_runs_under_every_strategy(ray_session: None, tmp_path: Path) -> None:
    def copies() -> set[Path]:
        made = Path(tempfile.gettempdir())
        return {*made.glob("checkpoint_tmp_*"), *made.glob("tunefleet-*/*/curve.json")}

    before = copies()
    outcome = run_experiment(spec_of(tmp_path, trainable="tests.support.own_trainables:train"), progress=False)
    assert copies() <= before
    assert [len(study.trials) for study in outcome.studies] == [3, 6, 4]
    for study in outcome.studies:
        assert study.count(TrialState.FAILED) == 0
        assert study.test is None  # its data are its own
        assert all(report.device_seconds > 0 for trial in study.trials for report in trial.reports)
    assert outcome.study("grid", 0).count(TrialState.COMPLETED) == 3
    assert outcome.study("hyperopt_asha", 0).count(TrialState.STOPPED) > 0

    pbt = outcome.study("pbt", 0)
    exploits = [(trial, exploit) for trial in pbt.trials for exploit in trial.lineage]
    assert exploits
    for trial, exploit in exploits:
        donor = next(t for t in pbt.trials if t.id == exploit.donor).reports[exploit.donor_reports - 1]
        first = trial.reports[exploit.reports]
        assert first.metrics["begun"] == donor.metrics["progress"]
        assert first.params == exploit.new


@pytest.mark.ray
def test_the_same_spec_trains_the_same_models_bit_for_bit(
    ray_session: None, tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    changed: dict[str, Any] = {
        "trainable": "finetune",
        "task": "text_classification",
        "data": {"path": str(tiny_data), "text": ["text"], "label": "label", "max_length": 32},
        "model": str(tiny_model),
        "epochs": 2,
        "precision": "fp32",
        "space": {"learning_rate": {"choice": [1e-3, 3e-3]}, "per_device_train_batch_size": {"choice": [16, 32]}},
        "strategies": [{"kind": "grid"}],
    }
    one, two = (run_experiment(spec_of(tmp_path / n, **changed), progress=False).study("grid", 0) for n in "ab")
    assert one.count(TrialState.COMPLETED) == 4
    assert curves(one) == curves(two)
    assert one.test is not None
    assert two.test is not None
    assert one.test.metrics == two.test.metrics
