"""Checks for legal values that can only be a mistake.

With these the learning rate would never reach its peak.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from trainables.spec import Value
from trainables.tunables import TUNABLES
from tuning.space import Space
from tuning.spec.mistakes import Mistake, join_path
from tuning.spec.validation.draft import Draft
from tuning.spec.validation.row_bounds import most_rows

if TYPE_CHECKING:
    from tuning.spec.models import ExperimentSpec


def check_warmup(draft: Draft) -> Iterator[Mistake]:
    """Finds a warm-up as long as the run, by the largest possible number of rows."""
    if draft.spec.trainable == "finetune":
        yield from endless_warmups(draft.spec, most_rows(draft.spec) if counts_warmup_steps(draft.spec) else None)


def counts_warmup_steps(spec: ExperimentSpec) -> bool:
    """True if a warm-up is stated in steps: to check it, the rows of the training files have to be counted."""
    return any(True for _ in stated_of(spec, "warmup_steps"))


def endless_warmups(spec: ExperimentSpec, rows: int | None) -> Iterator[Mistake]:
    """The warm-ups, fixed or searched, with which the learning rate would reach its peak in no trial.

    Args:
        rows: of the training split, or more than it has; None: unknown, then only `warmup_ratio` is checked.
    """
    for where, value in _least(spec, "warmup_ratio"):
        if value >= 1:
            rule = "the learning rate rises to the end of the run and never falls"
            yield Mistake(where, rule, value, "0.06 to 0.1 is usual")
    if rows is None:
        return
    most = most_steps(spec, rows)
    for where, value in _least(spec, "warmup_steps"):
        if value >= most:
            batch = min(_values(spec, "per_device_train_batch_size"))
            rule = (
                f"a trial has at most {most} optimizer steps (at most {rows} rows, {spec.epochs:g} epochs, batches of "
                f"{batch:g}), so the learning rate never reaches its peak"
            )
            yield Mistake(where, rule, value, "lower it, or use warmup_ratio (0.06 to 0.1 is usual)")


def most_steps(spec: ExperimentSpec, rows: int) -> int:
    """The optimizer steps of the longest trial that any strategy may propose."""
    batch = min(_values(spec, "per_device_train_batch_size")) * min(_values(spec, "gradient_accumulation_steps"))
    return max(1, math.ceil(rows * spec.epochs / batch))


def fewest_steps(spec: ExperimentSpec, rows: int) -> int:
    """The optimizer steps of the shortest trial that any strategy may propose."""
    batch = max(_values(spec, "per_device_train_batch_size")) * max(_values(spec, "gradient_accumulation_steps"))
    epochs = min(_values(spec, "num_train_epochs"), default=spec.epochs)
    return max(1, math.ceil(rows * min(epochs, spec.epochs) / batch))


def spaces_of(spec: ExperimentSpec) -> Iterator[tuple[str, Space]]:
    """The spaces that are searched, each with its path; the experiment's own if a strategy has none."""
    if any(strategy.space is None for strategy in spec.strategies):
        yield "space", spec.space
    for position, strategy in enumerate(spec.strategies):
        if strategy.space is not None:
            yield join_path("strategies", position, "space"), strategy.space
        if strategy.own_values:
            yield join_path("strategies", position, "values"), Space.model_validate(dict(strategy.own_values))


def stated_of(spec: ExperimentSpec, name: str) -> Iterator[tuple[str, list[float]]]:
    """The numbers that are declared for a tunable, by the path of the declaration."""
    if _is_number(spec.fixed.get(name)):
        yield join_path("fixed", name), [float(str(spec.fixed[name]))]
    for where, space in spaces_of(spec):
        if (dimension := space.root.get(name)) is not None:
            values = [float(str(value)) for _, value in dimension.stated() if _is_number(value)]
            if values:
                yield join_path(where, name), values


def _least(spec: ExperimentSpec, name: str) -> Iterator[tuple[str, float]]:
    return ((where, min(values)) for where, values in stated_of(spec, name))


def _values(spec: ExperimentSpec, name: str) -> list[float]:
    """All numbers that are declared for a tunable, and its default if some space does not name it."""
    values = [value for _, stated in stated_of(spec, name) for value in stated]
    everywhere = name in spec.fixed or all(name in space.root for _, space in spaces_of(spec))
    default = TUNABLES[name].default
    return values if everywhere or not _is_number(default) else [*values, float(str(default))]


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
