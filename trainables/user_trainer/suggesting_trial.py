"""The trial object that a user's `hp_space(trial)` is called with. It has Optuna's interface, without Optuna.

The function calls `trial.suggest_float("log_lr", -6, -4)`. The answer comes from the caller: a search that draws or
perturbs values, or a slot that replays the function with the trial's values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from trainables.errors import InputError
from trainables.spec import Params, Value

SUGGESTED = "suggested."  # prefix in reports of a suggested value for whose name the function returns another one
PLAIN = (bool, int, float, str)
MOST_NAMES = 1000  # suggestions per call; with more, a loop over suggestions probably does not end


@dataclass(frozen=True, eq=False)
class Suggestion:
    """The domain of one `suggest_*` call: a range that includes both ends, or choices.

    Two are equal if they have the same values; True and 1 differ.
    """

    kind: Literal["float", "int", "categorical"]
    low: float = 0
    high: float = 0
    step: float | None = None  # counted from `low`; None: continuous
    log: bool = False
    choices: tuple[Value, ...] = ()

    def _key(self) -> tuple[Any, ...]:
        return self.kind, self.low, self.high, self.step, self.log, *((type(one), one) for one in self.choices)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Suggestion) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def holds(self, value: Value) -> bool:
        """True if `value` is in the domain, up to rounding if it has a step."""
        if self.kind == "categorical":
            return any(value == known and isinstance(value, bool) == isinstance(known, bool) for known in self.choices)
        if isinstance(value, bool) or not isinstance(value, int if self.kind == "int" else int | float):
            return False
        position = 0.0 if self.step is None else (value - self.low) / self.step
        slack = 0.0 if self.step is None else self.step * 1e-6
        return self.low - slack <= value <= self.high + slack and abs(position - round(position)) <= 1e-6

    def __str__(self) -> str:
        if self.kind == "categorical":
            return f"one of {', '.join(map(repr, self.choices))}"
        scale = ", logarithmic" if self.log else ""
        step = "" if self.step is None or (self.kind == "int" and self.step == 1) else f" by {self.step:g}"
        return f"{self.kind} from {self.low:g} to {self.high:g}{step}{scale}"


Answer: TypeAlias = Callable[[str, Suggestion], Value]


@dataclass
class SuggestingTrial:
    """A trial with Optuna's interface whose `suggest_*` methods return what `answer` returns.

    A name that is suggested again has the same value. It is also a mapping of the values suggested so far, like the
    dictionaries of the other backends of transformers. It is never pruned; `report` is ignored, because the trainable
    reports.
    """

    answer: Answer
    number: int = 0  # of the trial in its study; 0 if it is not known
    params: dict[str, Value] = field(default_factory=dict)  # suggested so far, in that order
    suggestions: dict[str, Suggestion] = field(default_factory=dict)  # their domains
    user_attrs: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, params: Params, number: int = 0) -> SuggestingTrial:
        """A trial that suggests the values of `params`; they can also be read before they are suggested."""
        return cls(replay_answers(params), number, dict(params))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Suggests a number from `low` to `high`; with a step, one of low, low + step, ..."""
        if log and step is not None:
            raise InputError(f"space.{name}", step, "a logarithmic range has no step", "leave out step or log")
        value = self._ask(name, Suggestion("float", float(low), float(high), step and float(step), log))
        return float(value)  # type: ignore[arg-type]

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """Suggests a whole number from `low` to `high`; with a step, one of low, low + step, ..."""
        if log and step != 1:
            raise InputError(f"space.{name}", step, "a logarithmic range has no step", "leave out step or log")
        for bound in (low, high, step):
            if int(bound) != bound:
                raise InputError(f"space.{name}", bound, "must be a whole number", "use suggest_float for others")
        value = self._ask(name, Suggestion("int", int(low), int(high), int(step), log))
        return int(value)  # type: ignore[arg-type]

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """Suggests one of `choices`."""
        plain_ones = tuple(require_plain(choice, f"space.{name}") for choice in choices)
        return self._ask(name, Suggestion("categorical", choices=plain_ones))

    def suggest_uniform(self, name: str, low: float, high: float) -> float:
        """An older name of Optuna for `suggest_float`."""
        return self.suggest_float(name, low, high)

    def suggest_loguniform(self, name: str, low: float, high: float) -> float:
        """An older name of Optuna for `suggest_float(log=True)`."""
        return self.suggest_float(name, low, high, log=True)

    def suggest_discrete_uniform(self, name: str, low: float, high: float, q: float) -> float:
        """An older name of Optuna for `suggest_float(step=q)`."""
        return self.suggest_float(name, low, high, step=q)

    def set_user_attr(self, key: str, value: Any) -> None:
        """Stores `value` in `user_attrs`; it is not recorded."""
        self.user_attrs[key] = value

    def report(self, value: float, step: int) -> None:
        """Does nothing: strategies decide by what the trainable reports."""

    def should_prune(self) -> bool:
        """Returns False: schedulers stop trials from outside."""
        return False

    def __getitem__(self, name: str) -> Value:
        return self.params[name]

    def __contains__(self, name: object) -> bool:
        return name in self.params

    def __iter__(self) -> Iterator[str]:
        return iter(self.params)

    def keys(self) -> Any:
        """The names suggested so far."""
        return self.params.keys()

    def items(self) -> Any:
        """The names suggested so far, with their values."""
        return self.params.items()

    def get(self, name: str, default: Any = None) -> Any:
        """The value of `name`; `default` if it was not suggested."""
        return self.params.get(name, default)

    def _ask(self, name: str, suggestion: Suggestion) -> Value:
        if not isinstance(name, str):
            raise InputError("space", name, "a hyperparameter's name must be a text", "such as 'learning_rate'")
        if not name or name.startswith(SUGGESTED):
            rule = f"a name is not empty and does not begin with '{SUGGESTED}', which reports put before some"
            raise InputError("space", name, rule, "give it another name")
        known = self.suggestions.get(name)
        if known is not None and known != suggestion:
            rule = f"is suggested twice in one call, as {known} and as {suggestion}"
            raise InputError("space", name, rule, "give the second another name")
        if known is None:
            if len(self.suggestions) == MOST_NAMES:
                step = "does a loop over suggestions end?"
                raise InputError("space", name, f"one call suggests more than {MOST_NAMES} names", step)
            check_suggestion(name, suggestion)
            self.params[name] = self.answer(name, suggestion)
            self.suggestions[name] = suggestion
        return self.params[name]


def check_suggestion(name: str, suggestion: Suggestion) -> None:
    """Refuses an empty domain.

    Raises:
        InputError: there is no choice, or no value between the bounds.
    """
    place, low, high, step = f"space.{name}", suggestion.low, suggestion.high, suggestion.step
    if suggestion.kind == "categorical":
        if not suggestion.choices:
            raise InputError(place, [], "must name at least one choice", "add one, or leave the name out")
        return
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise InputError(place, [low, high], "low must be at most high, both finite", "mend the range")
    if suggestion.log and low <= 0:
        raise InputError(place, low, "a logarithmic range begins above 0", "raise low, or leave out log")
    if step is not None and step <= 0:
        raise InputError(place, step, "the step must be greater than 0", "leave it out for any number between")


def require_plain(value: Any, place: str = "space") -> Value:
    """Requires that a value is a number, a text, a bool or None; NumPy scalars are converted.

    Args:
        value: to be checked.
        place: the name in the error.

    Raises:
        InputError: it is a list, a mapping or another object.
    """
    if hasattr(value, "item") and hasattr(value, "dtype"):
        value = value.item()
    if value is None or isinstance(value, PLAIN):
        return value
    step = "let the search choose a name or a number, and look the rest up by it in `def hp_space(trial)`"
    raise InputError(place, value, "a value must be a number, a text, true, false or None", step)


def replay_answers(params: Params) -> Answer:
    """Returns an `Answer` with the values of `params`.

    It raises an InputError for a name that `params` lacks, and for a value outside of the suggestion's domain.
    """

    def answer(name: str, suggestion: Suggestion) -> Value:
        if name not in params:
            step = "the function must suggest the same names whenever it gets the same answers"
            raise InputError("space", name, f"is suggested ({suggestion}) and the trial has no such value", step)
        if not suggestion.holds(params[name]):
            rule = f"is now {suggestion}, and the trial was given a value outside it"
            raise InputError(f"space.{name}", params[name], rule, "a function must not change in the middle of a study")
        return params[name]

    return answer
