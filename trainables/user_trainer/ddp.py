"""A Trainer in several processes, one device each, over the process group that `replicas.join` has made: DDP.

Each process makes the Trainer and calls the same verbs. Transformers and accelerate divide batches and evaluations and
average gradients. What is left is that none goes a way of its own: one that ended its training, or evaluated, while the
others went on would leave them waiting for it. And that the loss is that of one process.
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

ASKED = ("should_training_stop", "should_epoch_stop", "should_evaluate", "should_log", "should_save")


def require_distributed(trainer: Trainer) -> None:
    """The Trainer computes in these processes, on their devices.

    Raises:
        InputError: it would train alone in each of them, or elsewhere than they can speak from.
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
    """What the optimizer trains is part of the model, whose gradients are averaged.

    Raises:
        InputError: other weights, such as a loss's own, would become others in each process.
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
    """What one process is asked to do next, all do. Must be called in all of them, at the same place."""
    if Replicas.here().size == 1:
        return
    asked = torch.tensor([bool(getattr(control, name)) for name in ASKED], dtype=torch.uint8)
    dist.all_reduce(asked, dist.ReduceOp.MAX, group=_on_cpu())
    for name, wanted in zip(ASKED, asked.tolist(), strict=True):
        setattr(control, name, bool(wanted))


def settle_loss_scale(
    trainer: Trainer, model: torch.nn.Module, loss_of: Callable[[Any], torch.Tensor], count: Any
) -> bool:
    """Find out whether the loss is divided by the number of labels of the whole step, as transformers takes for granted
    of any model whose `forward` has keywords: it multiplies it by the number of processes, which their mean divides it
    by. Of others (most classifiers) the loss is a mean already, and gradients and scores would be too large by as much.
    Such a model's is not multiplied from then on. Must be called in all processes.

    Args:
        model: as it is called.
        loss_of: the loss of a batch for a number of labels.
        count: that number.

    Returns:
        False: it cannot be told from this batch, whose loss is 0.
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
    told = Replicas.here().gather(losses)
    if not any(once for once, _ in told):
        return False
    trainer.args.average_tokens_across_devices = any(abs(once - twice) > 1e-3 * abs(once) for once, twice in told)
    return True


@functools.cache
def _on_cpu() -> Any:
    """Beside the devices: what is agreed on must not wait for what they compute. One for all trials of a process."""
    return dist.group.WORLD if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")
