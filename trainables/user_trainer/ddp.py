"""A user's Trainer in several processes, one device each, with DDP over the group of `replicas.join_process_group`.

Each process builds the Trainer and calls the same methods. Transformers and accelerate divide batches and evaluations,
and average gradients. This module ensures that all processes take the same decisions (one that stopped or evaluated
alone would leave the others waiting), and that the loss is scaled as in one process.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from transformers import Trainer, TrainerControl

from trainables.checkpoints.tensors import random_state, set_random_state
from trainables.distributed.replicas import Replicas
from trainables.errors import InputError

REQUESTS = ("should_training_stop", "should_epoch_stop", "should_evaluate", "should_log", "should_save")


def require_distributed(trainer: Trainer) -> None:
    """Requires that the Trainer uses all processes of the trial, on their devices.

    Raises:
        InputError: it would train alone in each process, or on a device that the group cannot communicate from.
    """
    size, args = Replicas.here().size, trainer.args
    if size == 1:
        return
    if args.world_size != size:
        rule = f"it knows of {args.world_size} process, and {size} compute a trial (cluster.gpus_per_trial)"
        raise InputError("TrainingArguments", args.world_size, rule, "make them in the factory, not before")
    if args.device.type == "cpu" and dist.get_backend() != "gloo":
        rule = f"the {size} processes of a trial have a GPU each (cluster.gpus_per_trial)"
        raise InputError("use_cpu", True, rule, "remove it, or set cluster.gpus_per_trial: 0")


def require_averaged(trainer: Trainer, optimizer: torch.optim.Optimizer) -> None:
    """Requires that the optimizer trains only weights of the model, whose gradients DDP averages.

    Raises:
        InputError: it trains other weights, such as those of a loss, which would diverge between processes.
    """
    if Replicas.here().size == 1:
        return
    averaged = {id(parameter) for parameter in trainer.model.parameters()}
    beside = [p for group in optimizer.param_groups for p in group["params"] if id(p) not in averaged]
    if beside:
        rule = "DDP averages the gradients of the model alone: each process would train others of its own"
        step = "make them part of the model, or set cluster.gpus_per_trial: 1"
        raise InputError("optimizer", f"{len(beside)} beside the model", rule, step)


def agree_on_control(control: TrainerControl) -> None:
    """Makes all processes follow what callbacks request in any of them; call it in all, at the same place."""
    if Replicas.here().size == 1:
        return
    asked = torch.tensor([bool(getattr(control, name)) for name in REQUESTS], dtype=torch.uint8)
    dist.all_reduce(asked, dist.ReduceOp.MAX, group=_on_cpu())
    for name, wanted in zip(REQUESTS, asked.tolist(), strict=True):
        setattr(control, name, bool(wanted))


def settle_loss_scale(
    trainer: Trainer, model: torch.nn.Module, loss_of: Callable[[Any], torch.Tensor], count: Any
) -> bool:
    """Finds out whether the model divides its loss by the number of labels of the whole step, and scales accordingly.

    Transformers assumes it does if its `forward` takes keywords, and multiplies the loss by the number of processes,
    because DDP averages over them. Most classifiers return a mean over the batch: their gradients would be too large.
    For such a model the multiplication is switched off. Call it in all processes.

    Args:
        trainer: whose `average_tokens_across_devices` is set.
        model: as the Trainer calls it.
        loss_of: returns the loss of a batch for a given number of labels.
        count: the number of labels of the step.

    Returns:
        False if this batch does not show it, because its loss is 0.
    """
    if not trainer.args.average_tokens_across_devices:
        return True
    mode, generators = model.training, random_state()
    model.eval()
    try:
        with torch.no_grad():
            losses = float(loss_of(count)), float(loss_of(2 * count))
    finally:
        model.train(mode)
        set_random_state(generators)
    pairs = Replicas.here().gather(losses)
    if not any(once for once, _ in pairs):
        return False
    trainer.args.average_tokens_across_devices = any(abs(once - twice) > 1e-3 * abs(once) for once, twice in pairs)
    return True


@functools.cache
def _on_cpu() -> Any:
    """A process group on the CPU, so that agreements do not wait for the devices; one for all trials of a process."""
    return dist.group.WORLD if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")
