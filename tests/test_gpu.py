"""The CUDA side of a trial. Run on a machine with a GPU: `pytest -m gpu`; skipped elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trainables.finetune import FineTuning
from trainables.spec import FineTuneSpec

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def spec(tiny_spec: FineTuneSpec) -> FineTuneSpec:
    return tiny_spec.model_copy(update={"precision": "auto"})


def test_a_trial_trains_on_one_device_in_bf16_where_it_has_it(spec: FineTuneSpec) -> None:
    training = FineTuning({"learning_rate": 3e-3}, spec)
    training.advance(1)
    assert training.model.device.type == "cuda"
    assert training.trainer.args.n_gpu == 1
    assert training.trainer.args.bf16 == torch.cuda.is_bf16_supported()
    assert next(training.model.parameters()).dtype == torch.float32  # autocast: the master weights stay in fp32
    assert training.provenance["device_name"] == torch.cuda.get_device_name()


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


def test_thirty_trials_in_one_process_leave_no_memory_behind(spec: FineTuneSpec) -> None:
    FineTuning({}, spec).advance(0.25)
    before = torch.cuda.memory_allocated()
    for _ in range(30):
        FineTuning({}, spec).advance(0.25)
    assert torch.cuda.memory_allocated() <= before * 1.05 + 2**20
