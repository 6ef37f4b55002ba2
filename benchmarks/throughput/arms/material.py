"""Prepares what a trial of tunefleet starts from: tokenised rows and the pretrained model with a new head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transformers import DataCollatorWithPadding, PreTrainedModel, set_seed

from trainables.data.encoding import PreparedTask, prepare_task
from trainables.finetune.schedule import epoch_order
from trainables.models.encoders import load_model

if TYPE_CHECKING:
    from trainables.spec import FineTuneSpec


def starting_point(spec: FineTuneSpec) -> tuple[PreparedTask, PreTrainedModel, DataCollatorWithPadding]:
    """Returns rows, a model whose head is drawn from the seed, and the collator. Sets the seed of everything."""
    data = prepare_task(spec, None)
    set_seed(spec.seed)
    facts = data.facts
    model = load_model(spec, data.tokenizer, facts.num_labels, facts.label_names, data.regression, {})
    return data, model, DataCollatorWithPadding(data.tokenizer)


def order_of(spec: FineTuneSpec, data: PreparedTask, epoch: int) -> list[int]:
    """Returns the order of rows in one epoch (0: the first)."""
    return epoch_order(data.lengths, seed=spec.seed, epoch=epoch, group_by_length=spec.group_by_length)
