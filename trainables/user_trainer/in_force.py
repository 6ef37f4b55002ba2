"""Reads a trial's values in force off its live Trainer, and what else its scores depend on."""

from __future__ import annotations

import platform
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer
from transformers.trainer_utils import has_length

from trainables.spec import Params, Value

SPLIT = "validation_split"  # key in the provenance


def values(trainer: Trainer, params: Params) -> dict[str, Value]:
    """The values in force, by the names in `params`; a value that no live object holds is returned as it is.

    Learning rate, decay and betas are read off the optimizer if its groups agree, because a custom optimizer need not
    follow the arguments. Groups may differ on purpose: no decay for biases, another rate for the head.
    """
    live = {**_arguments(trainer, params), **_optimizer(trainer)}
    return {name: live.get(name, value) for name, value in params.items()}


def _arguments(trainer: Trainer, params: Params) -> dict[str, Value]:
    held = {name: getattr(trainer.args, name) for name in params if hasattr(trainer.args, name)}
    plain = {name: getattr(value, "value", value) for name, value in held.items()}  # enumerations become texts
    return {name: value for name, value in plain.items() if isinstance(value, bool | int | float | str)}


def _optimizer(trainer: Trainer) -> dict[str, Value]:
    if trainer.optimizer is None or trainer.lr_scheduler is None:  # not trained yet
        return {}
    groups = trainer.optimizer.param_groups
    peaks = type(trainer.lr_scheduler) is LambdaLR  # other schedulers may set `initial_lr` to a fraction of the rate
    held: dict[str, set[Any]] = {
        "learning_rate": {float(group["initial_lr"]) for group in groups if peaks and "initial_lr" in group},
        "weight_decay": {float(group.get("weight_decay", 0.0)) for group in groups} - {0.0} or {0.0},
        "adam_beta1": {group["betas"][0] for group in groups if "betas" in group},
        "adam_beta2": {group["betas"][1] for group in groups if "betas" in group},
        "adam_epsilon": {group["eps"] for group in groups if "betas" in group and "eps" in group},
    }
    return {name: found.pop() for name, found in held.items() if len(found) == 1}


def provenance(trainer: Trainer) -> dict[str, Value]:
    """The classes of Trainer and model, sizes of the data, device, precision and number of processes."""
    args = trainer.args
    cuda = args.device.type == "cuda"
    facts: dict[str, Value] = {
        "trainer": f"{type(trainer).__module__}.{type(trainer).__qualname__}",
        "model": f"{type(trainer.model).__module__}.{type(trainer.model).__qualname__}",
        "device_name": torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine(),
        "processes": args.world_size,
        "precision": "bf16" if args.bf16 else "fp16" if args.fp16 else "fp32",
    }
    if args.world_size > 1:
        facts["per_device_train_batch_size"] = "the rows of one process"
    for name, rows in (("train_rows", trainer.train_dataset), ("validation_rows", trainer.eval_dataset)):
        if rows is not None and not isinstance(rows, dict) and has_length(rows):
            facts[name] = len(rows)
    if split := getattr(trainer.eval_dataset, "split", None):
        facts[SPLIT] = str(split)  # its published name, which shows if somebody validates on the test split
    return facts
