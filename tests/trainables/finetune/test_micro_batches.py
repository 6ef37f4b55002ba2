"""A device that runs out of memory: the batch is computed in parts, and the trial stays what it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from trainables.distributed.micro_batches import Batch, DeviceMemoryError, MicroBatches
from trainables.finetune.finetune import FineTuning
from trainables.spec import FineTuneSpec

pytestmark = pytest.mark.unit

STILL = {"model.hidden_dropout_prob": 0.0, "model.attention_probs_dropout_prob": 0.0, "learning_rate": 3e-3}


@pytest.fixture(scope="module")
def spec(tiny_spec: FineTuneSpec) -> FineTuneSpec:
    return tiny_spec


def small_device(training: FineTuning, rows: int, *, after_backward: bool = False) -> list[int]:
    """Let the encoder run out of memory above `rows` rows, going forward, or half way back; returns the sizes seen."""
    sizes: list[int] = []

    def full(size: int) -> None:
        if size > rows:
            raise torch.OutOfMemoryError(f"CUDA out of memory: {size} rows")

    def forward(module: Any, args: Any) -> None:
        sizes.append(len(args[0]))
        if not after_backward or not torch.is_grad_enabled():
            full(sizes[-1])

    training.model.base_model.register_forward_pre_hook(forward)
    if after_backward:  # the head's gradients are there by then, the encoder's are not
        layer = training.model.base_model.encoder.layer[0]
        layer.register_full_backward_hook(lambda module, into, out: full(len(out[0])))
    return sizes


@pytest.mark.parametrize("after_backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize(
    "params",
    [
        {"per_device_train_batch_size": 16},
        {"per_device_train_batch_size": 13, "gradient_accumulation_steps": 3},
        {"per_device_train_batch_size": 13, "label_smoothing_factor": 0.2},
        {"per_device_train_batch_size": 7, "gradient_accumulation_steps": 2, "optim": "sgd", "learning_rate": 0.1},
    ],
    ids=["even", "accumulated", "smoothed", "sgd"],
)
def test_a_trial_in_parts_scores_as_the_whole_one(
    spec: FineTuneSpec, params: dict[str, Any], after_backward: bool
) -> None:
    whole, parts = (FineTuning({**STILL, **params}, spec) for _ in range(2))
    sizes = small_device(parts, rows=5, after_backward=after_backward)
    expected, found = whole.advance(1), parts.advance(1)
    assert found.metrics.pop("micro_batch_size") <= 5
    assert max(sizes[-10:]) <= 5
    assert found.metrics == pytest.approx(expected.metrics, rel=1e-4)
    assert found.params == expected.params  # the batch size in force is the one that was searched
    assert parts.examples == whole.examples
    if params.get("optim") != "sgd":
        return  # Adam divides by the gradient's own size: where that is rounding alone, so is the step
    for ours, theirs in zip(parts.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=2e-5)


def test_regression_in_parts_trains_on_the_mean_over_all_rows(spec: FineTuneSpec) -> None:
    training = FineTuning({}, spec)
    training.model.config.problem_type = "regression"
    head = lambda **inputs: type("Output", (), {"logits": inputs["x"]})()  # noqa: E731
    batch = {"x": torch.arange(7.0)[:, None], "labels": torch.ones(7)}
    whole = training.trainer.compute_loss(head, batch, num_items_in_batch=7)
    cut = [{name: values[part] for name, values in batch.items()} for part in (slice(0, 4), slice(4, 7))]
    parts = [training.trainer.compute_loss(head, part, num_items_in_batch=7) for part in cut]
    torch.testing.assert_close(sum(parts), whole)
    torch.testing.assert_close(whole, torch.nn.functional.mse_loss(batch["x"].squeeze(-1), batch["labels"]))


def test_dropout_after_running_out_is_that_of_a_step_that_began_in_parts(spec: FineTuneSpec) -> None:
    params = {
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 2,
        "learning_rate": 3e-3,
        "model.hidden_dropout_prob": 0.3,
    }
    padded = spec.model_copy(update={"pad_to_multiple_of": 32})  # to one length: what fits is a number of tokens
    running_out, from_the_start, other_masks = (FineTuning(params, padded) for _ in range(3))
    small_device(running_out, rows=4, after_backward=True)
    from_the_start.trainer.training_parts.tokens = other_masks.trainer.training_parts.tokens = 4 * 32
    losses = []
    for training, seed in ((running_out, 5), (from_the_start, 5), (other_masks, 6)):
        torch.manual_seed(seed)
        losses.append(training.advance(1).metrics["loss"])
    # Rounding alone: where the buffers lie decides how sums are grouped.
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert losses[2] != pytest.approx(losses[0], rel=1e-5)


def test_an_evaluation_that_does_not_fit_is_scored_in_parts(spec: FineTuneSpec) -> None:
    training = FineTuning({}, spec)
    expected = training.score("validation")
    sizes = small_device(training, rows=3)
    found = training.score("validation")
    assert found.metrics == pytest.approx(expected.metrics, rel=1e-5)
    assert max(sizes[5:]) <= 3
    assert "micro_batch_size" not in training.advance(1e-9).metrics  # training never ran out


def test_a_row_that_does_not_fit_fails_the_trial_with_what_to_do(spec: FineTuneSpec) -> None:
    training = FineTuning({"per_device_train_batch_size": 4}, spec)
    small_device(training, rows=0)
    with pytest.raises(DeviceMemoryError, match=r"1 row of \d+ tokens does not fit .* lower data\.max_length"):
        training.advance(1)


def test_the_next_trial_starts_with_whole_batches_again(spec: FineTuneSpec) -> None:
    first = FineTuning(STILL, spec)
    small_device(first, rows=4)
    assert first.advance(0.25).metrics["micro_batch_size"] == 4
    second = FineTuning(STILL, spec)
    assert "micro_batch_size" not in second.advance(0.25).metrics


def batch(rows: int, length: int) -> Batch:
    return {"input_ids": torch.zeros(rows, length)}


def test_a_batch_of_long_texts_that_does_not_fit_makes_no_smaller_parts_of_short_ones() -> None:
    parts, shapes = MicroBatches(), list[tuple[int, ...]]()

    def compute(part: Batch) -> None:
        if part["input_ids"].numel() > 300:
            raise torch.OutOfMemoryError("CUDA out of memory")
        shapes.append(tuple(part["input_ids"].shape))

    while parts.attempt(compute, [batch(8, 64)]) is None:
        pass
    assert shapes == [(4, 64), (4, 64)]
    shapes.clear()
    parts.attempt(compute, [batch(8, 16), batch(3, 64), batch(2, 256)])
    assert shapes == [(8, 16), (3, 64), (1, 256), (1, 256)]
    assert parts.rows == 1  # the smallest part


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_a_library_that_cannot_allocate_on_the_device_is_a_lack_of_memory(message: str) -> None:
    parts = MicroBatches()
    assert parts.attempt(fail_with(RuntimeError(message)), [batch(4, 2)]) is None
    assert parts.tokens == 4
    with pytest.raises(DeviceMemoryError, match="a batch of 1 row of 2 tokens does not fit"):
        parts.attempt(fail_with(RuntimeError(message)), [batch(1, 2)])


def test_another_error_is_not_taken_for_a_lack_of_memory() -> None:
    with pytest.raises(RuntimeError, match="device-side assert"):
        MicroBatches().attempt(fail_with(RuntimeError("device-side assert")), [{"input_ids": torch.zeros(4, 2)}])


def fail_with(error: Exception) -> Any:
    def compute(batch: Any) -> None:
        raise error

    return compute
