"""An optimizer and its scheduler taken over from a donor, with the trial's own values.

What a parameter group holds is either a value that its trial was given (rate, decay, betas), or state that the
optimizer keeps there (Prodigy's estimate, schedule-free's counts), or where the schedule stands. Told apart by what
changes: state of the donor is what is not as it was when that began; of the schedule what changes when the trial's own,
fresh scheduler is moved to the position. All else is the trial's own. So it works for any optimizer, any number of
groups and any scheduler that follows from the step; one that follows from scores (ReduceLROnPlateau) is state itself.
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
    """Whether its scheduler lowers the rate by scores, and not by steps."""
    named = trainer.args.lr_scheduler_type in (SchedulerType.REDUCE_ON_PLATEAU, SchedulerType.GREEDY)
    return isinstance(trainer.lr_scheduler, FOLLOW_SCORES) or (trainer.lr_scheduler is None and named)


def groups_of(optimizer: torch.optim.Optimizer) -> Groups:
    """What each parameter group holds besides its parameters."""
    return [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]


def initial_values(optimizer: torch.optim.Optimizer, scheduler: Any) -> dict[str, Any]:
    """What tells values from state later; to be asked before the first step, or before a state is taken over."""
    return {"groups": _plain(groups_of(optimizer)), "scheduler": copy.deepcopy(_seen_by(scheduler))}


def capture_optimizer_state(
    optimizer: torch.optim.Optimizer, scheduler: Any, fresh: Mapping[str, Any]
) -> dict[str, Any]:
    """All that `restore_optimizer_state` needs of a donor.

    Args:
        fresh: its `initial_values`.
    """
    return {"optimizer": _plain(optimizer.state_dict()), "scheduler": _seen_by(scheduler), "fresh": fresh}


def restore_optimizer_state(
    optimizer: torch.optim.Optimizer, scheduler: Any, saved: Mapping[str, Any], step: int
) -> None:
    """Give a fresh optimizer the donor's state, and move it and its fresh scheduler to `step`.

    Args:
        saved: what `capture_optimizer_state` has told.

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
    """From its beginning to `step`: at once where its rates are functions of the step, else step by step."""
    if type(scheduler) is not LambdaLR:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch: no step of the optimizer has gone before
            for _ in range(step):
                scheduler.step()
        return
    scheduler.last_epoch, scheduler._step_count = step, step + 1
    rates = [base * rate(step) for base, rate in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)]
    for group, rate in zip(scheduler.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    scheduler._last_lr = rates


def _seen_by(scheduler: Any) -> dict[str, Any]:
    """What a scheduler counts; nothing of one that follows from the step, whose functions may hold anything."""
    counted: dict[str, Any] = _plain(scheduler.state_dict()) if isinstance(scheduler, FOLLOW_SCORES) else {}
    return counted


def _plain(value: Any) -> Any:
    """NumPy's numbers (a schedule may compute with `np.cos`) as Python's, which alone are read back as plain values."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return type(value)(map(_plain, value)) if type(value) in (list, tuple) else value


def _same(one: Any, other: Any) -> bool:
    if torch.is_tensor(one) or torch.is_tensor(other):
        return torch.is_tensor(one) and torch.is_tensor(other) and torch.equal(one.cpu(), other.cpu())
    return bool(one == other)
