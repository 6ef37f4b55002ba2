"""The user's Trainer and its arguments: in a trial, the trial's own take their place in whatever refers to them.

A callback that scores the training rows holds its Trainer, `compute_metrics` may read the script's `training_args`. A
pickle has a reference in place of both (`shipped`). Loaded, it is an object without attributes, in which
`RebuiltTrainer` constructs the trial's Trainer. Where none is constructed, in `hp_space` and in a factory of the user's
own, a Trainer is refused: what a slot had would be a copy with untrained weights. Shipped files hold pickles of
`Originals`: its name must stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class HeldModel(Exception):
    """A part of a factory refers to the model of the user's Trainer."""


class HeldTrainer(Exception):
    """A function that was shipped beside no Trainer refers to one.

    Args:
        trainer: it.
    """

    def __init__(self, trainer: object) -> None:
        super().__init__(trainer)
        self.trainer = trainer


class Originals:
    """A Trainer and its arguments; where they were loaded from a pickle, not yet constructed.

    Args:
        trainer: the user's.
    """

    def __init__(self, trainer: Any) -> None:
        self.trainer, self.arguments = trainer, trainer.args

    def reference(self, obj: object) -> tuple[str, type] | None:
        """Returns what a pickle has in place of an object, a key and the class; None for any other object."""
        if obj is self.trainer:
            return "trainer", type(obj)
        if obj is self.arguments:
            return "arguments", type(obj)
        return None


def construct(kind: Any, place: Any, parameters: Mapping[str, Any]) -> Any:
    """Constructs an object of a class: in `place`, if that is one of this class that is not constructed yet."""
    if type(place) is not kind or vars(place):
        return kind(**parameters)
    kind.__init__(place, **parameters)
    return place
