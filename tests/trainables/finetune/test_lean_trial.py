"""A trial does not wait for the device at each step, keep memory, or change its process."""

from __future__ import annotations

import gc
import random
import shutil
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from tests.support.reads import reads
from trainables.errors import InputError
from trainables.finetune.arguments import padding_multiple
from trainables.finetune.finetune import FineTuning
from trainables.finetune.garbage import freeze_what_is_imported
from trainables.finetune.numerics import precision_in_force
from trainables.finetune.segment_trainer import MASKED_SDPA, always_mask, needs_no_check
from trainables.spec import FineTuneSpec


@pytest.fixture(scope="module")
def spec(tiny_spec: FineTuneSpec) -> FineTuneSpec:
    return tiny_spec


@pytest.mark.unit
@pytest.mark.parametrize(
    "params",
    [{}, {"gradient_accumulation_steps": 2, "label_smoothing_factor": 0.1}, {"max_grad_norm": 0.0}],
    ids=["plain", "accumulated", "unclipped"],
)
def test_more_steps_read_no_more_values(spec: FineTuneSpec, params: dict[str, Any]) -> None:
    training = FineTuning({"per_device_train_batch_size": 8, **params}, spec)
    always_mask(training.model)  # as on a GPU
    few, many = reads(training, 0.25), reads(training, 0.75)
    assert many == few > 0  # what a segment reads at its end, steps do not


@pytest.mark.unit
def test_a_mask_that_is_always_built_changes_no_score(spec: FineTuneSpec) -> None:
    plain, masked = (FineTuning({"model.hidden_dropout_prob": 0.0}, spec) for _ in range(2))
    always_mask(masked.model)
    assert masked.model.config._attn_implementation == MASKED_SDPA
    assert masked.advance(0.25).metrics == pytest.approx(plain.advance(0.25).metrics, rel=1e-5)


@pytest.mark.unit
def test_a_mask_is_always_built_for_short_texts_and_neither_for_decoders_nor_for_shared_keys(
    spec: FineTuneSpec,
) -> None:
    encoder = FineTuning({}, spec).model
    assert needs_no_check(encoder, 256)
    assert not needs_no_check(encoder, 257)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    decoder = LlamaForSequenceClassification(LlamaConfig(**sizes, vocab_size=8, pad_token_id=0))
    assert not needs_no_check(decoder, 16)
    encoder.config.num_key_value_heads = 1
    assert not needs_no_check(encoder, 16)


@pytest.mark.unit
def test_batches_are_padded_to_the_multiple_of_the_spec(spec: FineTuneSpec) -> None:
    training = FineTuning({}, spec.model_copy(update={"pad_to_multiple_of": 16}))
    widths: set[int] = set()
    training.model.base_model.register_forward_pre_hook(lambda module, args: widths.add(args[0].shape[1]))
    metrics = training.score("validation").metrics
    assert widths <= {16, 32}
    assert metrics == pytest.approx(FineTuning({}, spec).score("validation").metrics, rel=1e-5)


@pytest.mark.unit
def test_a_multiple_keeps_to_the_positions_of_the_model(spec: FineTuneSpec) -> None:
    compiled = spec.model_copy(update={"compile": True})
    assert padding_multiple(compiled, 100, 128) == 32
    assert padding_multiple(compiled, 100, 110) == 8
    with pytest.raises(InputError, match=r"pad_to_multiple_of: 64: pads rows of 100 tokens to 128; the model takes"):
        padding_multiple(spec.model_copy(update={"pad_to_multiple_of": 64}), 100, 120)


@pytest.mark.unit
def test_a_trial_that_is_over_is_gone(spec: FineTuneSpec) -> None:
    FineTuning({}, spec).advance(0.1)
    gone = []
    for _ in range(3):
        training = FineTuning({}, spec)
        training.advance(0.1)
        gone.append(weakref.ref(training.model))
        del training
    gc.collect()
    assert [model() for model in gone] == [None] * 3


@pytest.mark.unit
def test_what_is_imported_is_left_out_of_garbage_collection(spec: FineTuneSpec) -> None:
    gc.unfreeze()  # the test run itself has left out what its files import
    freeze_what_is_imported.cache_clear()
    FineTuning({}, spec)
    assert gc.get_freeze_count() > 100_000  # each trial collects once; torch and transformers are in here


@pytest.mark.unit
def test_a_trial_keeps_the_memory_of_its_device_from_report_to_report(
    spec: FineTuneSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    training, cleared = FineTuning({}, spec), list[bool]()
    monkeypatch.setattr("accelerate.utils.memory.clear_device_cache", lambda **options: cleared.append(True))
    for _ in range(3):
        training.advance(0.25)
    assert cleared == []
    assert len(training.trainer.accelerator._models) == 1  # what the last segment has prepared, and no more


@pytest.mark.unit
@pytest.mark.parametrize(
    ("major", "precision", "found"),
    [
        *((7, "auto", "fp32"), (8, "auto", "bf16"), (7, "bf16", "bf16")),  # a T4 only emulates bf16
        *((7, "tf32", "fp32"), (8, "tf32", "tf32"), (8, "fp32", "fp32")),
    ],
)
def test_a_gpu_computes_in_what_it_has_itself(
    spec: FineTuneSpec, monkeypatch: pytest.MonkeyPatch, major: int, precision: str, found: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(major=major))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (major, 0))
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda device: True)
    assert precision_in_force(spec.model_copy(update={"precision": precision}), "cuda") == found


@pytest.mark.unit
@pytest.mark.skipif(torch.cuda.is_available(), reason="a CPU's numbers")
def test_options_of_a_gpu_change_nothing_on_a_cpu_and_determinism_is_recorded(spec: FineTuneSpec) -> None:
    before, plain = flags(), FineTuning({}, spec)
    for changed in ({"precision": "tf32"}, {"deterministic": True}):
        other = FineTuning({}, spec.model_copy(update=changed))
        assert other.advance(0.5) == FineTuning({}, spec).advance(0.5)
        assert other.provenance == {**plain.provenance, **{k: v for k, v in changed.items() if k == "deterministic"}}
    assert flags() == before


@pytest.mark.system
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler on this machine")
def test_a_compiled_trial_scores_as_the_plain_one(spec: FineTuneSpec) -> None:
    still = {"model.hidden_dropout_prob": 0.0, "model.attention_probs_dropout_prob": 0.0}
    plain = FineTuning(still, spec).advance(0.25).metrics
    compiled = FineTuning(still, spec.model_copy(update={"compile": True}))
    found = compiled.advance(0.25).metrics
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert found == pytest.approx(plain, rel=1e-3)


@pytest.mark.system
def test_compiling_without_a_compiler_is_refused_with_what_to_do(
    spec: FineTuneSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    with pytest.raises(InputError, match=r"compile: True: torch.compile needs a C\+\+ compiler.* set compile: false"):
        FineTuning({}, spec.model_copy(update={"compile": True}))


def flags() -> tuple[Any, ...]:
    return (
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.benchmark,
        torch.get_float32_matmul_precision(),
    )


@pytest.mark.unit
def test_a_trial_between_leaves_no_mark_on_the_next(spec: FineTuneSpec) -> None:
    a = {"model.hidden_dropout_prob": 0.3, "per_device_train_batch_size": 16}
    b = {"model.hidden_dropout_prob": 0.0, "optim": "sgd", "label_smoothing_factor": 0.2, "max_grad_norm": 0.0}
    before = flags()
    first = FineTuning(a, spec).advance(0.5)
    other = FineTuning(b, spec.model_copy(update={"precision": "bf16", "seed": 3}))
    always_mask(other.model)
    other.advance(0.5)
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    assert FineTuning(a, spec).advance(0.5) == first
    assert flags() == before
