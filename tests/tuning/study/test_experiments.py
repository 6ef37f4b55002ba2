"""Whole experiments from a spec alone: three kinds of data, all strategies, real Ray, real Trainer, a small model."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tuning import compare, load_spec, run_experiment
from tuning.outcome import ExperimentOutcome, TrialState

pytestmark = pytest.mark.ray


def run(folder: Path, model: Path, **fields: Any) -> ExperimentOutcome:
    """Two epochs at most, two trials at a time."""
    spec = {
        "model": str(model),
        "precision": "fp32",
        "epochs": 2,
        "space": {"learning_rate": {"loguniform": [1e-4, 3e-3]}, "per_device_train_batch_size": {"choice": [8, 16]}},
        "strategies": [
            {"kind": "grid", "points": 2, "space": {"learning_rate": {"loguniform": [3e-3, 1e-2]}}},
            {"kind": "hyperopt_asha", "trials": 3},
            {"kind": "pbt", "population": 2, "quantile": 0.5},
        ],
        "cluster": {"storage": str(folder), "max_concurrent": 2, "gpus_per_trial": 0},
        **fields,
    }
    return run_experiment(load_spec(spec), progress=False)


def check(outcome: ExperimentOutcome, test_rows: int) -> None:
    """Every study is finished and scored once, nothing failed, and the comparison stands on its own."""
    assert [study.strategy for study in outcome.studies] == ["grid", "hyperopt_asha", "pbt"]
    for study in outcome.studies:
        assert study.count(TrialState.FAILED) == study.count(TrialState.RUNNING) == 0
        assert study.test is not None
        assert study.test.rows == test_rows
    assert len({study.attributes["data_fingerprint"] for study in outcome.studies}) == 1
    assert sum(bool(trial.lineage) for trial in outcome.study("pbt", 0).trials) == 1
    assert compare(outcome).best is not None


def test_your_own_csv_with_five_classes(ray_session: None, tiny_model: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    words = {"one": "awful bad", "two": "weak poor", "three": "fine okay", "four": "good nice", "five": "superb best"}
    rows = [f'"{" ".join(rng.choices(words[stars].split(), k=4))} {i}",{stars}' for i in range(60) for stars in words]
    (tmp_path / "films.csv").write_text("\n".join(["review,stars", *rows]))
    outcome = run(
        tmp_path / "runs",
        tiny_model,
        name="films",
        task="text_classification",
        data={"path": str(tmp_path / "films.csv"), "text": ["review"], "label": "stars", "max_length": 32},
    )
    check(outcome, test_rows=60)
    best = outcome.study("grid", 0).best()
    assert best is not None
    assert best[1].metrics["accuracy"] > 0.5  # five classes: chance is 0.2


@pytest.mark.data
@pytest.mark.parametrize(("task", "test_rows"), [("rte", 277), ("imdb", 200)])
def test_real_rte_and_imdb_from_local_files(
    ray_session: None, tiny_model: Path, real_data: Path, tmp_path: Path, task: str, test_rows: int
) -> None:
    subset = {"train": 128, "validation": 64, "test": test_rows}
    data = {"path": str(real_data / task), "max_length": 64, "subset": subset}
    outcome = run(tmp_path / "runs", tiny_model, name=task, task=task, data=data)
    check(outcome, test_rows)
