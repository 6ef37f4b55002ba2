"""A user's Trainer in two processes over gloo (DDP): the same in both, as under torchrun, and as in one process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.support.divided_trainers import EXPLOIT, SPEC, still
from tests.support.drivers import own_environment
from tests.support.specs import user_trainer_fields
from tests.support.user_trainers import BATCH, TRAIN
from trainables.user_trainer.user_training import UserTraining
from tuning import load_spec, run_experiment
from tuning.outcome import StudyOutcome, TrialState
from tuning.report.planned import trained_in_words

STEPS = 4 * TRAIN // BATCH  # of rows in both processes as in one


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the rendezvous and of saved states."""
    return tmp_path_factory.mktemp("meeting")


@pytest.fixture(scope="module")
def said(folder: Path) -> list[dict[str, Any]]:
    """Runs two processes; returns what each prints."""
    command = [sys.executable, "-m", "tests.support.divided_trainers"]
    environment = {**own_environment(), "OMP_NUM_THREADS": "1"}
    members = [
        subprocess.Popen([*command, str(rank), str(folder)], env=environment, stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    try:
        return [json.loads(member.communicate(timeout=240)[0].splitlines()[-1]) for member in members]
    finally:
        for member in members:
            member.kill()


@pytest.mark.system
def test_two_processes_train_to_the_weights_of_one_with_the_doubled_batch(
    said: list[dict[str, Any]], folder: Path
) -> None:
    alone = UserTraining(still, {"per_device_train_batch_size": BATCH}, SPEC)
    expected = [alone.advance(1) for _ in range(4)]
    reports, _, steps = said[0]["paused"]
    assert [epoch for epoch, _ in reports] == [evaluation.epoch for evaluation in expected]
    for (_, metrics), evaluation in zip(reports, expected, strict=True):
        assert metrics == pytest.approx(evaluation.metrics, rel=1e-4)
    assert steps == len(alone.trainer.seen.steps) == STEPS
    trained = load_file(str(folder / "end" / "weights.safetensors"))
    for name, weight in alone.trainer.model.state_dict().items():
        assert torch.allclose(trained[name], weight, atol=1e-5), name


@pytest.mark.system
def test_the_loss_is_that_of_one_process_whether_it_is_a_mean_or_divided_by_the_labels_of_a_step(
    said: list[dict[str, Any]],
) -> None:
    for one in said:
        (_, mean), *_ = one["paused"][0]
        assert one["counted"] == pytest.approx(mean, rel=1e-4)


@pytest.mark.system
def test_each_row_is_seen_once_in_each_pass_by_one_of_them(said: list[dict[str, Any]]) -> None:
    both = [row for one in said for row in one["rows"]]
    assert sorted(both) == sorted(list(range(TRAIN)) * 4)
    assert [len(one["rows"]) for one in said] == [TRAIN * 2] * 2


@pytest.mark.system
def test_both_come_to_the_same_weights_and_scores_and_each_can_be_scored_once_more(said: list[dict[str, Any]]) -> None:
    first, second = said
    for name in first.keys() - {"rows"}:
        assert first[name] == second[name], name
    assert first["scored"] == [first["paused"][0][-1][1], 32]


@pytest.mark.system
def test_paused_at_its_evaluations_it_trains_as_under_torchrun_bit_for_bit(said: list[dict[str, Any]]) -> None:
    for one in said:
        assert one["undisturbed"][1] == one["plain"]


@pytest.mark.system
@pytest.mark.parametrize("begun", [0.5, 1.0])
def test_a_state_is_gone_on_from_with_the_random_numbers_of_each(begun: float, said: list[dict[str, Any]]) -> None:
    for one in said:
        assert one[f"restored at {begun}"] == one[f"whole at {begun}"]
        assert len(one[f"restored at {begun}"][0]) == 4 - 1 - (begun == 1)


@pytest.mark.system
@pytest.mark.parametrize(("begun", "step", "share"), [(0.5, 5, 28 / 32), (1.0, 9, 24 / 32)])
def test_the_values_of_an_exploit_are_in_force_in_both(
    begun: float, step: int, share: float, said: list[dict[str, Any]]
) -> None:
    for one in said:
        steps, in_force, _ = one[f"exploit at {begun}"]
        assert in_force == EXPLOIT
        assert steps[0][0] == step  # of steps that have half of the donor's rows
        assert len(steps) == 8 * (1.0 - begun or 1.0)
        for group, decay in zip(steps[0][1], (0.3, 0.0), strict=True):
            assert group[:2] == [pytest.approx(1e-3 * share), decay]


@pytest.mark.system
def test_a_callback_that_ends_the_training_of_one_ends_that_of_all(said: list[dict[str, Any]]) -> None:
    for one in said:
        reports, horizon, _ = one["ended by one"]
        assert [epoch for epoch, _ in reports] == [1.0, 1.5]
        assert horizon == 1.5


@pytest.mark.system
def test_a_loss_that_is_no_number_in_one_is_reported_by_all(said: list[dict[str, Any]]) -> None:
    assert all("training loss is nan at epoch 1" in one["spoilt in one"] for one in said)


@pytest.mark.system
def test_arguments_that_know_of_no_other_process_are_refused(said: list[dict[str, Any]]) -> None:
    assert all("make them in the factory" in one["made before"] for one in said)


@pytest.mark.system
def test_weights_beside_the_model_which_nobody_averages_are_refused(said: list[dict[str, Any]]) -> None:
    assert all("optimizer: '1 beside the model'" in one["beside"] for one in said)


@pytest.mark.system
def test_what_the_batch_size_counts_is_recorded(said: list[dict[str, Any]]) -> None:
    recorded = {"processes": 2, "per_device_train_batch_size": "the rows of one process"}
    assert recorded.items() <= said[0]["provenance"].items()


@pytest.mark.unit
def test_validate_says_what_the_batch_size_counts(tmp_path: Path) -> None:
    def told(gpus: float) -> str:
        fields = user_trainer_fields(tmp_path, cluster={"gpus_per_trial": gpus, "address": "head:6379"})
        return trained_in_words(load_spec(fields))

    assert "of your own, in 2 processes: per_device_train_batch_size is the rows of each)" in told(2)
    assert "(a Trainer of your own)" in told(1)


@pytest.fixture(scope="module")
def studies(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> list[StudyOutcome]:
    """A population of two, and a trial whose second process ends it, one after the other on a slot of two GPUs."""
    fields = user_trainer_fields(
        tmp_path_factory.mktemp("divided"),
        trainable="tests.support.divided_trainers:make_trainer",
        epochs=3,
        strategies=[
            {"kind": "pbt", "population": 2, "quantile": 0.5, "resample_probability": 0.0},
            {"kind": "grid", "space": {"ends_at": {"choice": [6]}}},
        ],
        cluster={"address": "auto", "gpus_per_trial": 2, "max_concurrent": 1},
    )
    return list(run_experiment(load_spec(fields), progress=False).studies)


@pytest.mark.ray
def test_a_population_of_trials_of_two_processes_exploits(studies: list[StudyOutcome]) -> None:
    study = studies[0]
    assert (study.devices_per_trial, study.slots) == (2, 1)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETED] * 2
    exploits = [exploit for trial in study.trials for exploit in trial.lineage]
    assert sorted(exploit.epoch for exploit in exploits) == [1, 2]
    for trial in study.trials:
        for exploit in trial.lineage:
            after = next(report for report in trial.reports if report.epoch == exploit.epoch + 1)
            assert exploit.new.items() <= after.params.items()


@pytest.mark.ray
def test_a_trial_that_one_of_its_processes_ends_is_completed(studies: list[StudyOutcome]) -> None:
    (trial,) = studies[1].trials
    assert trial.state is TrialState.COMPLETED
    assert [report.epoch for report in trial.reports] == [1, 1.5]
