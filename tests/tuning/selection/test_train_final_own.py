"""The model to keep of a Trainer of the user's own: its factory, all rows that are not for the test, its own folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from torch.utils.data import IterableDataset, TensorDataset
from transformers import EarlyStoppingCallback, Trainer

from tests.support.outcomes import make_report, study, trial
from tests.support.specs import user_trainer_fields
from tests.support.user_trainers import BATCH, TRAIN, VALIDATION, rows, trainer
from trainables.errors import InputError
from trainables.spec import FineTuneSpec
from trainables.user_trainer.final_trainer import concatenate_rows, on_all_rows
from trainables.user_trainer.hp_space import resolve_params
from trainables.user_trainer.user_training import UserTraining
from tuning import load_spec
from tuning.cli import main
from tuning.outcome import ExperimentOutcome
from tuning.selection.best_spec import best_spec
from tuning.selection.model_folder import ModelFolder
from tuning.selection.winner import winner_of
from tuning.spec.file import dump, parse
from tuning.testing.simulated_ray import simulated_ray

SPEC = FineTuneSpec(trainable="tests.support.user_trainers:make_trainer", epochs=1)


class Endless(IterableDataset[int]):
    def __iter__(self) -> Any:
        return iter(range(3))


class OwnLoader(Trainer):
    """Reads rows of its own, whatever it is given."""

    kept = rows(TRAIN)

    def get_train_dataloader(self) -> Any:
        given, self.train_dataset = self.train_dataset, self.kept
        try:
            return super().get_train_dataloader()
        finally:
            self.train_dataset = given


@pytest.mark.unit
def test_it_trains_on_training_and_validation_rows_and_nothing_ends_it_early() -> None:
    stopping = {"metric_for_best_model": "accuracy", "load_best_model_at_end": True, "save_strategy": "epoch"}

    def factory(params: dict[str, Any]) -> Trainer:
        return trainer(params, args=stopping, callbacks=[EarlyStoppingCallback(1)])

    training = UserTraining(on_all_rows(factory), {}, SPEC)
    assert training.advance(1).epoch == 1
    assert training.trainer.train_dataset["row"][:] == [*range(TRAIN), *range(1000, 1000 + VALIDATION)]
    assert len(training.trainer.seen.steps) == (TRAIN + VALIDATION) // BATCH
    kinds = {type(callback) for callback in training.trainer.callback_handler.callbacks}
    assert EarlyStoppingCallback not in kinds


@pytest.mark.unit
def test_rows_of_every_kind_are_put_together_and_what_does_not_fit_is_refused_by_its_name() -> None:
    left, right = datasets.Dataset.from_dict({"a": [1, 2]}), datasets.Dataset.from_dict({"a": [3], "b": [0]})
    assert concatenate_rows(left, right)["a"][:] == [1, 2, 3]
    assert concatenate_rows(left, {"one": right, "two": left})["a"][:] == [1, 2, 3, 1, 2]
    assert concatenate_rows({"x": left}, {"x": left})["x"]["a"][:] == [1, 2, 1, 2]
    assert [row["a"] for row in concatenate_rows(left.to_iterable_dataset(), left.to_iterable_dataset())] == [
        1,
        2,
        1,
        2,
    ]
    assert len(concatenate_rows(TensorDataset(torch.zeros(3)), [1, 2])) == 5
    assert list(concatenate_rows(Endless(), Endless())) == [0, 1, 2, 0, 1, 2]
    for train, validation, rule in (
        (right, left, "eval_dataset: 'Dataset': has no column b, and train_dataset has; prepare both alike"),
        ({"x": left}, {"y": left}, "has the sets y, and train_dataset x; name the same sets in both"),
        ([1], Endless(), "can be counted and train_dataset not"),
    ):
        with pytest.raises(InputError, match=rule):
            concatenate_rows(train, validation)


@pytest.mark.unit
def test_a_loader_that_would_not_read_the_validation_rows_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"get_train_dataloader: .*reads 64 rows, .* has 96; have it read self.train_d"
    ):
        on_all_rows(lambda params: trainer(params, kind=OwnLoader))({})


@pytest.mark.tune
def test_without_test_rows_the_model_is_kept_without_a_score_and_its_card_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    raw = user_trainer_fields(
        "runs",
        trainable="tests.support.user_trainers:without_test_rows",
        epochs=1,
        strategies=[{"kind": "grid", "points": 1}],
    )
    Path("spec.yaml").write_text(dump(raw))
    with simulated_ray():
        assert main(["run", "spec.yaml"]) == 0, capsys.readouterr().err
        told = capsys.readouterr().out
        assert "data.validation_fraction" not in told
        assert main(["train-final", "whole"]) == 0, capsys.readouterr().err
    assert (
        "not scored on test: there are no test rows (those of a Trainer are its `test_dataset`)"
        in capsys.readouterr().err
    )
    assert "This model has no score of its own" in Path("whole-model/README.md").read_text()


@pytest.mark.unit
def test_what_a_library_keeps_in_folders_of_its_own_stays_there(tmp_path: Path) -> None:
    files = {"best.yaml": b"a", "README.md": b"b", "1_Pooling/config.json": b"c"}
    ModelFolder(tmp_path / "model").write(files)
    assert (tmp_path / "model/1_Pooling/config.json").read_bytes() == b"c"


@pytest.mark.unit
def test_a_best_configuration_that_a_function_was_asked_for_is_given_to_it_again() -> None:
    space = "tests.support.own_spaces:static"
    spec = load_spec(user_trainer_fields("runs", space=space, strategies=[{"kind": "random", "trials": 1}]))
    asked = {"log_lr": -3.0, "weight_decay": 0.1}
    told = make_report(1, 0.5)._replace(params={"learning_rate": 1e-3, **asked})
    found = replace(study("random", [replace(trial(0, [told]), params=asked)]), metric="accuracy")
    best = parse(best_spec(spec, winner_of(ExperimentOutcome("whole", "d", (found,)))), "best")
    assert (best["hp_space"], best["space"]) == (
        space,
        {"log_lr": {"choice": [-3.0]}, "weight_decay": {"choice": [0.1]}},
    )
    again = load_spec(best)
    assert again.trial_spec(0).hp_space == space
    (params,) = again.space.grid(1)
    assert resolve_params(params, again.trial_spec(0)) == {"learning_rate": 1e-3, "weight_decay": 0.1}
