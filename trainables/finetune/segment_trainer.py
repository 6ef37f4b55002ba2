"""The Hugging Face Trainer of a trial: one `train()` per segment, without synchronising with the device at each step.

Where transformers 5.23 would wait for the device at every step, and what is done instead:

    `padding_mask.all()` of the SDPA mask   an attention implementation that always builds the mask (CUDA only, and
                                            `needs_no_check`), or one by lengths (`lengths_attention`)
    the count of labels per optimizer step  the number of rows, which the host knows
    the NaN filter of the logged loss       off; a score that is not finite ends the trial at the report
    copies of batches to the device         from pinned memory, non-blocking
    `predict`, which gathers on the device  logits are copied to the host's pinned memory as they come

The loss of an optimizer step is the mean over its rows, however they are divided into batches. (The Trainer's would be
a sum over batches for models whose `forward` takes any keyword and whose loss ignores the count, such as BERT's:
accumulating twice as often would double the gradient.) So it does not matter which process computes which rows either:
with several processes per trial, `per_device_train_batch_size` is the rows of a batch over all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import AttentionInterface, PreTrainedModel, PrinterCallback, Trainer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.trainer_utils import PredictionOutput

from trainables.distributed.micro_batches import Batch, MicroBatches
from trainables.distributed.replicas import Replicas
from trainables.finetune.evaluation_batches import EvaluationBatches
from trainables.finetune.lengths_attention import HOST_MASK, has_plain_sdpa, of_batch
from trainables.progress import step_done

MASKED_SDPA = "sdpa_always_masked"
MASKED_TOKENS = 256  # beyond, what the mask costs the kernels is more than what it saves


class ExampleCounter(Protocol):
    """An object whose `examples` the Trainer increments."""

    examples: int  # rows trained on so far


class SegmentTrainer(Trainer):  # type: ignore[misc]
    """A Trainer whose `train()` passes once over `segment` (row indices) and counts the examples.

    If a batch does not fit into the device's memory, batches are computed in halves from then on. The optimizer steps
    do not change: gradients of the parts add up to those of the batch, and the interrupted step is computed again.
    """

    loss_is_scaled_for_ga = True  # `compute_loss` divides by the rows of the whole optimizer step

    def __init__(
        self, *, position: ExampleCounter, replicas: Replicas, batches: EvaluationBatches, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.remove_callback(PrinterCallback)
        self.position, self.replicas, self.batches = position, replicas, batches
        self.segment: list[int] = []
        self.training_parts, self.scoring_parts = MicroBatches(), MicroBatches()
        self._begun: list[Batch] = []  # this process's batches of the current optimizer step that are in the gradients
        self._turn = self._turns = 0  # batches of the current step: done, and in all
        self._random: tuple[torch.Tensor, torch.Tensor | None] | None = None  # generators at the beginning of that step

    def create_accelerator_and_postprocess(self) -> None:
        """Called by the Trainer once, when it is built."""
        super().create_accelerator_and_postprocess()
        self.accelerator.__class__ = KeepingAccelerator

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler[int]:
        return RowSampler(self.segment)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Called by the Trainer for the batches of the next optimizer step and their number of rows."""
        samples = super().get_batch_samples(*args, **kwargs)
        self._begun, self._turn, self._turns = [], 0, len(samples[0])
        self._random = torch.get_rng_state(), torch.cuda.get_rng_state() if self.args.device.type == "cuda" else None
        return samples

    def _get_num_items_in_batch(self, batch_samples: list[Batch], device: torch.device) -> int:
        return sum(len(batch["labels"]) for batch in batch_samples)

    def training_step(self, model: Any, inputs: Batch, num_items_in_batch: Any = None) -> torch.Tensor:
        """Forward and backward pass of one batch; the schedule reads the count of examples after the optimizer step."""
        self.position.examples += len(inputs["labels"])
        share = self.replicas.share(inputs, self._turn)
        self._turn += 1
        last = self._turn == self._turns
        if last and not self._begun and not len(share["labels"]):
            # A step with fewer rows than processes. A process without rows would have no gradients to reduce, so it
            # computes a row of another process with weight 0.
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
            # Part of this batch may be in the gradients, mixed with the step's earlier batches: compute all again.
            model.zero_grad()
            self._restore_generators()
            todo = self._begun
        return torch.stack(losses).sum() if len(losses) > 1 else losses[0]

    def compute_loss(
        self, model: Any, inputs: Batch, return_outputs: bool = False, num_items_in_batch: float | None = None
    ) -> Any:
        """The sum of the rows' losses, divided by the rows of the optimizer step.

        Squared error for regression, else cross entropy, with label smoothing if the trial sets it.
        """
        labels = inputs["labels"]
        outputs = self._outputs(model, inputs)
        rows = num_items_in_batch or len(labels)
        if self.model.config.problem_type == "regression":
            errors = torch.nn.functional.mse_loss(outputs.logits.squeeze(-1), labels, reduction="sum")
            loss = errors / rows
        elif self.label_smoother is not None:
            loss = self.label_smoother(outputs, labels, num_items_in_batch=rows)
        else:
            loss = torch.nn.functional.cross_entropy(outputs.logits, labels, reduction="sum") / rows
        return (loss, outputs) if return_outputs else loss

    def _outputs(self, model: Any, inputs: Batch) -> Any:
        """A forward pass; the attention is told the lengths of rows, where it goes by them."""
        mask: Any = inputs.get(HOST_MASK)
        if mask is not None:
            of_batch(mask, self.args.device)
        return model(**{name: values for name, values in inputs.items() if name not in ("labels", HOST_MASK)})

    def predict(self, test_dataset: Dataset, *args: Any, **kwargs: Any) -> PredictionOutput:
        """Computes logits in fp32, (rows, classes), and labels, (rows,), of rows that are sorted by length.

        As in training it is autocast; so no `train()` has to come before it. The weights are rounded once for all
        batches. No logits wait on the device for those of later batches, and the host waits for the device once.
        """
        batches = self.batches.of(list(test_dataset["length"]))
        rows = self._remove_unused_columns(test_dataset, description="scored")
        pinned = self.args.dataloader_pin_memory
        loader = DataLoader(rows, batch_sampler=batches, collate_fn=self.data_collator, pin_memory=pinned)  # type: ignore[arg-type]
        device, found = self.args.device, list[tuple[torch.Tensor, torch.Tensor]]()
        self.model.eval()
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=self.args.bf16):
            for batch in loader:
                labels = batch.pop("labels")
                found.append((self._scored(self._on_device(batch)), labels))
                step_done()
        if device.type == "cuda":
            torch.cuda.synchronize()
        logits, labels = (torch.cat(parts[::-1]).numpy() for parts in zip(*found, strict=True))
        return PredictionOutput(logits, labels, {})

    def logits_of(self, batch: Batch) -> torch.Tensor:
        """The logits of a batch in the host's memory, in fp32, after the device has computed them."""
        logits: torch.Tensor = self._outputs(self.model, self._on_device(batch)).logits
        return logits.float().cpu()

    def _on_device(self, batch: Batch) -> Batch:
        device = self.args.device
        return {
            name: values if name == HOST_MASK else values.to(device, non_blocking=True)
            for name, values in batch.items()
        }

    def _scored(self, inputs: Batch) -> torch.Tensor:
        """The logits of a batch, on their way to the host."""
        while (
            logits := self.scoring_parts.attempt(lambda part: self._outputs(self.model, part).logits, [inputs])
        ) is None:
            pass
        whole = torch.cat(logits) if len(logits) > 1 else logits[0]
        return whole.float().to("cpu", non_blocking=True)  # into pinned memory

    def floating_point_ops(self, inputs: Mapping[str, Any]) -> int:
        """Returns 0: nobody reads it, and counting the parameters at every batch is slow."""
        return 0

    def _restore_generators(self) -> None:
        assert self._random is not None
        host, device = self._random
        torch.set_rng_state(host)
        if device is not None:
            torch.cuda.set_rng_state(device)


class KeepingAccelerator(Accelerator):  # type: ignore[misc]
    """An Accelerator that keeps the device's memory from one `train()` to the next.

    A Trainer calls `free_memory` whenever it begins, and that collects garbage and empties the device's cache. A trial
    does both once (`trainables.finetune.garbage`).
    """

    def free_memory(self, *objects: Any) -> list[Any]:
        """Forgets what was prepared for the last `train()`."""
        for prepared in (self._schedulers, self._optimizers, self._models, self._dataloaders):
            prepared.clear()
        self.step = 0
        return [None for _ in objects]


class RowSampler(torch.utils.data.Sampler[int]):
    """Samples the given rows in the given order."""

    def __init__(self, rows: list[int]) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[int]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def needs_no_check(model: PreTrainedModel, tokens: int) -> bool:
    """True if a mask in every batch of `model` costs less than the check whether one is needed.

    A mask that masks nothing prevents the flash kernel, so it pays on short texts, of `tokens` at most. Of a decoder it
    would replace the causal kernel, and where query heads share keys (GQA) keys and values would be copied per head.
    """
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", None)
    shared = getattr(config, "num_key_value_heads", None) not in (None, heads)
    causal = any(getattr(module, "is_causal", False) for module in model.modules())
    return tokens <= MASKED_TOKENS and not shared and not causal


def always_mask(model: PreTrainedModel) -> None:
    """Makes `model` build its attention mask always: to check whether it is needed would wait for the device.

    Scores do not change. Only models with transformers' attention interface and PyTorch's SDPA are changed.
    """
    if not has_plain_sdpa(model):
        return
    AttentionInterface.register(MASKED_SDPA, sdpa_attention_forward)
    AttentionMaskInterface.register(MASKED_SDPA, _full_mask)
    model.set_attn_implementation(MASKED_SDPA)


def _full_mask(*args: Any, **kwargs: Any) -> torch.Tensor | None:
    skips = {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
    mask: torch.Tensor | None = sdpa_mask(*args, **{**kwargs, **skips})
    return mask
