"""The packing benchmark as far as it goes without a GPU: what it runs, what it makes of the figures, its refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.packing import arms_of, experiment, main, shared_how, summarise
from benchmarks.workload import Workload
from tuning.spec.models import ExperimentSpec

pytestmark = pytest.mark.unit


def test_without_a_gpu_nothing_is_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["--out", str(tmp_path / "out.json")]) == 2
    assert "torch finds no CUDA device" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_every_arm_runs_the_same_list_and_differs_only_in_how_the_gpu_is_shared(tmp_path: Path) -> None:
    arms = arms_of([1, 2, 8])
    assert arms == [(1, True), (2, False), (2, True), (8, False), (8, True), ("auto", True)]
    raws = [experiment(Workload(device="cuda"), *arm, tmp_path) for arm in arms]
    clusters = [ExperimentSpec.model_validate(raw).cluster for raw in raws]
    assert [cluster.gpus_per_trial for cluster in clusters] == [1, 0.5, 0.5, 0.125, 0.125, "auto"]
    assert [cluster.mps for cluster in clusters] == [True, False, True, False, True, True]
    assert len({ExperimentSpec.model_validate(raw).digest() for raw in raws}) == 1


def test_how_a_run_shared_the_gpu_is_read_from_its_header() -> None:
    header = "list: local Ray: 16 CPUs, 1 GPU; 2 trials at a time, 1 CPU and 0.5 GPU each{}; W&B: disabled\nmore\n"
    how = "2 trials per GPU (as declared) in time slices, without MPS: cluster.mps is false"
    assert shared_how(header.format(f"; {how}")) == how
    assert shared_how(header.format("")) == "one trial per GPU"


def test_a_gain_compares_runs_of_one_repeat_and_leaves_failed_ones_out() -> None:
    def run(count: int, repeat: int, wall: float, error: str | None = None) -> dict[str, Any]:
        own = {"trials_per_gpu": count, "repeat": repeat, "wall_seconds": wall, "error": error}
        return {"mps": True, "how": "", "study_seconds": wall, **own}

    runs = [run(1, 0, 100), run(4, 0, 50), run(4, 1, 10), run(1, 1, 80), run(4, 2, 5, "killed"), run(1, 2, 90)]
    alone, four = summarise(runs, trials=10)
    assert alone["gain"] == {"median": 1, "low": 1, "high": 1}
    assert four["gain"] == {"median": 5, "low": 2, "high": 8}
    assert four["trials_per_gpu_hour"] == {"median": 2160, "low": 720, "high": 3600}
