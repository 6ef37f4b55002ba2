"""Edge cases of a trial: fractions of epochs, odd sizes, regression, other optimizers, long inputs."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.data_files import texts, two_columns
from trainables.epochs import ROUNDING, next_position
from trainables.finetune.finetune import FineTuning
from trainables.learning_curve import LearningCurve
from trainables.spec import DataSpec, FineTuneSpec, Objective, Subset
from trainables.tasks import TaskError

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def spec(tiny_model: Path, tiny_data: Path) -> FineTuneSpec:
    return FineTuneSpec(
        task="text_classification",
        data=DataSpec(
            path=str(tiny_data), text=("text",), label="label", max_length=32, subset=Subset(train=50, validation=30)
        ),
        model=str(tiny_model),
        epochs=2,
        objective=Objective(metric="accuracy", mode="max"),
        precision="fp32",
    )


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Writes a CSV of 240 pairs; the label is the number of `wave` in the second text."""
    rng = random.Random(0)
    rows = ["question,answer,score"]
    for i in range(240):
        waves = i % 5
        words = ["wave"] * waves + rng.choices(["tree", "moss", "street"], k=6 - waves)
        rng.shuffle(words)
        rows.append(f"how much sea {i},{' '.join(words)},{waves / 2}")
    path = tmp_path_factory.mktemp("numbers") / "pairs.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


@settings(deadline=None)
@given(parts=st.integers(1, 100), digits=st.integers(7, 17), epochs=st.integers(1, 20))
def test_parts_of_an_epoch_add_up_to_whole_epochs(parts: int, digits: int, epochs: int) -> None:
    every, position, positions = float(f"{1 / parts:.{digits}g}"), 0.0, []
    assume(abs(parts * epochs * every - epochs) < ROUNDING)  # a spec with less than that is refused
    while position < epochs:
        position = next_position(position, every, epochs)
        positions.append(position)
    assert len(positions) == parts * epochs
    assert positions[parts - 1 :: parts] == list(range(1, epochs + 1))


@pytest.mark.parametrize(("asked", "positive"), [(None, "fraud"), ("legit", "legit")])
def test_f1_of_a_trial_is_that_of_the_positive_class(
    asked: str | None, positive: str, spec: FineTuneSpec, tmp_path: Path
) -> None:
    rows = two_columns(tmp_path, text=texts(60), label=["legit", "legit", "fraud"] * 20)
    data = rows.model_copy(update={"max_length": 16, "positive": asked})
    training = FineTuning({}, spec.model_copy(update={"data": data}))
    scores = training.score("test")
    said, labels = np.array(scores.predictions), np.array(scores.labels)
    id_of = training.data.facts.label_names.index(positive)
    right = ((said == id_of) & (labels == id_of)).sum()
    assert scores.metrics["f1"] == pytest.approx(2 * right / ((said == id_of).sum() + (labels == id_of).sum()))


def test_a_shorter_horizon_than_a_report_is_one_report() -> None:
    assert next_position(0.0, 1.0, 0.4) == 0.4
    assert next_position(1.0, 1.0, 1.5) == 1.5
    assert next_position(0.5, 1.0, 4.0) == 1.5  # a clone may start between two multiples


@pytest.mark.parametrize("every", [1 / 3, 0.1, 0.3333333])
def test_no_trial_reports_after_its_last_row(spec: FineTuneSpec, every: float) -> None:
    curve = LearningCurve({}, spec)
    reports = 0
    while curve.epoch < curve.horizon:
        curve.advance(every)
        reports += 1
    assert reports == round(2 / every)


def test_thirds_of_an_epoch_train_on_every_row_once(spec: FineTuneSpec) -> None:
    training = FineTuning({}, spec)
    seen, epochs = [], []
    for _ in range(6):
        epochs.append(training.advance(1 / 3).epoch)
        seen += training.trainer.segment
    size = len(training.data.train)
    assert (epochs[2], epochs[5]) == (1.0, 2.0)
    assert sorted(seen[:size]) == sorted(seen[size:]) == list(range(size))
    assert training.schedule.get_lr() == [0.0, 0.0]


@pytest.mark.parametrize(
    "params",
    [
        {"per_device_train_batch_size": 4096},
        {"gradient_accumulation_steps": 512},
        {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 7},
        {"num_train_epochs": 0.25},
    ],
    ids="-".join,
)
def test_a_step_larger_than_the_split_and_a_horizon_below_a_report_train(
    spec: FineTuneSpec, params: dict[str, float]
) -> None:
    training = FineTuning({"learning_rate": 1e-3, **params}, spec)
    before = training.model.classifier.weight.detach().clone()
    evaluation = training.advance(1)
    assert evaluation.epoch == training.horizon if "num_train_epochs" in params else evaluation.epoch == 1
    assert training.examples == round(evaluation.epoch * len(training.data.train))
    assert not torch.equal(training.model.classifier.weight, before)


def test_a_warm_up_beyond_the_horizon_never_reaches_the_peak(spec: FineTuneSpec) -> None:
    training = FineTuning({"learning_rate": 1e-3, "warmup_steps": 10_000}, spec)
    training.advance(1)
    assert 0 < training.schedule.get_lr()[0] < 1e-4


def test_a_validation_split_of_one_row_is_scored(spec: FineTuneSpec, tmp_path: Path, tiny_data: Path) -> None:
    header, *rows = tiny_data.read_text().splitlines()
    for name, part in (("train", rows[:30]), ("validation", rows[30:31]), ("test", rows[31:60])):
        (tmp_path / f"{name}.csv").write_text("\n".join([header, *part]) + "\n")
    data = DataSpec(path=str(tmp_path), text=("text",), label="label", max_length=32)
    scores = FineTuning({}, spec.model_copy(update={"data": data})).score("validation")
    assert scores.rows == 1
    assert scores.metrics["accuracy"] in (0.0, 1.0)
    assert all(map(math.isfinite, scores.metrics.values()))


def test_regression_on_two_texts_learns_the_number(
    numbers: Path, tiny_model: Path, spec: FineTuneSpec, tmp_path: Path
) -> None:
    regression = spec.model_copy(
        update={
            "task": "text_regression",
            "data": DataSpec(path=str(numbers), text=("question", "answer"), label="score", max_length=32),
            "epochs": 8.0,
            "objective": Objective(metric="mse", mode="min"),
        }
    )
    training = FineTuning({"learning_rate": 3e-3, "model.hidden_dropout_prob": 0.0}, regression)
    before = training.score("validation").metrics
    reports = [training.advance(1) for _ in range(8)]
    after = reports[-1].metrics
    assert after["mse"] < 0.5 * before["mse"]
    assert after["pearson"] > 0.7
    assert after["loss"] == pytest.approx(after["mse"])  # the loss of regression is the squared error
    training.save(tmp_path)
    again = FineTuning({}, regression)
    again.restore(tmp_path)
    assert again.score("validation").metrics == after


@pytest.mark.parametrize("optim", ["sgd", "adafactor", "adamw_torch"])
def test_another_optimizer_goes_on_from_its_own_state_with_the_clones_values(
    spec: FineTuneSpec, tmp_path: Path, optim: str
) -> None:
    donor = FineTuning({"optim": optim, "learning_rate": 1e-2, "weight_decay": 0.2}, spec)
    donor.advance(1)
    donor.save(tmp_path)
    clone = FineTuning({"optim": optim, "learning_rate": 4e-3, "weight_decay": 0.05}, spec)
    clone.restore(tmp_path)
    assert [group["lr"] for group in clone.optimizer.param_groups] == pytest.approx([2e-3, 2e-3])  # half way
    assert [group["weight_decay"] for group in clone.optimizer.param_groups] == [0.05, 0.0]
    theirs, ours = donor.optimizer.state_dict()["state"], clone.optimizer.state_dict()["state"]
    assert theirs.keys() == ours.keys()
    for state, copied in zip(theirs.values(), ours.values(), strict=True):
        assert str(state) == str(copied)
    report = clone.advance(1)
    assert (report.params["learning_rate"], report.params["weight_decay"]) == (4e-3, 0.05)
    assert math.isfinite(report.metrics["loss"])


def test_only_values_that_the_optimizer_has_are_in_force(spec: FineTuneSpec) -> None:
    assert {"adam_beta1", "adam_beta2", "adam_epsilon"} <= FineTuning({}, spec).in_force().keys()
    assert not [name for name in FineTuning({"optim": "sgd"}, spec).in_force() if name.startswith("adam")]


def test_more_tokens_than_the_model_has_positions_for_are_refused(spec: FineTuneSpec) -> None:
    with pytest.raises(TaskError, match=r"data.max_length: 200: the model takes at most 128 tokens; lower it"):
        FineTuning({"data.max_length": 200}, spec)
