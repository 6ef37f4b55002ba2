"""Other names of the tunables, as libraries and papers use them, so that a message can give the name used here."""

from __future__ import annotations

from collections.abc import Iterable

from trainables.errors import nearest
from trainables.tunables import TUNABLES

SLIP = 0.75  # similarity of two names of which one may be a slip of the pen for the other: one letter in four differs
# Compared without case, dashes and underscores.
ALIASES: dict[str, tuple[str, ...]] = {
    "learning_rate": ("lr", "learningrate", "rate", "peak_lr", "init_lr", "eta"),
    "weight_decay": ("wd", "decay", "l2"),
    "per_device_train_batch_size": ("batch_size", "bs", "batch", "train_batch_size", "per_gpu_train_batch_size"),
    "gradient_accumulation_steps": ("accumulation", "grad_accum", "gradient_accumulation", "accumulate_grad_batches"),
    "num_train_epochs": ("epochs", "num_epochs", "n_epochs", "max_epochs", "nepochs"),
    "warmup_ratio": ("warmup", "warmup_proportion", "warmup_share", "warm_up"),
    "warmup_steps": ("num_warmup_steps", "warm_up_steps"),
    "max_grad_norm": ("grad_clip", "clip", "clip_grad_norm", "gradient_clip_val", "gradient_clipping", "clipping"),
    "label_smoothing_factor": ("label_smoothing", "smoothing"),
    "adam_beta1": ("beta1", "beta_1"),
    "adam_beta2": ("beta2", "beta_2"),
    "adam_epsilon": ("eps", "epsilon", "adam_eps"),
    "lr_scheduler_type": ("scheduler", "lr_scheduler", "schedule", "lr_schedule"),
    "optim": ("optimizer", "optimiser"),
    "data.max_length": (
        "max_length",
        "max_len",
        "maxlen",
        "max_seq_length",
        "max_seq_len",
        "seq_len",
        "sequence_length",
    ),
    "data_order_seed": ("data_seed",),
    "model.hidden_dropout_prob": ("dropout", "hidden_dropout", "dropout_prob", "hidden_dropout_prob", "dropout_rate"),
    "model.attention_probs_dropout_prob": ("attention_dropout", "attention_probs_dropout_prob", "attn_dropout"),
}
MEANT = {alias.replace("_", ""): name for name, aliases in ALIASES.items() for alias in aliases}


def meant_tunable(name: str) -> str | None:
    """The tunable for which `name` is another word, or None: `lr` is `learning_rate`, `bs` the batch size."""
    return MEANT.get(name.lower().replace("_", "").replace("-", ""))


def nearest_tunable(name: str, others: Iterable[str] = ("model.<key>",)) -> str:
    """A hint for an unknown name: 'did you mean X?' for another word or a typo, else the list of all names."""
    meant = meant_tunable(name)
    if meant is not None and meant.startswith("model."):
        return f"did you mean {meant}, as the configurations of BERT and its kin name it?"
    return f"did you mean {meant}?" if meant else nearest(name, [*TUNABLES, *others], cutoff=SLIP)
