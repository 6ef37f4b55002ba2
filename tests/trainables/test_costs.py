"""Costs are metrics beside the scores: only where they are asked for, and without an effect on the training."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch.utils.data import IterableDataset
from transformers import Trainer

from tests.support.user_trainers import rows, trainer
from trainables.costs import ROWS, MeasuredTraining, median_milliseconds, spread_rows
from trainables.errors import InputError
from trainables.finetune.finetune import FineTuning
from trainables.learning_curve import LearningCurve
from trainables.lookup import build_training
from trainables.machine import clock
from trainables.metrics import COSTS, direction_of
from trainables.spec import FineTuneSpec, Objective
from trainables.user_trainer.user_training import UserTraining

pytestmark = pytest.mark.unit

OF_MODEL = ("latency_ms", "parameters", "model_bytes")
ACCURACY = Objective(metric="accuracy", mode="max")
CURVE = FineTuneSpec(trainable="learning_curve", task="reviews", epochs=4, objective=ACCURACY)
SLOW = {"learning_rate": 1e-3, "model.seconds_per_epoch": 10.0}


class Watch:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch()
    with clock.use(watch):
        yield watch


def measured(params: dict[str, Any], spec: FineTuneSpec, devices: float = 1) -> MeasuredTraining:
    training = build_training(params, spec, devices=devices)
    assert isinstance(training, MeasuredTraining)
    return training


def test_latency_is_the_median_over_rows_of_the_fastest_pass(watch: Watch) -> None:
    passes: dict[int, int] = {}

    def run(row: int) -> None:
        passes[row] = passes.get(row, 0) + 1
        watch.sleep(row / 1000 + (1.0 if passes[row] < 3 else 0.0))  # twice something else has the machine

    assert median_milliseconds(run, [10, 20, 60], seconds=1e6) == pytest.approx(20)


def test_no_pass_begins_after_the_time_and_one_is_made_in_any_case(watch: Watch) -> None:
    calls: list[int] = []

    def run(row: int) -> None:
        calls.append(row)
        watch.sleep(1.0)

    assert median_milliseconds(run, [0, 1, 2, 3], seconds=0.0) == pytest.approx(1000)
    assert calls == [0, 1, 0, 1, 2, 3]
    calls.clear()
    median_milliseconds(run, [0, 1, 2, 3], seconds=5.0)
    assert calls == [0, 1, *[0, 1, 2, 3] * 2]


@pytest.mark.parametrize("count", [1, 5, ROWS, 48, 1000])
def test_timed_rows_are_distinct_and_lie_evenly(count: int) -> None:
    chosen = spread_rows(count)
    assert len(set(chosen)) == min(count, ROWS)
    assert chosen == sorted(chosen)
    assert 0 <= chosen[0] <= count // 16
    assert count - 1 - count // 16 <= chosen[-1] < count


def test_training_seconds_count_devices_and_what_donors_trained(watch: Watch, tmp_path: Path) -> None:
    spec = CURVE.model_copy(update={"measure": ("train_device_seconds",)})
    donor = measured(SLOW, spec, devices=2)
    watch.sleep(100)  # a slot that waits does not train
    assert donor.advance(1).metrics["train_device_seconds"] == pytest.approx(20)
    assert donor.advance(1).metrics["train_device_seconds"] == pytest.approx(40)
    donor.save(tmp_path)
    clone = measured(SLOW, spec, devices=2)
    clone.restore(tmp_path)
    assert clone.advance(1).metrics["train_device_seconds"] == pytest.approx(60)
    assert clone.score("test").metrics["train_device_seconds"] == pytest.approx(60)


def test_nothing_is_measured_unless_it_is_asked_for() -> None:
    assert isinstance(build_training({}, CURVE), LearningCurve)
    named = CURVE.model_copy(update={"objective": Objective(metric="train_device_seconds", mode="min")})
    assert named.costs == ("train_device_seconds",)
    assert measured({}, named).advance(1).metrics.keys() == {"accuracy", "loss", "train_device_seconds"}


def test_a_fine_tuning_has_every_cost_and_the_bits_of_one_without(tiny_spec: FineTuneSpec, tmp_path: Path) -> None:
    params = {"learning_rate": 3e-3, "model.hidden_dropout_prob": 0.3}
    plain = FineTuning(params, tiny_spec)
    expected = [plain.advance(1) for _ in range(2)]
    training = measured(params, tiny_spec.model_copy(update={"measure": COSTS}))
    found = [training.advance(1) for _ in range(2)]
    assert [
        evaluation._replace(metrics={k: v for k, v in evaluation.metrics.items() if k not in COSTS})
        for evaluation in found
    ] == expected
    first, second = (evaluation.metrics for evaluation in found)
    assert first["parameters"] == sum(p.numel() for p in plain.model.parameters())
    assert first["model_bytes"] >= 4 * first["parameters"]
    assert 0 < first["latency_ms"] < 10_000
    assert all(first[name] == second[name] for name in OF_MODEL)
    assert 0 < first["train_device_seconds"] < second["train_device_seconds"]
    training.save(tmp_path, weights_only=True)
    scored = measured(params, tiny_spec.model_copy(update={"measure": COSTS}))
    scored.restore(tmp_path, weights_only=True)
    test = scored.score("test").metrics
    assert {name: test[name] for name in COSTS} == {name: second[name] for name in COSTS}


def test_more_layers_cost_more_parameters_bytes_and_time(tiny_spec: FineTuneSpec) -> None:
    spec = tiny_spec.model_copy(update={"measure": OF_MODEL})
    one, many = (FineTuning({"model.num_hidden_layers": layers}, spec) for layers in (1, 2))
    small, large = (training.model_costs(OF_MODEL, 0.0) for training in (one, many))
    assert small["parameters"] < large["parameters"]
    assert small["model_bytes"] < large["model_bytes"]


def trained(spec: FineTuneSpec, **given: Any) -> UserTraining:
    return UserTraining(lambda params: trainer(params, **given), {}, spec)


def test_a_users_trainer_has_every_cost_and_the_bits_of_one_without() -> None:
    spec = FineTuneSpec(trainable="mine:make", epochs=2, seed=3, objective=ACCURACY)
    plain = trained(spec)  # one after the other: a process has one random state
    expected = [plain.advance(1).metrics for _ in range(2)]
    own = trained(spec)
    training = MeasuredTraining(own, COSTS, 1)
    for metrics in expected:
        evaluation = training.advance(1)
        assert {k: v for k, v in evaluation.metrics.items() if k not in COSTS} == metrics
        assert evaluation.metrics.keys() >= set(COSTS)
    weights = [torch.cat([p.flatten() for p in one.trainer.model.parameters()]) for one in (plain, own)]
    assert torch.equal(*weights)
    assert evaluation.metrics["parameters"] == len(weights[0])


class Stream(IterableDataset[Any]):
    """Rows whose number is not known."""

    def __iter__(self) -> Iterator[Any]:
        return iter(rows(40, seed=1))


@pytest.mark.parametrize(
    "validation", [rows(5, seed=1), list(rows(40, seed=1)), Stream(), {"a": rows(20, seed=1), "b": rows(4, seed=2)}]
)
def test_rows_of_every_kind_are_timed_one_by_one(validation: Any) -> None:
    sizes: set[int] = set()

    class Noting(Trainer):  # type: ignore[misc]
        def prediction_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            sizes.add(len(inputs["labels"]))
            return super().prediction_step(model, inputs, *args, **kwargs)

    spec = FineTuneSpec(trainable="mine:make", epochs=1, objective=Objective(metric="loss", mode="min"))
    training = trained(spec, kind=Noting, eval_dataset=validation)
    training.advance(1)
    assert 1 not in sizes
    assert training.model_costs(["latency_ms"], 0.0)["latency_ms"] > 0
    assert 1 in sizes


def test_an_own_class_reports_them_itself_or_is_told_so() -> None:
    class Own(LearningCurve):
        def score(self, split: Any) -> Any:
            scores = super().score(split)
            return scores._replace(metrics={**scores.metrics, "latency_ms": 7.0})

    own = MeasuredTraining(Own({}, CURVE), ["latency_ms"], 1)
    assert own.advance(1).metrics["latency_ms"] == 7.0
    with pytest.raises(InputError, match=r"latency_ms.*LearningCurve has no method model_costs.*report these metrics"):
        MeasuredTraining(LearningCurve({}, CURVE), ["latency_ms"], 1).advance(1)


def test_less_of_each_cost_is_better() -> None:
    assert {direction_of(cost) for cost in COSTS} == {"min"}


def test_timing_a_row_waits_until_it_is_computed(tiny_spec: FineTuneSpec) -> None:
    from trainables.finetune.latency import row_latency

    training = FineTuning({}, tiny_spec)
    held: Dataset = training.data.validation
    training.model.register_forward_pre_hook(lambda *given: time.sleep(0.01))
    assert row_latency(training.trainer, held, 0.0) >= 10
