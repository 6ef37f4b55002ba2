"""The configurations of a space that take least and most of a device: between them lie all others."""

from __future__ import annotations

import random
from collections.abc import Iterable

from trainables.spec import Params, Value
from trainables.tunables import TUNABLES
from tuning.estimate.costs import BATCH
from tuning.spec.models import ExperimentSpec
from tuning.study.packing import SIZES


def extremes(spec: ExperimentSpec) -> tuple[Params, Params]:
    """Return the lightest and the heaviest configuration, over the spaces of all strategies; equal if all are alike.

    They are a draw of the first strategy that searches, with the sizes of its names at their lower and upper ends.
    """
    strategy = next((one for one in spec.strategies if one.searches), spec.strategies[0])
    drawn = spec.space_of(strategy).sample(random.Random(spec.seeds[0]))
    stated: dict[str, list[Value]] = {}
    for one in spec.strategies:
        for name, dimension in spec.space_of(one).searched.items():
            if name in drawn and decides_cost(spec, name):
                stated.setdefault(name, []).extend(value for _, value in dimension.stated())
    ends = {name: _ends(values) for name, values in stated.items()}
    known = {} if spec.own else {BATCH: TUNABLES[BATCH].default}
    base = {**known, **spec.fixed, **drawn}
    lightest, heaviest = ({**base, **{name: pair[end] for name, pair in ends.items()}} for end in (0, 1))
    return lightest, heaviest


def decides_cost(spec: ExperimentSpec, name: str) -> bool:
    """True if the seconds of an epoch may depend on the hyperparameter `name`.

    Of names of the user's own trainable nothing is known, so they may.
    """
    return name in SIZES or name.startswith("model.") or (spec.own and name not in TUNABLES)


def _ends(values: Iterable[Value]) -> tuple[Value, Value]:
    """Return the lowest and the highest number; of values without an order the first and the last."""
    values = list(values)
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return (min(numbers), max(numbers)) if len(numbers) == len(values) else (values[0], values[-1])
