"""The CUDA side of a trial. Run on a machine with a GPU: `pytest -m gpu`; skipped elsewhere."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from trainables.finetune.finetune import FineTuning
from trainables.spec import FineTuneSpec, Subset

pytestmark = [pytest.mark.gpu, pytest.mark.system]


@pytest.fixture(scope="module")
def spec(tiny_spec: FineTuneSpec) -> FineTuneSpec:
    all_rows = tiny_spec.data.model_copy(update={"subset": Subset()})
    return tiny_spec.model_copy(update={"precision": "auto", "data": all_rows})


def test_a_trial_trains_on_one_device_in_bf16_where_it_has_it(spec: FineTuneSpec) -> None:
    training = FineTuning({"learning_rate": 3e-3}, spec)
    training.advance(1)
    assert training.model.device.type == "cuda"
    assert training.trainer.args.n_gpu == 1
    assert training.trainer.args.bf16 == torch.cuda.is_bf16_supported(including_emulation=False)
    assert next(training.model.parameters()).dtype == torch.float32  # autocast: the master weights stay in fp32
    assert training.provenance["device_name"] == torch.cuda.get_device_name()


def test_a_deterministic_trial_repeats_bit_for_bit_from_a_state_of_it_as_well(
    spec: FineTuneSpec, tmp_path: Path
) -> None:
    spec = spec.model_copy(update={"deterministic": True})
    first, again = FineTuning({"learning_rate": 3e-3}, spec), FineTuning({"learning_rate": 3e-3}, spec)
    assert first.advance(1) == again.advance(1)
    first.save(tmp_path)
    restored = FineTuning({"learning_rate": 3e-3}, spec)
    restored.restore(tmp_path)
    assert restored.advance(1) == first.advance(1) == again.advance(1)
    assert first.provenance["deterministic"] is True
    FineTuning({}, spec.model_copy(update={"deterministic": False}))
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(("precision", "found"), [("tf32", "tf32"), ("fp32", "ieee")])
def test_products_of_fp32_are_rounded_where_the_spec_says_so(spec: FineTuneSpec, precision: str, found: str) -> None:
    if torch.cuda.get_device_capability()[0] < 8:
        pytest.skip("this GPU has no TF32")
    training = FineTuning({}, spec.model_copy(update={"precision": precision}))
    assert torch.backends.cuda.matmul.fp32_precision == found
    assert training.provenance["precision"] == precision


GROWING = """
import json, sys, torch
from trainables.lookup import build_training
from trainables.spec import FineTuneSpec
spec = FineTuneSpec.model_validate_json(sys.stdin.read())
training = build_training({}, spec)
training.advance(1)
segments = torch.cuda.memory_snapshot()
print(json.dumps([[s["is_expandable"] for s in segments], training.provenance.get("expandable_segments")]))
"""


@pytest.mark.parametrize("expandable", [True, False])
def test_segments_grow_where_the_spec_says_so(spec: FineTuneSpec, expandable: bool) -> None:
    asked = spec.model_copy(update={"expandable_segments": expandable}).model_dump_json()
    line = [sys.executable, "-c", GROWING]  # a process of its own: CUDA has been used in this one
    output = subprocess.run(line, input=asked, check=True, capture_output=True, text=True).stdout
    segments, recorded = json.loads(output.splitlines()[-1])
    assert set(segments) == {expandable}
    assert recorded is (True if expandable else None)


def test_reports_leave_the_memory_of_the_device_allocated(spec: FineTuneSpec) -> None:
    training = FineTuning({}, spec)
    training.advance(0.25)
    before = torch.cuda.memory_stats()["num_device_free"]
    for _ in range(3):
        training.advance(0.25)
    assert torch.cuda.memory_stats()["num_device_free"] == before


def test_a_clone_takes_state_and_keeps_its_values_on_the_device(spec: FineTuneSpec, tmp_path: Path) -> None:
    donor = FineTuning({"learning_rate": 3e-3, "weight_decay": 0.2}, spec)
    score = donor.advance(1).metrics
    donor.save(tmp_path)
    clone = FineTuning({"learning_rate": 1e-3, "weight_decay": 0.1, "per_device_train_batch_size": 8}, spec)
    clone.restore(tmp_path)
    assert clone.score("validation").metrics["loss"] == pytest.approx(score["loss"], rel=1e-3)
    assert {state["exp_avg"].device.type for state in clone.optimizer.state.values()} == {"cuda"}
    assert clone.optimizer.param_groups[0]["lr"] == pytest.approx(1e-3 * 3 / 4)
    assert clone.optimizer.param_groups[0]["weight_decay"] == 0.1
    assert clone.advance(1).epoch == 2


def test_no_step_waits_for_the_device(spec: FineTuneSpec) -> None:
    training = FineTuning({"per_device_train_batch_size": 8, "label_smoothing_factor": 0.1}, spec)
    training.advance(0.25)
    step = training.trainer.training_step

    def watched(*args: Any, **kwargs: Any) -> torch.Tensor:
        torch.cuda.set_sync_debug_mode("error")  # from the first forward to the last optimizer step
        return step(*args, **kwargs)

    class Quiet(TrainerCallback):  # type: ignore[misc]
        def on_epoch_end(self, *args: Any, **kwargs: Any) -> None:
            torch.cuda.set_sync_debug_mode("default")

    training.trainer.training_step = watched
    training.trainer.add_callback(Quiet())
    try:
        training.advance(0.5)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_device_that_really_runs_out_is_left_with_smaller_batches(spec: FineTuneSpec) -> None:
    spec = spec.model_copy(update={"model": "minilm"})  # most of what it takes are activations

    def trained(rows: int) -> tuple[dict[str, Any], int]:
        """Metrics of one epoch, and the most bytes that the process held for it."""
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        metrics = dict(FineTuning({"per_device_train_batch_size": rows}, spec).advance(1).metrics)
        return metrics, torch.cuda.max_memory_reserved()

    expected, whole = trained(256)
    _, part = trained(16)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((whole + part) / 2 / total)
    try:
        found, _ = trained(256)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert found.pop("micro_batch_size") < 256
    assert found["loss"] == pytest.approx(expected["loss"], rel=0.05)  # other dropout masks


def test_thirty_trials_in_one_process_leave_no_memory_behind(spec: FineTuneSpec) -> None:
    FineTuning({}, spec).advance(0.25)
    before = torch.cuda.memory_allocated()
    for _ in range(30):
        FineTuning({}, spec).advance(0.25)
    assert torch.cuda.memory_allocated() <= before * 1.05 + 2**20
