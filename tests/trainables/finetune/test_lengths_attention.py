"""A trial that attends by the lengths of its rows comes to what the masked one comes to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from tests.support.attention import RowByRow
from tests.support.reads import reads
from trainables.finetune.finetune import FineTuning
from trainables.finetune.lengths_attention import (
    FlashKernel,
    attend_by_lengths,
    can_attend_by_lengths,
    may_attend_by_lengths,
    of_batch,
)
from trainables.spec import FineTuneSpec

NO_DROPOUT = {"model.hidden_dropout_prob": 0.0, "model.attention_probs_dropout_prob": 0.0}


@pytest.fixture(scope="module")
def spec(tiny_spec: FineTuneSpec) -> FineTuneSpec:
    return tiny_spec


def pair(spec: FineTuneSpec, **params: Any) -> tuple[FineTuning, FineTuning, RowByRow]:
    """Returns a trial as it is on a CPU, and one that attends by lengths, with its kernel."""
    plain, by_lengths = (FineTuning({"learning_rate": 1e-3, **params}, spec) for _ in range(2))
    kernel = RowByRow()
    attend_by_lengths(by_lengths.model, kernel)
    return plain, by_lengths, kernel


@pytest.mark.unit
def test_training_and_evaluation_come_to_the_same(spec: FineTuneSpec) -> None:
    plain, by_lengths, kernel = pair(spec, **NO_DROPOUT)
    expected, found = plain.advance(1.0), by_lengths.advance(1.0)
    assert found.metrics == pytest.approx(expected.metrics, rel=1e-4)
    assert kernel.calls > 6  # steps and evaluation
    for one, other in zip(plain.model.parameters(), by_lengths.model.parameters(), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-4)


@pytest.mark.unit
def test_dropout_of_attention_has_the_mask_in_training_and_lengths_in_an_evaluation(spec: FineTuneSpec) -> None:
    plain, by_lengths, kernel = pair(spec, **{"model.attention_probs_dropout_prob": 0.2})
    plain.train_on(0.5)
    by_lengths.train_on(0.5)
    assert kernel.calls == 0
    assert by_lengths.score("validation").metrics == pytest.approx(plain.score("validation").metrics, rel=1e-4)
    assert kernel.calls > 0


@pytest.mark.unit
def test_parts_of_a_batch_have_their_own_lengths(spec: FineTuneSpec) -> None:
    plain, by_lengths, _ = pair(spec, **NO_DROPOUT)
    by_lengths.trainer.training_parts.tokens = by_lengths.trainer.scoring_parts.tokens = 3 * 32
    expected, found = plain.advance(0.5), by_lengths.advance(0.5)
    assert found.metrics.pop("micro_batch_size") < 16
    assert found.metrics == pytest.approx(expected.metrics, rel=1e-4)


def decoder() -> LlamaForSequenceClassification:
    """Returns a decoder whose query heads share keys."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 64}
    return LlamaForSequenceClassification(
        LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2, pad_token_id=0, use_cache=False)
    )


def batch(lengths: list[int], width: int) -> dict[str, torch.Tensor]:
    """Returns rows of random tokens, padded on the right."""
    mask = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
    ids = torch.randint(1, 64, mask.shape, generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids * mask, "attention_mask": mask.long()}


@pytest.mark.unit
def test_gradients_of_a_decoder_are_the_masked_ones() -> None:
    models, kernel = (decoder(), decoder()), RowByRow()
    assert may_attend_by_lengths(models[1])
    attend_by_lengths(models[1], kernel)
    inputs = batch([3, 9, 1, 12], 12)
    of_batch(inputs["attention_mask"].numpy().astype(bool), torch.device("cpu"))
    for model in models:
        torch.nn.functional.cross_entropy(model(**inputs).logits, torch.tensor([0, 1, 1, 0])).backward()
    assert kernel.calls == 2
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad)


@pytest.mark.unit
def test_gradients_of_layers_that_are_computed_again_are_the_same() -> None:
    models = decoder().train(), decoder().train()
    attend_by_lengths(models[1], RowByRow())
    models[1].gradient_checkpointing_enable()
    inputs = batch([3, 9], 9)
    of_batch(inputs["attention_mask"].numpy().astype(bool), torch.device("cpu"))
    for model in models:
        model(**inputs).logits.sum().backward()
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad)


@pytest.mark.unit
def test_a_batch_without_padding_needs_neither_mask_nor_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    model, kernel = decoder().eval(), RowByRow()
    expected = model(**batch([7, 7], 7)).logits
    attend_by_lengths(model, kernel)
    of_batch(np.ones((2, 7), dtype=bool), torch.device("cpu"))
    masks = []
    attend = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda *heads, **named: (masks.append(named["attn_mask"]), attend(*heads, **named))[1],
    )
    assert torch.equal(model(**batch([7, 7], 7)).logits, expected)
    assert kernel.calls == 0
    assert masks == [None, None]


@pytest.mark.unit
def test_a_batch_of_another_shape_has_its_own_mask() -> None:
    model = decoder().eval()
    expected = model(**batch([4, 7], 7)).logits
    attend_by_lengths(model, RowByRow())
    of_batch(np.ones((3, 5), dtype=bool), torch.device("cpu"))  # as where something else computes with the model
    torch.testing.assert_close(model(**batch([4, 7], 7)).logits, expected)


class ReadsNothing(RowByRow):
    """A kernel that reads no values of its tensors, as that of a GPU; what it computes is no attention."""

    def __call__(self, query: torch.Tensor, *others: Any, **named: Any) -> torch.Tensor:
        """Returns the queries."""
        return query


@pytest.mark.unit
def test_more_steps_read_no_more_values(spec: FineTuneSpec) -> None:
    training = FineTuning({"per_device_train_batch_size": 8, **NO_DROPOUT}, spec)
    attend_by_lengths(training.model, ReadsNothing())
    few, many = reads(training, 0.25), reads(training, 0.75)
    assert many == few > 0


@pytest.mark.unit
@pytest.mark.parametrize(("capability", "takes"), [((9, 0), True), ((8, 0), True), ((7, 5), False)])
def test_a_gpu_that_has_the_kernel_gives_it_to_models_without_a_decoder_beside_the_encoder(
    capability: tuple[int, int], takes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    model = decoder()
    assert can_attend_by_lengths(model) is takes
    model.config.is_encoder_decoder = True
    assert not can_attend_by_lengths(model)


@pytest.mark.unit
def test_the_kernel_of_torch_takes_equal_heads_in_half_precision() -> None:
    def heads(width: int, dtype: torch.dtype) -> torch.Tensor:
        return torch.zeros(1, 2, 3, width, dtype=dtype)

    kernel, half = FlashKernel(), torch.bfloat16
    assert kernel.takes(heads(64, half), heads(64, half))
    assert not kernel.takes(heads(64, torch.float32), heads(64, torch.float32))
    assert not kernel.takes(heads(64, half), heads(32, half))
    assert not kernel.takes(heads(20, half), heads(20, half))
    assert not kernel.takes(heads(264, half), heads(264, half))


@pytest.mark.gpu
@pytest.mark.system
@pytest.mark.parametrize("causal", [True, False])
def test_the_kernel_of_torch_computes_what_rows_by_themselves_come_to(causal: bool) -> None:
    if torch.cuda.get_device_capability()[0] < 8:
        pytest.skip("this GPU does not have the kernel")
    lengths = [3, 300, 1, 512]
    bounds = torch.tensor([0, *np.cumsum(lengths).tolist()], dtype=torch.int32, device="cuda")
    query = torch.randn(sum(lengths), 8, 64, dtype=torch.bfloat16, device="cuda")
    key, value = torch.randn(2, sum(lengths), 2, 64, dtype=torch.bfloat16, device="cuda")
    found, expected = (
        kernel(query, key, value, bounds, 512, scale=None, causal=causal) for kernel in (FlashKernel(), RowByRow())
    )
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)


@pytest.mark.gpu
@pytest.mark.system
def test_a_trial_on_a_gpu_attends_by_lengths(spec: FineTuneSpec) -> None:
    spec = spec.model_copy(update={"precision": "bf16"})
    plain, by_lengths = (FineTuning(NO_DROPOUT, spec) for _ in range(2))
    attend_by_lengths(by_lengths.model)
    assert by_lengths.advance(0.5).metrics["loss"] == pytest.approx(plain.advance(0.5).metrics["loss"], rel=2e-2)
