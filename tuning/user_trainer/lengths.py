"""The length of a trial and the distance of its evaluations. In: a Trainer's arguments. Out: epochs."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

from trainables.errors import InputError
from tuning.space import FunctionSpace, Space

LEAST = 0.001  # of an epoch between two evaluations


class Lengths(NamedTuple):
    """Lengths in epochs: passes over the training data; with `max_steps`, the whole training counts as one epoch."""

    epochs: float
    report_every_epochs: float


def lengths_of(
    arguments: Any, rows: int | None, space: Space, processes: int = 1, every: float | None = None
) -> Lengths:
    """The length of the longest trial, and the distance of its evaluations.

    Evaluations fall at the same epochs in every trial, so `eval_steps` can be right for one batch size alone: it counts
    the steps of the trials that take the fewest, those with the most rows per step.

    Args:
        arguments: of the user's Trainer.
        rows: of the training data; None: not known.
        space: values in it take the place of the arguments'.
        processes: of a trial; each takes a batch of its own in every step.
        every: the distance of evaluations in epochs, in place of what the arguments say; None: as they say.

    Raises:
        InputError: the training data have no length and the arguments no `max_steps`; or evaluations are closer to
            each other than a spec can have them.
    """
    steps = int(_most("max_steps", space, arguments.max_steps))
    per_epoch = None if rows is None else _steps_per_epoch(arguments, rows, space, processes)
    if steps > 0:
        each = {"steps": _each(arguments, steps), "epoch": (per_epoch or steps) / steps}
        return Lengths(1.0, every or _distance(arguments, each.get(_strategy(arguments), 1.0), 1.0))
    if per_epoch is None:
        step = "set max_steps"
        raise InputError("args.max_steps", arguments.max_steps, "the training data have no length", step)
    epochs = float(_most("num_train_epochs", space, arguments.num_train_epochs))
    each = {"steps": _each(arguments, per_epoch * epochs) * epochs, "epoch": 1.0}
    return Lengths(epochs, every or _distance(arguments, each.get(_strategy(arguments), epochs), epochs))


def most_epochs(space: Space, default: float) -> float:
    """The longest training in `space`."""
    return float(_most("num_train_epochs", space, default))


def has_unequal_schedules(space: Space) -> bool:
    """True if the lengths of trainings in `space` differ."""
    name = "num_train_epochs"
    return name in space.searched or len(set(_together((name,), space, [None]))) > 1


def evaluates_at_the_end_only(arguments: Any) -> bool:
    """True if the arguments ask for no evaluation during the training."""
    return _strategy(arguments) == "no"


def warn_of_delay(arguments: Any) -> None:
    """Warns of an `eval_delay` that would leave out the Trainer's first evaluations: trials have them all the same."""
    each = {"epoch": 1.0, "steps": float(arguments.eval_steps or arguments.logging_steps)}.get(_strategy(arguments))
    if each is None or arguments.eval_delay <= (each if each >= 1 else 0):
        return
    warnings.warn(
        f"args.eval_delay: {arguments.eval_delay:g}: trials are evaluated from their beginning on, since strategies "
        "decide by these scores, and the best of all evaluations counts; set it to 0, or give report_every_epochs=... "
        "for evaluations that are further apart",
        stacklevel=4,  # the caller of `hyperparameter_search`
    )


def _strategy(arguments: Any) -> str:
    return str(getattr(arguments.eval_strategy, "value", arguments.eval_strategy))


def _distance(arguments: Any, each: float, epochs: float) -> float:
    """The distance of evaluations in a spec, from that of the arguments; both in epochs."""
    if each < LEAST:
        whole = "the training" if arguments.max_steps > 0 else "an epoch"
        rule = f"is an evaluation after each {each:.2g} of {whole}; the least is {LEAST:g}"
        if (strategy := _strategy(arguments)) != "steps":
            raise InputError("args.eval_strategy", strategy, rule, f"write report_every_epochs={LEAST:g}")
        given = float(arguments.eval_steps or arguments.logging_steps)
        least = given * LEAST / each
        step = f"set eval_steps to {math.ceil(least - 1e-9) if given >= 1 else round(least, 6)} or more"
        raise InputError("args.eval_steps", arguments.eval_steps, rule, step)
    return min(round(each, 6), epochs)


def _each(arguments: Any, steps: float) -> float:
    """The share of a training of `steps` steps that passes between two evaluations by steps."""
    each = arguments.eval_steps or arguments.logging_steps
    return float(each if each < 1 else each / steps)


def _steps_per_epoch(arguments: Any, rows: int, space: Space, processes: int) -> int:
    """The steps of the trials that take the fewest, as `Trainer.set_initial_training_values` counts them."""
    names = ("per_device_train_batch_size", "gradient_accumulation_steps", "dataloader_drop_last")
    counts = []
    for batch, accumulated, drops_last in _together(names, space, [getattr(arguments, name) for name in names]):
        batches, left = divmod(rows, int(batch) * processes)
        batches += left > 0 and not drops_last
        counts.append(max(1, math.ceil(batches / int(accumulated))))
    return min(counts)


def _most(name: str, space: Space, default: float) -> float:
    return float(max(value for (value,) in _together((name,), space, [default])))


def _together(names: Sequence[str], space: Space, defaults: Sequence[Any]) -> list[tuple[Any, ...]]:
    """The values of `names` that stand side by side in a trial, with the ends of each range and all of each choice."""
    if isinstance(space, FunctionSpace):  # what it returns is in force, and not what it suggests
        walks = [walk.returned for walk in space.explored.walks]
        return [tuple(walk.get(name, default) for name, default in zip(names, defaults, strict=True)) for walk in walks]
    declared = dict(space.items())
    each = [
        declared[name].grid(2) if name in declared else [default] for name, default in zip(names, defaults, strict=True)
    ]
    return list(itertools.product(*each))
