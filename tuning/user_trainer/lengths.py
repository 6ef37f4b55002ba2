"""The length of a trial and the distance of its evaluations. In: a Trainer's arguments. Out: epochs."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from trainables.errors import InputError
from tuning.space import FunctionSpace, Space

LEAST = 0.001  # of an epoch between two evaluations


class Lengths(NamedTuple):
    """Lengths in epochs: passes over the training data; with `max_steps`, the whole training counts as one epoch."""

    epochs: float
    report_every_epochs: float


def lengths_of(arguments: Any, rows: int | None, space: Space) -> Lengths:
    """The length of the longest trial, and the distance of its evaluations.

    Args:
        arguments: of the user's Trainer.
        rows: of the training data; None: not known.
        space: values in it take the place of the arguments'.

    Raises:
        InputError: the training data have no length and the arguments no `max_steps`.
    """
    steps = int(_most("max_steps", space, arguments.max_steps))
    per_epoch = None if rows is None else _steps_per_epoch(arguments, rows)
    if steps > 0:
        each = {"steps": _each(arguments, steps), "epoch": (per_epoch or steps) / steps}
        return Lengths(1.0, _within(each.get(_strategy(arguments), 1.0), 1.0))
    if per_epoch is None:
        step = "set max_steps"
        raise InputError("args.max_steps", arguments.max_steps, "the training data have no length", step)
    epochs = float(_most("num_train_epochs", space, arguments.num_train_epochs))
    each = {"steps": _each(arguments, per_epoch * epochs) * epochs, "epoch": 1.0}
    return Lengths(epochs, _within(each.get(_strategy(arguments), epochs), epochs))


def most_epochs(space: Space, default: float) -> float:
    """The longest training in `space`."""
    return float(_most("num_train_epochs", space, default))


def evaluates_at_the_end_only(arguments: Any) -> bool:
    """True if the arguments ask for no evaluation during the training."""
    return _strategy(arguments) == "no"


def _strategy(arguments: Any) -> str:
    return str(getattr(arguments.eval_strategy, "value", arguments.eval_strategy))


def _each(arguments: Any, steps: float) -> float:
    """The share of a training of `steps` steps that passes between two evaluations by steps."""
    each = arguments.eval_steps or arguments.logging_steps
    return float(each if each < 1 else each / steps)


def _steps_per_epoch(arguments: Any, rows: int) -> int:
    batches = math.ceil(rows / int(arguments.train_batch_size))
    return max(1, math.ceil(batches / int(arguments.gradient_accumulation_steps)))


def _within(each: float, epochs: float) -> float:
    return min(max(round(each, 6), LEAST), epochs)


def _most(name: str, space: Space, default: float) -> float:
    values: list[Any] = []
    if name in space.names:
        values = dict(space.items())[name].grid(2)  # both ends of a range, all of a choice
    if isinstance(space, FunctionSpace):
        values += [walk.returned[name] for walk in space.explored.walks if name in walk.returned]
    return float(max(values, default=default))
