"""An evaluation computes batches of about as many tokens, pads no more than it must, and copies logits to the host."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import Trainer

from trainables.finetune import finetune
from trainables.finetune.evaluation_batches import EvaluationBatches
from trainables.finetune.finetune import FineTuning
from trainables.spec import FineTuneSpec

LENGTHS = (3, 3, 5, 8, 8, 9, 20, 64, 100)
PARAMS = {"learning_rate": 1e-3, "model.hidden_dropout_prob": 0.2}


@pytest.mark.unit
@pytest.mark.parametrize(
    ("batches", "found"),
    [
        (EvaluationBatches(64), [(8,), (7,), (4, 5, 6), (0, 1, 2, 3)]),
        (EvaluationBatches(64, multiple=8), [(8,), (7,), (5, 6), (0, 1, 2, 3, 4)]),
        (EvaluationBatches(300, length=100), [(6, 7, 8), (3, 4, 5), (0, 1, 2)]),
        (EvaluationBatches(64, rows=4), [(8,), (4, 5, 6, 7), (0, 1, 2, 3)]),
    ],
    ids=["tokens", "multiple", "padded", "rows"],
)
def test_batches_hold_what_the_tokens_allow_and_at_least_a_row(
    batches: EvaluationBatches, found: list[tuple[int, ...]]
) -> None:
    assert [tuple(rows) for rows in batches.of(LENGTHS)] == found
    assert batches.of([]) == []


@pytest.mark.unit
def test_no_batch_is_larger_than_its_tokens_and_none_is_smaller_than_it_must_be() -> None:
    rng = np.random.default_rng(0)
    lengths = sorted(rng.integers(1, 128, 1000).tolist())
    divided = EvaluationBatches(2048)
    batches = divided.of(lengths)
    assert sorted(row for rows in batches for row in rows) == list(range(1000))
    tokens = [divided.tokens_of(rows, lengths) for rows in batches]
    assert max(tokens) <= 2048
    assert min(tokens[:-1]) > 2048 - 128  # the last one is what is left
    assert sum(tokens) < 1.05 * sum(lengths)  # padding


def shapes_of(training: FineTuning) -> list[tuple[int, int]]:
    """Returns the shape of each batch that the encoder computes from now on."""
    shapes: list[tuple[int, int]] = []
    training.model.base_model.register_forward_pre_hook(lambda _module, args: shapes.append(tuple(args[0].shape)))
    return shapes


@pytest.mark.unit
def test_the_rows_of_a_batch_follow_from_their_length_or_are_what_the_spec_says(
    tiny_spec: FineTuneSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(finetune.EVALUATION_TOKENS, "cuda" if torch.cuda.is_available() else "cpu", 128)
    training = FineTuning({}, tiny_spec)
    shapes = shapes_of(training)
    training.score("validation")
    assert len(shapes) > 2
    assert sum(rows for rows, _ in shapes) == 48
    assert all(rows * length <= 128 for rows, length in shapes)
    assert shapes == sorted(shapes, key=lambda shape: -shape[1])
    assert shapes[0][1] == max(training.data.validation["length"])
    own = FineTuning({}, tiny_spec.model_copy(update={"eval_batch_size": 7}))
    shapes = shapes_of(own)
    own.score("validation")
    assert [rows for rows, _ in shapes] == [6, *[7] * 6]


@pytest.mark.unit
@pytest.mark.parametrize("split", ["validation", "test"])
def test_logits_are_those_of_the_trainers_own_predict_in_the_order_of_the_rows(
    tiny_spec: FineTuneSpec, split: str
) -> None:
    """Equal batches give equal logits, bit for bit, and the same random numbers are drawn afterwards."""
    training = FineTuning(PARAMS, tiny_spec.model_copy(update={"eval_batch_size": 8, "precision": "fp32"}))
    training.advance(0.5)
    rows = getattr(training.data, split)
    state = torch.get_rng_state()
    own = training.trainer.predict(rows)
    after = torch.get_rng_state()
    plain = Trainer(model=training.model, args=training.trainer.args, data_collator=training.trainer.data_collator)
    torch.set_rng_state(state)
    theirs = plain.predict(rows)
    assert torch.equal(after, torch.get_rng_state())
    np.testing.assert_array_equal(own.predictions, theirs.predictions)
    np.testing.assert_array_equal(own.label_ids, theirs.label_ids)


@pytest.mark.unit
@pytest.mark.parametrize(("precision", "close"), [("fp32", 1e-5), ("bf16", 2e-2)])
def test_scores_hardly_depend_on_the_batches(tiny_spec: FineTuneSpec, precision: str, close: float) -> None:
    def loss(**changed: Any) -> float:
        training = FineTuning(PARAMS, tiny_spec.model_copy(update={"precision": precision, **changed}))
        return training.score("test").metrics["loss"]

    assert loss(eval_batch_size=1) == pytest.approx(loss(), rel=close)


class Roundings(TorchDispatchMode):
    """Counts how often a tensor is copied to another type."""

    def __init__(self, tensor: torch.Tensor) -> None:
        super().__init__()
        self.place, self.count = tensor.data_ptr(), 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += str(func).startswith("aten._to_copy") and args[0].data_ptr() == self.place
        return func(*args, **(kwargs or {}))


@pytest.mark.unit
def test_the_weights_are_rounded_once_for_all_batches_of_a_score(tiny_spec: FineTuneSpec) -> None:
    training = FineTuning(PARAMS, tiny_spec.model_copy(update={"precision": "bf16", "eval_batch_size": 8}))
    linear = next(one for one in training.model.modules() if isinstance(one, torch.nn.Linear))
    with Roundings(linear.weight) as seen:
        training.score("validation")
    assert seen.count == 1
    training.advance(0.5)
    with Roundings(linear.weight) as seen:
        training.score("validation")
    assert seen.count == 1  # the weights of now
