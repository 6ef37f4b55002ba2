"""Makes `train()` call an overridden `create_optimizer_and_scheduler`, which transformers 5 does not.

Its documentation recommends that override for a custom optimizer, but its loop calls only `create_optimizer` and
`create_scheduler`: the default optimizer would train, without a warning.
"""

from __future__ import annotations

from typing import Any

from transformers import Trainer


class CallsBoth(Trainer):  # type: ignore[misc]
    """A mixin in front of a user's Trainer class that overrides `create_optimizer_and_scheduler`."""

    made_both = False

    def _prepare_for_training(self, max_steps: int, *args: Any, **kwargs: Any) -> Any:
        self.made_both = False
        self.create_optimizer_and_scheduler(num_training_steps=max_steps)
        self._created_lr_scheduler = False  # otherwise it would be taken for that of an earlier training
        self.made_both = True
        return super()._prepare_for_training(max_steps, *args, **kwargs)

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the optimizer if it exists already, else the user's."""
        made = self.made_both and self.optimizer is not None
        return self.optimizer if made else super().create_optimizer(*args, **kwargs)

    def create_scheduler(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the scheduler if it exists already, else the user's."""
        made = self.made_both and self.lr_scheduler is not None
        return self.lr_scheduler if made else super().create_scheduler(*args, **kwargs)


def call_custom_optimizer(trainer: Trainer) -> None:
    """Makes the Trainer's `train()` call `create_optimizer_and_scheduler`, if its class overrides it."""
    kind: Any = type(trainer)
    if kind.create_optimizer_and_scheduler is not Trainer.create_optimizer_and_scheduler:
        named = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
        trainer.__class__ = type(kind)(kind.__name__, (CallsBoth, kind), named)
