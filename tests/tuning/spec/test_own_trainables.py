"""The spec of a user's own trainable needs no task, data or model, and has tunable names of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.specs import GOOD, curve_fields
from trainables.spec import Objective, display_name
from tuning.cli import main
from tuning.report.planned import trained_in_words
from tuning.spec.file import dump
from tuning.spec.loading import load_spec
from tuning.spec.mistakes import SpecError
from tuning.spec.models import ExperimentSpec
from tuning.spec.validation.before_run import require_runnable

pytestmark = pytest.mark.unit

MODULE = """
import math

def make_trainer(params):
    raise AssertionError("it is looked at, and nothing is made")

def train(params, *, spec): ...

class Mine:
    def __init__(self, params, spec): ...
"""
SPACE: Mapping[str, Any] = {
    "learning_rate": {"loguniform": [1e-5, 1e-3]},
    "margin": {"uniform": [0.1, 1]},
    "pooling": {"choice": ["mean", "cls"], "mutate": False},
    "flip": {"choice": [True, False], "mutate": False},
}
PBT = {"kind": "pbt", "population": 4}


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"own_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    return name


def own(trainable: str, *overrides: str, **changed: Any) -> ExperimentSpec:
    raw = {"name": "mine", "trainable": trainable, "epochs": 4, "space": dict(SPACE), "strategies": ["random"]}
    raw["strategies"] = [{"kind": "random", "trials": 2}]
    return load_spec({**raw, **changed}, overrides)


def mistakes_of(trainable: str, *overrides: str, **changed: Any) -> list[str]:
    try:
        require_runnable(own(trainable, *overrides, **changed))
    except SpecError as error:
        return [str(mistake) for mistake in error.mistakes]
    return []


def test_a_trainer_of_ones_own_needs_no_task_no_data_no_model_and_no_objective(module: str) -> None:
    spec = own(f"{module}:make_trainer")
    require_runnable(spec)
    assert spec.trial_spec(0).objective == Objective(metric="loss", mode="min")
    kept = spec.to_yaml()
    assert all(f"\n{word}:" not in kept for word in ("task", "data", "model", "precision", "in_flight"))
    Path("kept.yaml").write_text(kept)
    assert load_spec("kept.yaml") == spec


def test_a_function_or_class_must_say_what_it_is_searched_for_unless_a_task_does(module: str) -> None:
    for name in ("train", "Mine"):
        (message,) = mistakes_of(f"{module}:{name}")
        assert message.startswith(f"objective: is missing: nobody knows here what {module}:{name} reports")
        assert mistakes_of(f"{module}:{name}", objective={"metric": "score", "mode": "max"}) == []
        assert mistakes_of(f"{module}:{name}", task="reviews", data={"path": "anywhere"}, model="mine") == []


def test_what_a_trainer_of_ones_own_would_not_read_is_refused_by_its_name(module: str) -> None:
    given = {"task": "reviews", "data": {"path": "x"}, "model": "mine", "precision": "bf16", "compile": True}
    message = mistakes_of(f"{module}:make_trainer", **given)
    assert [line.partition(":")[0] for line in message] == ["task", "data", "model", "compile", "precision"]
    assert "is given the params alone, so nothing would read it; remove it" in message[0]


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("fp16=true", "write fixed.fp16, which your trainable is given"),
        ("per_device_eval_batch_size=8", "write fixed.per_device_eval_batch_size, which"),
        ("gradient_checkpointing=true", "write fixed.gradient_checkpointing, which"),
        ("eval_accumulation_steps=2", "write fixed.eval_accumulation_steps, which"),
        ("num_labels=3", "write fixed.num_labels, which"),
        ("max_length=64", "write fixed.max_length, which"),
        ("model_name=bert", "write fixed.model_name, which"),
        ("hub=glue", "write fixed.hub, which"),
        ("strategies.0.fp16=true", "write fixed.fp16, which"),
        ("optim_args=x", "write fixed.optim_args if your trainable is to be given it; known: "),
        ("eval_strategy=epoch", "did you mean report_every_epochs?"),
        ("lr=0.1", "write space.learning_rate or fixed.learning_rate"),
        ("save_total_limit=2", "write checkpoint.keep_best"),
        ("data.max_len=64", "write data.max_length"),
        ("cluster.cpu_per_trial=2", "did you mean cpus_per_trial?"),
    ],
)
def test_a_hint_for_a_trainable_of_ones_own_names_no_setting_of_finetune(key: str, hint: str, module: str) -> None:
    (message,) = mistakes_of(f"{module}:make_trainer", key)
    assert message.startswith(f"{key.partition('=')[0]}: unknown key; {hint}")


def test_names_of_training_arguments_keep_their_types_and_ranges_and_others_are_free(module: str) -> None:
    wrong = {"learning_rate": 2, "per_device_train_batch_size": {"uniform": [8, 16]}, "margin": 9}
    message = mistakes_of(f"{module}:make_trainer", space={**wrong, "x": {"choice": [1, "two", True]}})
    assert [line.partition(":")[0] for line in message] == [
        "space.learning_rate",
        "space.per_device_train_batch_size.uniform",
    ]
    free = ["fixed.depth=3", "fixed.head=mlp", "fixed.lr_scheduler_type=polynomial", "fixed.model.layers=2"]
    assert mistakes_of(f"{module}:make_trainer", *free) == []
    with pytest.raises(SpecError, match="nothing consumes a hyperparameter 'margin'"):
        load_spec({**GOOD, "space": SPACE})


def test_pbt_changes_a_name_of_ones_own_only_where_the_spec_says_that_it_may(module: str) -> None:
    name = f"{module}:make_trainer"
    (message,) = mistakes_of(name, strategies=[PBT])
    assert message == (
        "space.margin: pbt: margin cannot change in the middle of a trial: the spec does not list it under in_flight "
        "(do so if a trial may go on with another value); add mutate: false (drawn once, then inherited with the "
        "donor's weights), or fix it"
    )
    assert mistakes_of(name, strategies=[PBT], in_flight=["margin"]) == []
    own_space = {**PBT, "space": {"temperature": {"uniform": [1, 2]}}}
    assert mistakes_of(name, strategies=[own_space])[0].startswith("strategies.0.space.temperature: pbt: temperature")


@pytest.mark.parametrize("name", ["num_train_epochs", "optim", "data.max_length", "model.num_hidden_layers"])
def test_pbt_refuses_by_name_what_cannot_change_in_flight(name: str) -> None:
    few = {"optim": ["sgd", "adafactor"], "num_train_epochs": [2, 4], "model.num_hidden_layers": [2, 4]}
    values = few.get(name, [64, 128])
    with pytest.raises(SpecError) as caught:
        load_spec({**GOOD, "space": {name: {"choice": values}}, "strategies": [PBT]})
    (message,) = caught.value.mistakes
    assert message.path == f"space.{name}"
    assert "mutate: false" in message.next_step


@pytest.mark.parametrize(
    ("trainable", "names", "rule"),
    [
        ("math:sqrt", ["optim"], "cannot change in flight: the moments of one optimizer"),
        ("math:sqrt", ["margni"], "stands in no space; did you mean margin?"),
        ("finetune", ["learning_rate"], "of finetune it is known what may change in flight"),
    ],
)
def test_a_name_that_in_flight_cannot_mean_is_reported(trainable: str, names: list[str], rule: str) -> None:
    space = SPACE if trainable != "finetune" else GOOD["space"]
    task = {"task": "reviews"} if trainable == "finetune" else {}
    with pytest.raises(SpecError) as caught:
        own(trainable, in_flight=names, space=space, **task)
    (message,) = caught.value.mistakes
    assert message.path == "in_flight.0"
    assert rule in str(message)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("make_trainer", "a Trainer of your own"), ("Mine", "a class of your own"), ("train", "a function of your own")],
)
def test_validate_says_what_it_is(module: str, name: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    spec = own(f"{module}:{name}", objective={"metric": "loss", "mode": "min"})
    Path("mine.yaml").write_text(dump(spec.plain()))
    assert main(["validate", "mine.yaml"]) == 0
    message = capsys.readouterr().out
    assert f"  {module}:{name} ({kind}); loss, lower is better; 4 epochs per trial; seed 0" in message
    assert "minilm" not in message
    assert "data:" not in message


def test_an_object_that_was_passed_from_python_is_called_as_it_was_called_there() -> None:
    spec = own(f"shipped:/tmp/runs/.shipped/my-trainer-{'0a' * 32}.pkl")
    assert trained_in_words(spec) == "my-trainer (a Trainer of your own, passed from Python)"
    assert (spec.own_modules, display_name("my_module:make_trainer")) == ((), "my_module:make_trainer")


def test_the_digests_of_earlier_specs_are_as_they_were(tmp_path: Path) -> None:
    assert load_spec(GOOD).digest() == "3d8f96c117b7776b"
    assert load_spec(curve_fields("/tmp/x")).digest() == "a5f9e37bb228f215"
    assert (
        load_spec(GOOD, ["trainable=math:sqrt", "objective={metric: loss, mode: max}"]).digest() == "4e7fa6f2af59a384"
    )
