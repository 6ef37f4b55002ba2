"""Restores the state of a donor's optimizer and scheduler, but keeps the trial's own hyperparameters.

An entry of a parameter group is one of three: a hyperparameter of the trial (rate, decay, betas), state of the
optimizer (Prodigy's estimate, schedule-free's counts), or set by the schedule. They are told apart by what changes.
State is what differs from its value when the donor's training began. Schedule is what changes when the trial's own
fresh scheduler is moved to the position. Everything else is the trial's own. This works for any optimizer, any number
of groups, and any scheduler that is a function of the step; one that follows scores (ReduceLROnPlateau) is state.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau
from transformers import Trainer
from transformers.optimization import GreedyLR
from transformers.trainer_utils import SchedulerType

Groups = list[dict[str, Any]]
FOLLOW_SCORES = (ReduceLROnPlateau, GreedyLR)


def follows_scores(trainer: Trainer) -> bool:
    """True if the Trainer's scheduler lowers the rate by scores, not by steps."""
    named = trainer.args.lr_scheduler_type in (SchedulerType.REDUCE_ON_PLATEAU, SchedulerType.GREEDY)
    return isinstance(trainer.lr_scheduler, FOLLOW_SCORES) or (trainer.lr_scheduler is None and named)


def groups_of(optimizer: torch.optim.Optimizer) -> Groups:
    """The entries of each parameter group, without its parameters."""
    return [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]


def initial_values(optimizer: torch.optim.Optimizer, scheduler: Any) -> dict[str, Any]:
    """Captures the entries by which state is recognised later; call it before the first step, or before a restore."""
    return {"groups": _plain(groups_of(optimizer)), "scheduler": copy.deepcopy(_seen_by(scheduler))}


def capture_optimizer_state(
    optimizer: torch.optim.Optimizer, scheduler: Any, fresh: Mapping[str, Any]
) -> dict[str, Any]:
    """Captures what `restore_optimizer_state` needs of a donor.

    Args:
        optimizer: the donor's.
        scheduler: the donor's.
        fresh: the donor's `initial_values`.
    """
    return {"optimizer": _plain(optimizer.state_dict()), "scheduler": _seen_by(scheduler), "fresh": fresh}


def restore_optimizer_state(
    optimizer: torch.optim.Optimizer, scheduler: Any, saved: Mapping[str, Any], step: int
) -> None:
    """Restores the donor's state into a fresh optimizer, and moves it and its fresh scheduler to `step`.

    Args:
        optimizer: the trial's, before its first step.
        scheduler: the trial's, before its first step.
        saved: what `capture_optimizer_state` returned.
        step: optimizer steps so far.

    Raises:
        ValueError: the donor's optimizer has other groups, or groups of other sizes.
    """
    fresh, beginnings = groups_of(optimizer), saved["fresh"]
    optimizer.load_state_dict(saved["optimizer"])
    donors = groups_of(optimizer)
    for group, own in zip(optimizer.param_groups, fresh, strict=True):
        group.update(own)
    if isinstance(scheduler, FOLLOW_SCORES):
        counted = {n: v for n, v in saved["scheduler"].items() if not _same(v, beginnings["scheduler"].get(n))}
        scheduler.load_state_dict({**scheduler.state_dict(), **counted})
    else:
        _move(scheduler, step)
    for group, own, donor, before in zip(optimizer.param_groups, fresh, donors, beginnings["groups"], strict=True):
        for name in donor:
            moved = not _same(group.get(name), own.get(name))
            if not moved and not _same(donor[name], before.get(name)):
                group[name] = donor[name]


def _move(scheduler: Any, step: int) -> None:
    """Moves a fresh scheduler to `step`: at once if its rates are functions of the step, else step by step."""
    if type(scheduler) is not LambdaLR:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns that no optimizer step came before
            for _ in range(step):
                scheduler.step()
        return
    scheduler.last_epoch, scheduler._step_count = step, step + 1
    rates = [base * rate(step) for base, rate in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)]
    for group, rate in zip(scheduler.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    scheduler._last_lr = rates


def _seen_by(scheduler: Any) -> dict[str, Any]:
    """The state of a scheduler that follows scores; empty for others, whose functions may hold anything."""
    counted: dict[str, Any] = _plain(scheduler.state_dict()) if isinstance(scheduler, FOLLOW_SCORES) else {}
    return counted


def _plain(value: Any) -> Any:
    """Converts NumPy numbers (a schedule may use `np.cos`) to Python's, which `torch.load` accepts as plain values."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return type(value)(map(_plain, value)) if type(value) in (list, tuple) else value


def _same(one: Any, other: Any) -> bool:
    if torch.is_tensor(one) or torch.is_tensor(other):
        return torch.is_tensor(one) and torch.is_tensor(other) and torch.equal(one.cpu(), other.cpu())
    return bool(one == other)
