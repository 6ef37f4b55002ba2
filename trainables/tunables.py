"""The hyperparameters that can be tuned, with their units, ranges and defaults.

They have the names of `transformers.TrainingArguments`; `model.<key>` is a key of the model's configuration, and
`data.<key>` an option of the data. For the trainables of this package the set is closed: nothing would read another
name. A user's own trainable may have names of its own as well.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Literal, TypeAlias

Value: TypeAlias = bool | int | float | str | None


@dataclass(frozen=True)
class Tunable:
    """A hyperparameter: a name that is allowed under `space:` and `fixed:`."""

    name: str
    kind: Literal["float", "int", "choice", "bool"]
    unit: str
    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False  # `low` itself is not allowed
    high_open: bool = False  # `high` itself is not allowed
    choices: tuple[str, ...] = ()  # of a choice; empty: any text
    in_flight: bool = True  # may change during a trial (a PBT exploit), in force from the next optimizer step on
    default: Value = None  # None: that of the model or of the data
    why_not_in_flight: str = ""  # the reason, if `in_flight` is false

    def refusal(self, value: object) -> str | None:
        """The reason why `value` is not allowed; None if it is."""
        if self.kind == "choice" and not self.choices:
            return None if isinstance(value, str) else "must be a text"
        if self.kind == "choice":
            return None if value in self.choices else f"must be one of {', '.join(self.choices)}"
        if self.kind == "bool":
            return None if isinstance(value, bool) else "must be true or false"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"must be a number ({self.unit})"
        if not -sys.float_info.max <= value <= sys.float_info.max:  # NaN, infinity, or an int that no float can hold
            return f"must be finite ({self.unit})"
        if self.kind == "int" and value != int(value):
            return f"must be a whole number ({self.unit})"
        if value < self.low or (self.low_open and value == self.low):
            return f"must be {'greater than' if self.low_open else 'at least'} {self.low:g} ({self.unit})"
        if value > self.high or (self.high_open and value == self.high):
            return f"must be {'less than' if self.high_open else 'at most'} {self.high:g} ({self.unit})"
        return None


LARGEST_SEED = 2**32 - 1  # NumPy's generators take no larger seed
TRAINING_SEEDS = ("data_order_seed", "head_seed")  # as fields of a spec they hold for all trials
LR_SCHEDULES = ("linear", "cosine", "constant", "constant_with_warmup")

TUNABLES: dict[str, Tunable] = {
    t.name: t
    for t in (
        Tunable("learning_rate", "float", "peak rate", 0, 1, low_open=True, default=5e-5),
        Tunable("weight_decay", "float", "per step, decoupled", 0, 1, default=0.0),
        Tunable("adam_beta1", "float", "decay of the first moment", 0, 1, high_open=True, default=0.9),
        Tunable("adam_beta2", "float", "decay of the second moment", 0, 1, high_open=True, default=0.999),
        Tunable("adam_epsilon", "float", "absolute", 0, low_open=True, default=1e-8),
        Tunable("max_grad_norm", "float", "L2 norm; 0 = no clipping", 0, default=1.0),
        Tunable("label_smoothing_factor", "float", "probability mass", 0, 1, high_open=True, default=0.0),
        Tunable("per_device_train_batch_size", "int", "examples", 1, default=16),
        Tunable("gradient_accumulation_steps", "int", "batches per optimizer step", 1, default=1),
        Tunable("warmup_steps", "int", "optimizer steps", 0, default=0),
        Tunable("warmup_ratio", "float", "share of all steps; excludes warmup_steps", 0, 1, default=0.0),
        Tunable("lr_scheduler_type", "choice", "shape", choices=LR_SCHEDULES, default="linear"),
        Tunable(
            "num_train_epochs",
            "float",
            "passes over the training split; at most `epochs`",
            0,
            low_open=True,
            in_flight=False,
            why_not_in_flight="it moves the horizon of the learning-rate schedule",
        ),
        Tunable(
            "optim",
            "choice",
            "optimizer",
            choices=("adamw_torch", "adamw_torch_fused", "adafactor", "sgd"),
            in_flight=False,
            default="adamw_torch_fused",
            why_not_in_flight="the moments of one optimizer mean nothing to another",
        ),
        Tunable(
            "data.max_length",
            "int",
            "tokens; longer texts are truncated",
            8,
            in_flight=False,
            why_not_in_flight="it changes the validation inputs, so scores before and after do not compare",
        ),
        Tunable(
            "head_seed",
            "int",
            "seed of the model's head and of dropout",
            0,
            LARGEST_SEED,
            in_flight=False,
            why_not_in_flight="the head is drawn at the start of a trial",
        ),
        Tunable(
            "data_order_seed",
            "int",
            "seed of the order of the rows",
            0,
            LARGEST_SEED,
            in_flight=False,
            why_not_in_flight="another order in the middle of an epoch would leave rows out and repeat others",
        ),
    )
}

ADAM_ONLY = frozenset({"adam_beta1", "adam_beta2", "adam_epsilon"})  # only the adamw optimizers read them


def find_tunable(name: str) -> Tunable | None:
    """Returns the tunable of that name; None if there is none. Any `model.<key>` is one.

    Whether the model has such a key is checked with the model. Of these keys only those of dropout can change in
    flight, because others may shape the weights.
    """
    if name in TUNABLES:
        return TUNABLES[name]
    if not name.startswith("model.") or name == "model.":
        return None
    if "dropout" in name or name.endswith("pdrop"):
        return Dropout(name)
    return ModelKey(name)


class Dropout(Tunable):
    """A key of the model's configuration with a probability of dropout, or in few models a switch (`token_dropout`)."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "float", "probability", 0, 1, high_open=True)

    def refusal(self, value: object) -> str | None:
        """The reason why `value` is not allowed; whether the key is a switch, only the model knows."""
        says_number = self.name.endswith(("prob", "pdrop"))
        return None if isinstance(value, bool) and not says_number else super().refusal(value)


class ModelKey(Tunable):
    """A key of the model's configuration, whose type and range only the model knows."""

    def __init__(self, name: str) -> None:
        super().__init__(
            name, "float", "as the model defines it", in_flight=False, why_not_in_flight="it may shape the weights"
        )

    def refusal(self, value: object) -> str | None:
        """The reason why `value` is not allowed; the model checks everything but its type."""
        return None if isinstance(value, bool | int | float | str) else "must be a number, a text, true or false"


class CustomTunable(Tunable):
    """A hyperparameter of a user's own trainable; the spec lists under `in_flight` whether it can change."""

    def __init__(self, name: str, *, in_flight: bool) -> None:
        why = "the spec does not list it under in_flight (do so if a trial may go on with another value)"
        super().__init__(name, "float", "as the trainable defines it", in_flight=in_flight, why_not_in_flight=why)

    def refusal(self, value: object) -> str | None:
        """The reason why `value` is not allowed; the trainable checks everything but its type."""
        return None if isinstance(value, bool | int | float | str) else "must be a number, a text, true or false"
