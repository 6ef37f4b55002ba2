"""The Hugging Face Trainer as a trial uses it: one `train()` per segment, and nothing waits for the device on the way.

What transformers 5.23 would wait for at every step, and what is done instead:

    `padding_mask.all()` of the SDPA mask   an attention of our own name that always builds the mask (CUDA only)
    the count of labels per optimizer step  the number of rows, which the host knows
    the NaN filter of the logged loss       off; a score that is not finite ends the trial at the report
    copies of batches to the device         from pinned memory, not blocking

The loss of an optimizer step is the mean over its rows, however they are cut into batches. (The Trainer's own would be
a sum over batches for models whose `forward` takes any keyword and whose loss ignores the count, such as BERT's:
accumulating twice as often would double the gradient.) So it does not matter either which process computes which rows
where several compute one trial: `per_device_train_batch_size` is the rows of a batch over all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from transformers import AttentionInterface, PreTrainedModel, PrinterCallback, Trainer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_outputs import ModelOutput

from trainables.distributed.micro_batches import Batch, MicroBatches
from trainables.distributed.replicas import Replicas
from trainables.progress import step_done

MASKED_SDPA = "sdpa_always_masked"


class ExampleCounter(Protocol):
    """Whoever wants to know how many rows were trained on."""

    examples: int


class SegmentTrainer(Trainer):  # type: ignore[misc]
    """A Trainer whose `train()` goes once over `segment`, and which counts the examples as they pass.

    A batch that does not fit into the device's memory is computed in halves, from then on. The optimizer steps stay
    what they were: gradients of the parts add up to those of the batch, and what the interrupted step had added is
    dropped and computed again.
    """

    loss_is_scaled_for_ga = True  # `compute_loss` divides by the rows of the whole optimizer step

    def __init__(self, *, position: ExampleCounter, replicas: Replicas, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.remove_callback(PrinterCallback)
        self.position, self.replicas = position, replicas
        self.segment: list[int] = []
        self.training_parts, self.scoring_parts = MicroBatches(), MicroBatches()
        self._begun: list[Batch] = []  # of the current optimizer step: this process's rows that are in the gradients
        self._turn = self._turns = 0  # batches of the current step: done, and in all
        self._random: tuple[torch.Tensor, torch.Tensor | None] | None = None  # generators as that step began

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler[int]:
        return RowSampler(self.segment)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """The batches of the next optimizer step and their number of rows."""
        samples = super().get_batch_samples(*args, **kwargs)
        self._begun, self._turn, self._turns = [], 0, len(samples[0])
        self._random = torch.get_rng_state(), torch.cuda.get_rng_state() if self.args.device.type == "cuda" else None
        return samples

    def _get_num_items_in_batch(self, batch_samples: list[Batch], device: torch.device) -> int:
        return sum(len(batch["labels"]) for batch in batch_samples)

    def training_step(self, model: Any, inputs: Batch, num_items_in_batch: Any = None) -> torch.Tensor:
        """Forward and backward of one batch; the schedule reads the count when the optimizer has stepped."""
        self.position.examples += len(inputs["labels"])
        share = self.replicas.share(inputs, self._turn)
        self._turn += 1
        last = self._turn == self._turns
        if last and not self._begun and not len(share["labels"]):
            # A step with fewer rows than processes. With nothing to do a process would have no gradients to add up; so
            # it computes a row that another has, which counts nothing.
            share = {name: values[:1] for name, values in inputs.items()}
            num_items_in_batch = math.inf
        loss = torch.zeros((), device=self.args.device)
        if len(share["labels"]):
            loss = self._in_parts(model, share, num_items_in_batch)
        if last:
            self.replicas.add_up(model.parameters())
        step_done()
        return loss

    def _in_parts(self, model: Any, inputs: Batch, num_items_in_batch: Any) -> torch.Tensor:
        self._begun.append(inputs)
        base, todo = super().training_step, [inputs]
        while (losses := self.training_parts.attempt(lambda part: base(model, part, num_items_in_batch), todo)) is None:
            # Part of this batch may be in the gradients, mixed with the step's earlier batches: all of them again.
            model.zero_grad()
            self._restore_generators()
            todo = self._begun
        return torch.stack(losses).sum() if len(losses) > 1 else losses[0]

    def compute_loss(
        self, model: Any, inputs: Batch, return_outputs: bool = False, num_items_in_batch: float | None = None
    ) -> Any:
        """Sum of the rows' losses, divided by the rows of the optimizer step.

        Squared error for regression, else cross entropy with label smoothing where the trial has it.
        """
        labels = inputs["labels"]
        outputs = model(**{name: values for name, values in inputs.items() if name != "labels"})
        rows = num_items_in_batch or len(labels)
        if self.model.config.problem_type == "regression":
            errors = torch.nn.functional.mse_loss(outputs.logits.squeeze(-1), labels, reduction="sum")
            loss = errors / rows
        elif self.label_smoother is not None:
            loss = self.label_smoother(outputs, labels, num_items_in_batch=rows)
        else:
            loss = torch.nn.functional.cross_entropy(outputs.logits, labels, reduction="sum") / rows
        return (loss, outputs) if return_outputs else loss

    def prediction_step(
        self, model: Any, inputs: Batch, prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[None, torch.Tensor, torch.Tensor]:
        """Logits and labels of one batch; the loss is the trial's to compute, over all rows."""
        batch = dict(self._prepare_inputs(inputs))
        labels = batch.pop("labels")
        with torch.no_grad():
            while (logits := self.scoring_parts.attempt(lambda part: _logits(model(**part)), [batch])) is None:
                pass
        step_done()
        return None, torch.cat(logits) if len(logits) > 1 else logits[0], labels

    def floating_point_ops(self, inputs: Mapping[str, Any]) -> int:
        """Nobody reads it, and counting the parameters at every batch costs as much as a launch per layer."""
        return 0

    def _restore_generators(self) -> None:
        assert self._random is not None
        host, device = self._random
        torch.set_rng_state(host)
        if device is not None:
            torch.cuda.set_rng_state(device)


def _logits(outputs: ModelOutput) -> torch.Tensor:
    logits: torch.Tensor = outputs.logits
    return logits


class RowSampler(torch.utils.data.Sampler[int]):
    """Hands out the given rows in the given order."""

    def __init__(self, rows: list[int]) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[int]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def always_mask(model: PreTrainedModel) -> None:
    """Make `model` build its attention mask without looking whether it is needed, which would wait for the device.

    Scores are equal. Only models that take their attention from transformers' interface are changed, and only if that
    is PyTorch's SDPA; a mask that masks nothing keeps it from the flash kernel, so this pays on short texts.
    """
    if model.config._attn_implementation != "sdpa" or not model._can_set_attn_implementation():
        return
    AttentionInterface.register(MASKED_SDPA, sdpa_attention_forward)
    AttentionMaskInterface.register(MASKED_SDPA, _full_mask)
    model.set_attn_implementation(MASKED_SDPA)


def _full_mask(*args: Any, **kwargs: Any) -> torch.Tensor | None:
    skips = {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
    mask: torch.Tensor | None = sdpa_mask(*args, **{**kwargs, **skips})
    return mask
