"""A reward model: how well is a query formed, from 0 to 1? An encoder with a head whose shape is searched.

The head is an MLP of `num_hidden_layers` layers, each half as wide as the one before, with the activation, layer norm
and dropout of the trial. It learns `head_lr_multiplier` times as fast as the encoder below it: two groups of one
optimizer. A trial stops when the validation loss has not improved for two evaluations.
"""

from __future__ import annotations

import functools
import random
from typing import Any

import torch
from datasets import Dataset, DatasetDict
from torch import nn
from transformers import (
    AutoTokenizer,
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    ModernBertConfig,
    ModernBertModel,
    ModernBertPreTrainedModel,
    Trainer,
    TrainingArguments,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from trainables.models.encoders import resolve_model

TOKENIZER = resolve_model("minilm")  # for real work: "answerdotai/ModernBERT-base"
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
HEAD = ("num_hidden_layers", "hidden_dim_ratio", "activation", "use_layer_norm", "dropout")
ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh, "leaky_relu": nn.LeakyReLU}


class RewardModel(ModernBertPreTrainedModel):
    """The encoder, the mean over its tokens, the head. Its shape stands in the configuration, under `head`."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__(config)
        self.model = ModernBertModel(config)
        self.head = head(config.hidden_size, **config.head)
        self.post_init()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor | None = None) -> Any:
        """Scores of shape (rows, 1), and the squared error where labels are given."""
        tokens = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1)
        scores = self.head((tokens * mask).sum(1) / mask.sum(1))
        loss = None if labels is None else nn.functional.mse_loss(scores.squeeze(-1), labels.float())
        return SequenceClassifierOutput(loss=loss, logits=scores)


def head(
    width: int, num_hidden_layers: int, hidden_dim_ratio: float, activation: str, use_layer_norm: bool, dropout: float
) -> nn.Sequential:
    """Build the head: dropout, then per layer linear, layer norm, activation and dropout; then one number."""
    layers: list[nn.Module] = [nn.Dropout(dropout)]
    after = width
    for i in range(num_hidden_layers):
        before, after = after, int(width * hidden_dim_ratio * 0.5**i)
        norm = [nn.LayerNorm(after)] if use_layer_norm else []
        layers += [nn.Linear(before, after), *norm, ACTIVATIONS[activation](), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(after, 1))


class RewardTrainer(Trainer):
    """The head's parameters are a group of their own, with a rate of their own."""

    head_lr_multiplier = 1.0

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Make the schedule, which scales both rates alike; `train()` calls it."""
        if self.optimizer is None:
            rate = self.args.learning_rate
            groups = [
                {"params": list(self.model.model.parameters()), "lr": rate},
                {"params": list(self.model.head.parameters()), "lr": rate * self.head_lr_multiplier},
            ]
            self.optimizer = torch.optim.AdamW(groups, weight_decay=self.args.weight_decay)
        return self.optimizer


def make_trainer(params: dict[str, Any]) -> Trainer:
    """A Trainer with the values of one trial: the head's, the data's, and the rest as arguments."""
    own = dict(params)
    shape = {name: own.pop(name) for name in HEAD}
    multiplier = own.pop("head_lr_multiplier")
    tokenizer, rows = prepared(own.pop("max_length"))
    # For real work: config = AutoConfig.from_pretrained(TOKENIZER); config.head = shape;
    # model = RewardModel.from_pretrained(TOKENIZER, config=config)
    config = ModernBertConfig(**SMALL, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, head=shape)
    trainer = RewardTrainer(
        model=RewardModel(config),
        args=TrainingArguments(
            eval_strategy="epoch", metric_for_best_model="loss", greater_is_better=False,
            warmup_steps=own.pop("warmup_ratio"), lr_scheduler_type="cosine", **own,
        ),
        train_dataset=rows["train"],
        eval_dataset=rows["validation"],
        data_collator=DataCollatorWithPadding(tokenizer),
        callbacks=[EarlyStoppingCallback(early_stopping_patience=2)],
    )  # fmt: skip
    trainer.head_lr_multiplier = multiplier
    trainer.test_dataset = rows["test"]
    return trainer


@functools.cache
def prepared(max_length: int) -> tuple[Any, DatasetDict]:
    """The tokenizer and the tokenised queries: once per process and length."""
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    rng = random.Random(42)
    sizes = {"train": 256, "validation": 64, "test": 64}  # for real work: the queries of your TSV
    rows = DatasetDict({split: Dataset.from_list([query(rng) for _ in range(n)]) for split, n in sizes.items()})
    return tokenizer, rows.map(
        lambda row: {**tokenizer(row["query"], truncation=True, max_length=max_length)}, remove_columns="query"
    )


def query(rng: random.Random) -> dict[str, Any]:
    """A question, perhaps in disorder or without the mark at its end, and the share of raters that like it."""
    thing, place = rng.choice(["capital", "river", "oldest bridge", "mayor"]), rng.choice(["france", "peru", "kent"])
    words, score = f"what is the {thing} of {place}".split(), 1.0
    if rng.random() < 0.4:
        rng.shuffle(words)
        score -= 0.6
    if rng.random() < 0.3:
        return {"query": " ".join(words), "labels": score - 0.2}
    return {"query": " ".join(words) + "?", "labels": score}
