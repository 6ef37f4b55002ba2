"""One fine-tuning trial around the Hugging Face Trainer. Read this module first.

A `FineTuning` holds the model, optimizer, schedule, order of rows and random state of one trial. Its Trainer lives as
long as the trial. `train()` is called once per segment (from one evaluation to the next), and a sampler hands it the
rows of that segment. So the Trainer never resumes from a checkpoint of its own, which would bring back a donor's
learning rate, weight decay and betas, and would count steps instead of examples.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Collection
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from transformers import DataCollatorWithPadding, set_seed
from transformers.utils import logging as transformers_logging

from trainables.checkpoints import tensors
from trainables.data.encoding import PreparedTask, prepare_task
from trainables.distributed.replicas import Replicas
from trainables.epochs import horizon_of, next_position
from trainables.finetune.arguments import EVALUATION_TOKENS, as_int, padding_multiple, training_arguments
from trainables.finetune.compilation import compile_encoder
from trainables.finetune.evaluation_batches import EvaluationBatches
from trainables.finetune.garbage import free_former_trial, freeze_what_is_imported
from trainables.finetune.latency import row_latency
from trainables.finetune.lengths_attention import WithHostMask, attend_by_lengths, can_attend_by_lengths
from trainables.finetune.numerics import precision_in_force, set_kernels
from trainables.finetune.schedule import ProgressSchedule, Schedule, epoch_order
from trainables.finetune.segment_trainer import SegmentTrainer, always_mask, needs_no_check
from trainables.machine.devices import training_device
from trainables.metrics import LATENCY
from trainables.models.encoders import load_model
from trainables.models.families import SEES_PADDING
from trainables.models.loading import config_value
from trainables.models.size import model_size
from trainables.progress import mark_progress
from trainables.reporting import NonFiniteScore
from trainables.spec import FineTuneSpec, Params, Value
from trainables.training import Evaluation, Scores
from trainables.tunables import ADAM_ONLY, TUNABLES


class FineTuning:
    """A fine-tuning as a `Training`. On a CPU equal params, spec and data give equal numbers, bit for bit.

    If several processes compute the trial (`Replicas`), each builds it, and every method is called in all of them.

    Args:
        params: values by tunable name; a missing one takes the default in `TUNABLES`.
        spec: task, data, model, seeds; `spec.objective` is filled in.

    Raises:
        TaskError, ModelError, InputError: data, model or options cannot be used.
        DeviceError: the GPU of this process cannot be used.
    """

    divides_rows = True  # see `trainables.worker.team`
    reads_precision = True  # see `tuning.study.precision`

    def __init__(self, params: Params, spec: FineTuneSpec) -> None:
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        self.spec = spec
        self.replicas = Replicas.here()
        self.params: dict[str, Value] = {name: t.default for name, t in TUNABLES.items() if t.default is not None}
        self.params.update(params)
        self.device = training_device()
        set_kernels(spec, self.device)
        self.data = self.prepared()
        mark_progress()
        multiple = padding_multiple(spec, self.data.max_length, self.data.tokenizer.model_max_length)
        self.horizon = horizon_of(self.params, spec)
        self.epoch = 0.0  # passes over the training split at the last evaluation
        self.examples = 0  # rows trained on so far: the position in the schedule and in the order of rows

        freeze_what_is_imported()
        free_former_trial()
        set_seed(spec.training_seeds.head)
        self.model = load_model(
            spec,
            self.data.tokenizer,
            num_labels=self.data.facts.num_labels,
            label_names=self.data.facts.label_names,
            regression=self.data.regression,
            config_overrides={k.removeprefix("model."): v for k, v in self.params.items() if k.startswith("model.")},
        )
        mark_progress()
        if self.device == "cuda":
            self._choose_attention(-(-self.data.max_length // multiple) * multiple)
        if spec.compile:
            compile_encoder(self.model)
        self.trainer = self._make_trainer(multiple)
        self.optimizer = self.trainer.create_optimizer()
        self.trainer.lr_scheduler = self.schedule = ProgressSchedule(
            self.optimizer, self._schedule(), lambda: self.examples
        )
        self.replicas.draw_apart(spec.training_seeds.head)

    def prepared(self) -> PreparedTask:
        """The tokenised rows to train on and to score."""
        return prepare_task(self.spec, as_int(self.params.get("data.max_length")))

    @property
    def provenance(self) -> dict[str, Value]:
        """Fingerprint and sizes of the data, device, precision and, if set, determinism and segments of this trial."""
        cuda = self.device == "cuda"
        facts: dict[str, Value] = {
            "data_fingerprint": self.data.facts.fingerprint,
            "train_rows": len(self.data.train),
            "validation_rows": len(self.data.validation),
            "test_rows": self.data.facts.test_rows,
            "device_name": torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine(),
            "precision": precision_in_force(self.spec, self.device),
        }
        if cuda and self.spec.expandable_segments:
            facts["expandable_segments"] = True
        return {**facts, "deterministic": True} if self.spec.deterministic else facts

    # The methods of `Training`

    def advance(self, epochs: float) -> Evaluation:
        """Trains for `epochs`, at most to the horizon, and evaluates on the validation split."""
        self.train_on(epochs)
        metrics = self.score("validation").metrics
        if halved := [rows for rows in self.replicas.gather(self.trainer.training_parts.rows) if rows is not None]:
            # A device ran out of memory. Optimizer steps and `per_device_train_batch_size` are unchanged.
            metrics["micro_batch_size"] = min(halved)
        return Evaluation(self.epoch, metrics, self.in_force())

    def train_on(self, epochs: float) -> None:
        """Trains for `epochs`, at most to the horizon, without an evaluation.

        Raises:
            NonFiniteScore: the loss of a step was NaN or infinite.
        """
        target = next_position(self.epoch, epochs, self.horizon)
        if rows := self._rows(round(target * len(self.data.train))):
            self.trainer.segment = rows
            loss = self.trainer.train().training_loss  # the mean over the steps; not finite if one of them is not
            if not math.isfinite(loss):
                raise NonFiniteScore.of("training loss", loss, target, self.in_force())
        self.epoch = target

    def score(self, split: Literal["validation", "test"]) -> Scores:
        """Scores a split: the task's metrics, and the loss without label smoothing so that all trials compare."""
        rows = self.data.validation if split == "validation" else self.data.test
        shared = self.replicas.size > 1
        output = self.trainer.predict(rows.select(self.replicas.rows_to_score(len(rows))) if shared else rows)
        parts = output.predictions, output.label_ids
        predictions, labels = (self.replicas.joined(outputs, len(rows)) for outputs in parts)
        scores = self.data.task.metrics(predictions, labels, self.data.facts.positive)
        metrics = {**scores, "loss": self._loss(predictions, labels)}
        if split == "validation" or not np.isfinite(predictions).all():
            return Scores(metrics, len(rows))
        outputs = predictions.reshape(len(rows)) if self.data.regression else predictions.argmax(axis=-1)
        return Scores(metrics, len(rows), self._in_order_of_split(labels), self._in_order_of_split(outputs))

    def model_costs(self, names: Collection[str], seconds: float) -> dict[str, float]:
        """Measures what the model costs; see `trainables.training.MeasurableTraining`."""
        costs = model_size(self.model, names)
        if LATENCY in names:
            rows = self.data.validation
            costs[LATENCY] = row_latency(self.trainer, rows, seconds, compiled=self.spec.compile)
        return costs

    def save(self, folder: Path, *, weights_only: bool = False) -> None:
        """Writes weights and position and, unless `weights_only`, optimizer state and random states."""
        random = [] if weights_only else self.replicas.gather(tensors.random_state())
        if self.replicas.rank:
            return
        position = {"epoch": self.epoch, "examples": self.examples, "params": self.in_force()}
        tensors.save_weights(folder, self.model, position)
        if not weights_only:
            tensors.save_optimizer(folder, self.optimizer, random)

    def restore(self, folder: Path, *, weights_only: bool = False) -> None:
        """Restores weights, optimizer state, random state and position; the trial keeps its own hyperparameters."""
        position = tensors.restore_weights(folder, self.model)
        if not weights_only:
            tensors.restore_optimizer(folder, self.optimizer, self.replicas.rank)
        self.epoch, self.examples = position["epoch"], position["examples"]
        # The donor's optimizer state came with the donor's rate, decay and betas: `restore_moments` put this
        # trial's own back into the groups. The rate follows from the position, also for the very next step.
        self.schedule.schedule = self._schedule()
        for group, rate in zip(self.optimizer.param_groups, self.schedule.get_lr(), strict=True):
            group["lr"] = rate

    # The values in force

    def in_force(self) -> dict[str, Value]:
        """The trial's values read off its live objects, under the names of its params."""
        decayed = self.optimizer.param_groups[0]
        live: dict[str, Value] = {
            "learning_rate": self.schedule.schedule.peak,
            "weight_decay": decayed["weight_decay"],
            "per_device_train_batch_size": self.trainer.args.per_device_train_batch_size,
            "gradient_accumulation_steps": self.trainer.args.gradient_accumulation_steps,
            "max_grad_norm": self.trainer.args.max_grad_norm,
            "label_smoothing_factor": self.trainer.args.label_smoothing_factor,
        }
        if "betas" in decayed:
            live["adam_beta1"], live["adam_beta2"] = decayed["betas"]
            live["adam_epsilon"] = decayed["eps"]
        live.update(
            {
                k: config_value(self.model.config, k.removeprefix("model."))
                for k in self.params
                if k.startswith("model.")
            }
        )
        absent = ADAM_ONLY - live.keys()  # SGD and Adafactor have no such values
        return {name: live.get(name, value) for name, value in self.params.items() if name not in absent}

    def _in_order_of_split(self, values: np.ndarray) -> tuple[float, ...]:
        """Reorders one value per row of `data.test`, which is sorted by length, to the split's own order."""
        placed = np.empty(len(values))
        placed[self.data.test_order] = values
        return tuple(placed.tolist())

    def _loss(self, predictions: np.ndarray, labels: np.ndarray) -> float:
        """The mean loss over rows: squared error for regression, else cross entropy in nats."""
        outputs = torch.from_numpy(np.asarray(predictions, dtype=np.float64))
        if self.data.regression:
            return float(torch.nn.functional.mse_loss(outputs.squeeze(-1), torch.from_numpy(labels).double()))
        return float(torch.nn.functional.cross_entropy(outputs, torch.from_numpy(labels).long()))

    def _choose_attention(self, tokens: int) -> None:
        """Replaces the attention of a model on a GPU by what costs least on texts of `tokens` at most."""
        if needs_no_check(self.model, tokens):
            always_mask(self.model)
        elif not (self.spec.compile or self.spec.deterministic) and can_attend_by_lengths(self.model):
            attend_by_lengths(self.model)

    def _make_trainer(self, multiple: int) -> SegmentTrainer:
        """Builds the Trainer, whose batches are padded to a multiple of `multiple` tokens."""
        alike = self.model.config.model_type in SEES_PADDING  # such models need equal padding in every batch
        length = self.data.max_length if alike else None
        return SegmentTrainer(
            model=self.model,
            args=training_arguments(self.spec, self.params),
            train_dataset=self.data.train,
            data_collator=WithHostMask(
                DataCollatorWithPadding(
                    self.data.tokenizer,
                    padding="max_length" if alike else True,
                    max_length=length,
                    pad_to_multiple_of=multiple,
                ),
                self.model,
            ),
            position=self,
            replicas=self.replicas,
            batches=EvaluationBatches(EVALUATION_TOKENS[self.device], multiple, length, self.spec.eval_batch_size),
        )

    def _schedule(self) -> Schedule:
        args = self.trainer.args
        step = args.per_device_train_batch_size * args.gradient_accumulation_steps
        return Schedule.of(self.params, total=self.horizon * len(self.data.train), step=step)

    def _rows(self, until: int) -> list[int]:
        """The rows to train on from the current position to `until` examples; may span several epochs."""
        size, rows = len(self.data.train), []
        for epoch in range(self.examples // size, math.ceil(until / size)):
            seed = self.spec.training_seeds.data_order
            order = epoch_order(self.data.lengths, seed=seed, epoch=epoch, group_by_length=self.spec.group_by_length)
            rows += order[max(self.examples - epoch * size, 0) : until - epoch * size]
        return rows
