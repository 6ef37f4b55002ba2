"""Whole experiments with a Trainer of the user's own, on real Ray: from a factory's name to the model that is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.support.specs import USER_TRAINER, user_trainer_fields
from tests.support.user_trainers import TRAIN, VALIDATION, rows, tiny_model
from tuning import load_spec, run_experiment
from tuning.cli import main
from tuning.outcome import ExperimentOutcome, TrialState
from tuning.spec.models import ExperimentSpec
from tuning.store.study_store import StudyStore

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def searched(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[ExperimentSpec, ExperimentOutcome]:
    """Some trials that are stopped, and a population."""
    spec = load_spec(
        user_trainer_fields(
            tmp_path_factory.mktemp("runs"),
            epochs=3,
            objective={"metric": "eval_accuracy", "mode": "max"},
            strategies=[
                {"kind": "hyperopt_asha", "trials": 3},
                {"kind": "pbt", "population": 2, "quantile": 0.5},
            ],
        )
    )
    return spec, run_experiment(spec, progress=False)


def test_it_is_searched_and_cloned_with_new_values_in_force(
    searched: tuple[ExperimentSpec, ExperimentOutcome],
) -> None:
    _, outcome = searched
    for study in outcome.studies:
        assert study.count(TrialState.FAILED) == 0
        assert study.test is not None
        assert study.test.rows == 32
        assert {"eval_accuracy", "loss"} == set(study.test.metrics)
    pbt = outcome.study("pbt", 0)
    exploits = [(trial, exploit) for trial in pbt.trials for exploit in trial.lineage]
    assert exploits
    for trial, exploit in exploits:
        assert exploit.new != exploit.old
        assert trial.reports[exploit.reports].params == exploit.new  # read off optimizer and loader


def test_every_command_that_reads_a_run_reads_this_one(
    searched: tuple[ExperimentSpec, ExperimentOutcome], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, _ = searched
    where = ["whole", "--storage", spec.cluster.storage]

    def said(*words: str) -> str:
        assert main(list(words)) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    assert "eval_accuracy, higher is better" in said("compare", *where)
    assert json.loads(said("results", *where, "--json"))["data"] is None
    said("report", *where, "--out", str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text()
    assert USER_TRAINER in page
    assert "minilm" not in page
    said("export", *where, "--to", str(tmp_path / "tables"))
    assert {path.stem for path in (tmp_path / "tables").iterdir()} >= {"studies", "trials", "reports"}
    assert "whole" in said("ls", "experiments", "--storage", spec.cluster.storage)


def test_the_model_that_is_kept_is_the_trainers_own_on_all_rows_that_are_not_for_the_test(
    searched: tuple[ExperimentSpec, ExperimentOutcome], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, _ = searched
    folder = tmp_path / "model"
    words = ["train-final", "whole", "--storage", spec.cluster.storage, "--strategy", "pbt", "--out", str(folder)]
    assert main([*words, "--reveal-test"]) == 0, capsys.readouterr().err
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "config.json", "best.yaml", "README.md"}
    (final,) = StudyStore(spec.store_url).load("whole").study("pbt", 0).finals
    model = type(tiny_model()).from_pretrained(folder).eval()
    test = rows(VALIDATION, 2).with_format("torch")
    with torch.no_grad():
        guessed = model(input_ids=test["input_ids"][:]).logits.argmax(-1)
    right = float((guessed == test["labels"][:]).float().mean())
    assert (final.rows, final.metrics["eval_accuracy"]) == (VALIDATION, pytest.approx(right))
    card = (folder / "README.md").read_text()
    for line in (
        "library_name: transformers",
        f"BertForSequenceClassification, trained by the Trainer that `{USER_TRAINER}` makes.",
        "model = BertForSequenceClassification.from_pretrained(FOLDER)",
        f"trained on {TRAIN + VALIDATION} rows",
        f"| eval_accuracy | {right:.4f} |",
    ):
        assert line in card
    best = load_spec(folder / "best.yaml")
    assert (best.trainable, best.task, best.in_flight) == (USER_TRAINER, None, ())
    assert "model:" not in (folder / "best.yaml").read_text()
