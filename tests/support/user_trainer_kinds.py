"""Kinds of Trainers that users have, each as a factory that a test trains plainly and paused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import (
    DataCollatorForSeq2Seq,
    EarlyStoppingCallback,
    PreTrainedTokenizerFast,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    T5Config,
    T5ForConditionalGeneration,
    Trainer,
)

from tests.support.user_trainers import TRAIN, VALIDATION, WORDS, rows, tiny_model, trainer

Values = Mapping[str, Any]
RATES: Values = {"learning_rate": 1e-2, "weight_decay": 0.3, "adam_beta1": 0.5}


@dataclass(frozen=True)
class Kind:
    """One kind of Trainer, and how a test reports, pauses and exploits it.

    Args:
        make: the factory.
        report_every: epochs between reports that are those of its own evaluations.
        within: epochs of reports some of which lie within a pass over the rows, where the others do not.
        exploit: values that a member of a population may go on with; empty: none.
    """

    make: Callable[[Values], Trainer]
    report_every: float = 1.0
    within: float = 0.5
    exploit: Values = field(default_factory=lambda: {**RATES, "per_device_train_batch_size": 8})


class OwnLoss(Trainer):  # type: ignore[misc]
    """A Trainer whose loss weighs the classes."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        """Returns a cross entropy in which the second class counts more."""
        labels = inputs["labels"]
        outputs = model(**{name: value for name, value in inputs.items() if name != "labels"})
        weights = torch.tensor([1.0, 3.0])
        loss = torch.nn.functional.cross_entropy(outputs.logits, labels, weight=weights)
        return (loss, outputs) if return_outputs else loss


class TwoGroups(Trainer):  # type: ignore[misc]
    """A Trainer that trains the head ten times as fast, without decay."""

    def create_optimizer(self, model: Any = None) -> Any:
        """Makes an AdamW with a group for the encoder, and one for the head."""
        args = self.args
        encoder = [p for name, p in self.model.named_parameters() if "classifier" not in name]
        head = [p for name, p in self.model.named_parameters() if "classifier" in name]
        groups = [
            {"params": encoder, "lr": args.learning_rate, "weight_decay": args.weight_decay},
            {"params": head, "lr": args.learning_rate * 10, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, betas=(args.adam_beta1, args.adam_beta2))
        return self.optimizer


class OwnSchedule(Trainer):  # type: ignore[misc]
    """A Trainer with SGD with momentum, and torch's one-cycle schedule, which moves rate and momentum."""

    def create_optimizer_and_scheduler(self, num_training_steps: int) -> None:
        """Makes an optimizer and a schedule of the user's own."""
        if self.optimizer is None:
            rate = self.args.learning_rate
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=rate, momentum=0.9)
            self.lr_scheduler = torch.optim.lr_scheduler.OneCycleLR(
                self.optimizer, max_lr=rate, total_steps=num_training_steps
            )


class OwnWeights(Trainer):  # type: ignore[misc]
    """A Trainer that trains a bias of its loss, too, which is no part of the model."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.bias = torch.nn.ParameterList([torch.zeros(2)])

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        """Returns the cross entropy of biased logits."""
        self.bias.zero_grad()  # the Trainer does so for the model alone
        outputs = model(**{name: value for name, value in inputs.items() if name != "labels"})
        loss = torch.nn.functional.cross_entropy(outputs.logits + self.bias[0], inputs["labels"])
        return (loss, outputs) if return_outputs else loss

    def create_optimizer(self, model: Any = None) -> Any:
        """Makes an AdamW over model and bias."""
        trained = [*self.model.parameters(), *self.bias.parameters()]
        self.optimizer = torch.optim.AdamW(trained, self.args.learning_rate)
        return self.optimizer


class WeightsAnywhere(Trainer):  # type: ignore[misc]
    """A Trainer of a temperature, and of a head with running means in a list, neither of which is part of the model."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.temperature = torch.nn.Parameter(torch.zeros(1))
        self.heads = [torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 2))]

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        """Returns the cross entropy of what the head makes of the logits."""
        (head,) = self.heads
        head.train(model.training).zero_grad()
        self.temperature.grad = None
        outputs = model(**{name: value for name, value in inputs.items() if name != "labels"})
        outputs.logits = head(outputs.logits) * self.temperature.exp()
        loss = torch.nn.functional.cross_entropy(outputs.logits, inputs["labels"])
        return (loss, outputs) if return_outputs else loss

    def create_optimizer(self, model: Any = None) -> Any:
        """Makes an AdamW over all parameters."""
        trained = [*self.model.parameters(), self.temperature, *self.heads[0].parameters()]
        self.optimizer = torch.optim.AdamW(trained, self.args.learning_rate)
        return self.optimizer


class OwnLoader(Trainer):  # type: ignore[misc]
    """A Trainer that shuffles with a plain DataLoader, which draws its order from torch's own generator."""

    def get_train_dataloader(self) -> Any:
        """Returns batches of rows."""
        size = self.args.per_device_train_batch_size
        return torch.utils.data.DataLoader(
            self.train_dataset, batch_size=size, shuffle=True, collate_fn=self.data_collator
        )


class Stream(torch.utils.data.IterableDataset[Any]):
    """A data set of rows that has no length."""

    def __iter__(self) -> Iterator[Any]:
        return iter(rows(TRAIN))


def early_stopping(params: Values) -> Trainer:
    """Makes a Trainer that ends when accuracy has not risen, as it keeps the best."""
    best = {"load_best_model_at_end": True, "save_strategy": "epoch", "metric_for_best_model": "accuracy"}
    return trainer(params, args=best, callbacks=[EarlyStoppingCallback(1)])


def streaming(params: Values) -> Trainer:
    """Makes a Trainer of 20 steps over rows that come again after four."""
    by_steps = {"max_steps": 20, "eval_strategy": "steps", "eval_steps": 5}
    return trainer(params, args=by_steps, train_dataset=Stream())


def by_max_steps(params: Values) -> Trainer:
    """Makes a Trainer of 10 steps, which are two passes and a half."""
    by_steps = {"max_steps": 10, "eval_strategy": "steps", "eval_steps": 5}
    return trainer(params, args=by_steps)


def by_steps(params: Values) -> Trainer:
    """Makes a Trainer that evaluates twice in a pass."""
    return trainer(params, args={"eval_strategy": "steps", "eval_steps": 2})


class Noisy(torch.nn.Module):
    """A model that is no PreTrainedModel: it adds noise from a generator of its own, and keeps running means."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = torch.nn.Embedding(WORDS, 16), torch.nn.Linear(16, 2)
        self.norm, self.generator = torch.nn.BatchNorm1d(16), torch.Generator().manual_seed(0)

    def forward(self, input_ids: Any, attention_mask: Any = None, labels: Any = None) -> dict[str, torch.Tensor]:
        """Returns logits, and with labels the loss."""
        text = self.norm(self.words(input_ids).mean(1))
        if self.training:
            text = text + 0.1 * torch.randn(text.shape, generator=self.generator)
        logits = self.head(text)
        told = {} if labels is None else {"loss": torch.nn.functional.cross_entropy(logits, labels)}
        return {**told, "logits": logits}


def with_numpy(params: Values) -> Trainer:
    """Makes a Trainer with a schedule that computes with NumPy, and figures per class beside the metrics."""
    model = tiny_model()
    optimizer = torch.optim.AdamW(model.parameters(), params.get("learning_rate", 5e-3))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 * (1 + np.cos(np.pi * step / 32)))

    def per_class(scored: Any) -> dict[str, Any]:
        right = scored.predictions.argmax(-1) == scored.label_ids
        return {"accuracy": np.array(right.mean()), "right": right, "said": "well"}

    return trainer(params, model=model, optimizers=(optimizer, schedule), compute_metrics=per_class)


def plateau(params: Values) -> Trainer:
    """Makes a Trainer that lowers its rate by scores."""
    how = {"patience": 0, "factor": 0.5, "mode": "max"}
    scores = {
        "lr_scheduler_type": "reduce_lr_on_plateau",
        "lr_scheduler_kwargs": how,
        "metric_for_best_model": "accuracy",
    }
    return trainer(params, args=scores)


def generating(params: Values) -> Trainer:
    """Makes the Trainer of a summariser that is scored by what it generates."""
    from tokenizers import Tokenizer, models

    words = Tokenizer(models.WordLevel({f"w{n}": n for n in range(WORDS)}, unk_token="w2"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="w0", unk_token="w2", eos_token="w3")

    def model() -> T5ForConditionalGeneration:
        small = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
        special = {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 3}
        return T5ForConditionalGeneration(T5Config(vocab_size=WORDS, **small, **special))

    def texts(count: int, seed: int) -> Any:
        plain = rows(count, seed).remove_columns(["labels", "row"])
        return plain.map(lambda row: {"labels": row["input_ids"][::-1][:4]})

    def first_word(scored: Any) -> dict[str, float]:
        return {"accuracy": float((scored.predictions[:, 1] == scored.label_ids[:, 0]).mean())}

    return trainer(
        params,
        Seq2SeqTrainer,
        arguments=Seq2SeqTrainingArguments,
        args={"predict_with_generate": True, "generation_max_length": 6},
        model_init=model,
        train_dataset=texts(TRAIN, 0),
        eval_dataset=texts(VALIDATION // 2, 1),
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        compute_metrics=first_word,
    )


KINDS: Mapping[str, Kind] = {
    "Trainer": Kind(trainer),
    "a model that is given, not made": Kind(lambda params: trainer(params, model=tiny_model())),
    "a plain module with a generator of its own": Kind(lambda params: trainer(params, model_init=Noisy)),
    "own compute_loss": Kind(lambda params: trainer(params, OwnLoss)),
    "a loss with weights of its own": Kind(lambda params: trainer(params, OwnWeights), exploit={"learning_rate": 1e-2}),
    "weights of its own in other places": Kind(
        lambda params: trainer(params, WeightsAnywhere), exploit={"learning_rate": 1e-2}
    ),
    "NumPy in schedule and metrics": Kind(with_numpy, exploit={"learning_rate": 1e-2}),
    "own create_optimizer, two groups": Kind(lambda params: trainer(params, TwoGroups)),
    "own create_optimizer_and_scheduler": Kind(
        lambda params: trainer(params, OwnSchedule),
        exploit={"learning_rate": 1e-2, "per_device_train_batch_size": 8},
    ),
    "own get_train_dataloader": Kind(lambda params: trainer(params, OwnLoader)),
    "EarlyStoppingCallback": Kind(early_stopping, exploit={}),
    "accumulation": Kind(lambda params: trainer({"gradient_accumulation_steps": 3, **params})),
    "length grouping": Kind(
        lambda params: trainer(
            params, args={"train_sampling_strategy": "group_by_length"}, train_dataset=rows(TRAIN, lengths=True)
        )
    ),
    "evaluation by steps": Kind(by_steps, report_every=0.5, within=0.25),
    "IterableDataset": Kind(streaming, exploit=RATES),
    "max_steps": Kind(by_max_steps, report_every=2.0, within=1.6, exploit=RATES),
    "ReduceLROnPlateau": Kind(plateau, exploit={"weight_decay": 0.3, "per_device_train_batch_size": 8}),
    "Seq2SeqTrainer with generate": Kind(generating),
}
