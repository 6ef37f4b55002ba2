"""Trials of two GPUs: two processes, half of the rows each, and the numbers of one. Logical GPUs, so over gloo."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
import torch

from tests.support.replicated import FITTING_ROWS, KILLED_ONCE, SHORT_OF_MEMORY, UNDISTURBED
from tests.support.specs import places_fields
from trainables.finetune.finetune import FineTuning
from trainables.worker.team import workers_for
from tuning import load_spec, run_experiment
from tuning.outcome import StudyOutcome, TrialOutcome, TrialState
from tuning.spec.models import ExperimentSpec

DROPOUT = "model.hidden_dropout_prob"
ROWS = 43  # with two batches of 7 per step: three steps of 14 rows and one of a single row


class Run(NamedTuple):
    spec: ExperimentSpec
    study: StudyOutcome
    events: list[dict[str, Any]]  # of all processes

    def trial(self, **params: Any) -> TrialOutcome:
        return next(t for t in self.study.trials if params.items() <= t.params.items())

    def metrics(self, **params: Any) -> list[dict[str, float]]:
        return [dict(report.metrics) for report in self.trial(**params).reports]

    def of(self, kind: str, rank: int, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        wanted = (params or {}).items()
        return [e for e in self.events if (e["event"], e["rank"]) == (kind, rank) and wanted <= e["params"].items()]


def run_on_two_gpus(folder: Path, data: Path, model: Path, *strategies: dict[str, Any], **changed: Any) -> list[Run]:
    """A study of each strategy on one slot of two logical GPUs."""
    fields = {
        "trainable": "tests.support.replicated:Replicated",
        "data": {"subset": {"train": ROWS, "validation": 23, "test": 25}},
        "strategies": list(strategies),
        # auto: the GPUs of the Ray in use count, not those of this machine
        "cluster": {"address": "auto", "gpus_per_trial": 2, "max_concurrent": 1},
        "test": False,
    }
    spec = load_spec(places_fields(folder, shutil.copy(data, folder / "places.csv"), model, **{**fields, **changed}))
    studies = run_experiment(spec, progress=False).studies
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [Run(spec, study, events) for study in studies]


@pytest.fixture(scope="module")
def grid(ray_session: None, tiny_data: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Six trials, one after the other, on one slot. Rank 1 of the fourth one is killed in its second epoch."""
    (run,) = run_on_two_gpus(
        tmp_path_factory.mktemp("grid"),
        tiny_data,
        tiny_model,
        {"kind": "grid"},
        fixed={
            "learning_rate": 3e-3,
            "per_device_train_batch_size": 7,
            "gradient_accumulation_steps": 2,
            "model.attention_probs_dropout_prob": 0.0,
        },
        space={
            "max_grad_norm": {"choice": [UNDISTURBED, KILLED_ONCE, SHORT_OF_MEMORY]},
            DROPOUT: {"choice": [0.0, 0.3]},
        },
        max_failures=1,
        test=True,
    )
    return run


@pytest.mark.ray
def test_two_processes_score_as_one(grid: Run) -> None:
    alone = FineTuning({**grid.spec.fixed, DROPOUT: 0.0, "max_grad_norm": UNDISTURBED}, grid.spec.trial_spec(0))
    expected = [alone.advance(1).metrics for _ in range(2)]
    assert [pytest.approx(m, rel=1e-4) for m in expected] == grid.metrics(max_grad_norm=UNDISTURBED, **{DROPOUT: 0.0})


@pytest.mark.ray
def test_each_process_computes_half_of_the_rows_of_every_batch(grid: Run) -> None:
    reports = [grid.of("advanced", rank, {"max_grad_norm": UNDISTURBED}) for rank in (0, 1)]
    assert [e["computed"] for e in reports[0] + reports[1]] == [22] * 8  # of the last step's only row each has a copy
    assert len({e["process"] for e in reports[0] + reports[1]}) == 2


@pytest.mark.ray
def test_weights_and_moments_stay_equal_in_both_processes_and_random_numbers_do_not(grid: Run) -> None:
    first, second = (grid.of("advanced", rank, {"max_grad_norm": UNDISTURBED}) for rank in (0, 1))
    assert len(first) == len(second) == 4
    for one, other in zip(first, second, strict=True):
        assert one["weights"] == other["weights"]
        assert one["moments"] == other["moments"]
        assert one["metrics"] == other["metrics"]
        assert one["random"] != other["random"]


@pytest.mark.ray
def test_a_trial_scores_the_same_on_the_warm_processes_of_its_slot_bit_for_bit(grid: Run) -> None:
    first, again = (grid.metrics(max_grad_norm=norm, **{DROPOUT: 0.0}) for norm in (UNDISTURBED, KILLED_ONCE))
    assert again == first
    assert grid.metrics(max_grad_norm=UNDISTURBED, **{DROPOUT: 0.3}) != first
    for rank in (0, 1):
        trials = [{"max_grad_norm": UNDISTURBED}, {"max_grad_norm": KILLED_ONCE, DROPOUT: 0.0}]
        assert len({event["process"] for params in trials for event in grid.of("advanced", rank, params)}) == 1


@pytest.mark.ray
def test_after_a_process_was_killed_new_ones_go_on_as_if_nothing_had_happened(grid: Run) -> None:
    killed = {"max_grad_norm": KILLED_ONCE, DROPOUT: 0.3}
    assert grid.trial(**killed).state is TrialState.COMPLETED
    undisturbed = grid.metrics(max_grad_norm=UNDISTURBED, **{DROPOUT: 0.3})
    assert grid.metrics(**killed) == undisturbed  # a grid's lost state is made again, with the random numbers of each
    (told,) = (grid.spec.run_folder / "studies" / "grid-seed0").glob(f"{grid.trial(**killed).id}/error.txt")
    assert "WorkerDied: worker 1 of this trial's 2 died" in told.read_text()
    of_both = [{e["process"] for e in grid.of("advanced", rank, killed)} for rank in (0, 1)]
    assert [len(processes) for processes in of_both] == [2, 2]


@pytest.mark.ray
def test_a_process_that_runs_out_of_memory_halves_its_batches_and_the_others_do_not_notice(grid: Run) -> None:
    for dropout in (0.0, 0.3):
        for report in grid.metrics(max_grad_norm=SHORT_OF_MEMORY, **{DROPOUT: dropout}):
            rows = report.pop("micro_batch_size")  # of the smallest part: what fits is kept in tokens
            assert 1 <= rows <= FITTING_ROWS
    short, whole = (grid.metrics(max_grad_norm=norm, **{DROPOUT: 0.0}) for norm in (SHORT_OF_MEMORY, UNDISTURBED))
    assert [m["loss"] for m in short] == pytest.approx([m["loss"] for m in whole], rel=1e-4)


@pytest.mark.ray
def test_both_devices_are_paid_for_and_the_best_is_scored_on_test(grid: Run) -> None:
    assert (grid.study.devices_per_trial, grid.study.slots) == (2, 1)
    assert grid.study.test is not None
    assert grid.study.test.rows == 25


@pytest.mark.ray
def test_no_process_of_a_trial_is_left(grid: Run) -> None:
    assert not [
        pid for pid in {e["process"] for e in grid.events if e["event"] == "advanced"} if psutil.pid_exists(pid)
    ]


@pytest.fixture(scope="module")
def searches(
    ray_session: None, tiny_data: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, Run]:
    """A population of two, and ASHA over five trials."""
    rates = {"learning_rate": {"loguniform": [1e-4, 1e-2]}}
    space = {"weight_decay": {"uniform": [0.0, 0.3]}, "per_device_train_batch_size": {"choice": [4, 8, 16]}, **rates}
    pbt, asha = run_on_two_gpus(
        tmp_path_factory.mktemp("searches"),
        tiny_data,
        tiny_model,
        {"kind": "pbt", "population": 2, "quantile": 0.5, "resample_probability": 0.0, "space": space},
        {"kind": "hyperopt_asha", "trials": 5, "initial_random": 5},
        space={"learning_rate": {"loguniform": [1e-6, 1e-2]}},
        objective={"metric": "loss", "mode": "min"},
        epochs=3,
    )
    return pbt, asha


@pytest.mark.ray
def test_the_values_of_an_exploit_are_in_force_in_both_processes(searches: tuple[Run, Run]) -> None:
    run, _ = searches
    exploits = [exploit for trial in run.study.trials for exploit in trial.lineage]
    assert [exploit.epoch for exploit in exploits] == [1, 2]
    for exploit in exploits:
        steps = [run.of("stepping", rank, exploit.new)[0] for rank in (0, 1)]
        for step in steps:
            assert step["start"] == exploit.epoch * ROWS
            assert step["rates"] == [pytest.approx(exploit.new["learning_rate"] * (1 - exploit.epoch / 3))] * 2
            assert step["decay"] == [exploit.new["weight_decay"], 0.0]
            assert step["batch"] == exploit.new["per_device_train_batch_size"]
        taken = [run.of("restored", rank, exploit.new)[0] for rank in (0, 1)]
        assert taken[0]["weights"] == taken[1]["weights"]
        assert taken[0]["moments"] == taken[1]["moments"]


@pytest.mark.ray
def test_asha_stops_trials_of_two_processes(searches: tuple[Run, Run]) -> None:
    _, run = searches
    assert all(trial.state in (TrialState.COMPLETED, TrialState.STOPPED) for trial in run.study.trials)
    assert run.study.count(TrialState.STOPPED) >= 1
    for one, other in zip(run.of("advanced", 0), run.of("advanced", 1), strict=True):
        assert one["weights"] == other["weights"]


@pytest.mark.unit
@pytest.mark.parametrize(
    ("trainable", "gpus", "workers"),
    [
        ("finetune", 2, 2),
        ("finetune", 1, 1),
        ("finetune", 0.5, 1),
        ("finetune", 0, 1),
        ("learning_curve", 2, 1),
        ("tests.support.replicated:Replicated", 3, 3),
        ("tests.support.own_trainables:train", 2, 1),
        ("tests.support.user_trainers:make_trainer", 2, 2),  # by DDP
        ("tests.support.user_trainers:make_trainer", 1, 1),
        ("tests.support.divided_trainers:undivided", 2, 1),
    ],
)
def test_a_trainable_that_divides_its_rows_gets_a_process_per_gpu(trainable: str, gpus: float, workers: int) -> None:
    assert workers_for(trainable, gpus) == workers


ON_DEVICES = """
import json, sys
from tuning import load_spec, run_experiment
data, model, storage, gpus = sys.argv[1:]
still = {"model.hidden_dropout_prob": 0.0, "model.attention_probs_dropout_prob": 0.0}
raw = {
    "name": "devices" + gpus, "task": "text_classification", "model": model, "epochs": 2, "precision": "fp32",
    "data": {"path": data, "text": ["text"], "label": "label", "max_length": 32},
    "fixed": {"per_device_train_batch_size": 7, **still},
    "space": {"learning_rate": {"choice": [1e-3, 3e-3]}},
    "strategies": [{"kind": "grid"}],
    "cluster": {"gpus_per_trial": int(gpus), "storage": storage, "max_concurrent": 1},
}
(study,) = run_experiment(load_spec(raw), progress=False).studies
print(json.dumps([[dict(report.metrics) for report in trial.reports] for trial in study.trials]))
"""


@pytest.mark.system
@pytest.mark.gpu
def test_two_devices_score_as_one_over_nccl(tiny_data: Path, tiny_model: Path, tmp_path: Path) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("one CUDA device on this machine, nccl wants one for each process")
    found = []
    for gpus in ("1", "2"):
        arguments = [str(tiny_data), str(tiny_model), str(tmp_path), gpus]
        done = subprocess.run(
            [sys.executable, "-c", ON_DEVICES, *arguments], capture_output=True, text=True, check=False, timeout=600
        )
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout.splitlines()[-1]))
    for one, two in zip(*found, strict=True):
        assert [metrics["loss"] for metrics in two] == pytest.approx([metrics["loss"] for metrics in one], rel=1e-3)
