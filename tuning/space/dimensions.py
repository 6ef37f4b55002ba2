"""One dimension of the search space: the values that one hyperparameter may take.

Ranges of numbers are in `tuning.space.ranges`.
"""

from __future__ import annotations

import random
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, PlainValidator, field_validator

from trainables.spec import Frozen, Value

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def number_from_text(raw: object) -> object:
    """Turns a text that reads as a number into that number: YAML 1.1 reads `1e-5` (no point) as a text."""
    if isinstance(raw, bool):
        raise ValueError("must be a number")
    if not isinstance(raw, str) or not NUMBER.fullmatch(raw.strip()):
        return raw
    value = float(raw)
    return int(raw) if raw.strip().lstrip("+-").isdigit() else value


def check_plain_value(raw: object) -> Value:
    """Checks a single value of a choice or a fixed dimension.

    Raises:
        ValueError: a list or a mapping.
    """
    if raw is None or isinstance(raw, bool):
        return raw
    value = number_from_text(raw)
    if not isinstance(value, int | float | str):
        raise ValueError("must be a number, a text, true or false")
    return value


def _same(left: Value, right: Value) -> bool:
    """True if the values are equal; true and 1 are not."""
    return left == right and isinstance(left, bool) == isinstance(right, bool)


class Dimension(Frozen, ABC):
    """The values of one hyperparameter, and how to search them. The first field is named as in YAML."""

    model_config = ConfigDict(serialize_by_alias=True)

    key: ClassVar[str]  # the YAML key of the kind

    mutate: bool = Field(True, description="false: PBT draws it once per member, then it follows the donor")

    @abstractmethod
    def stated(self) -> Iterator[tuple[str, Value]]:
        """The values written in the declaration, each with its path below the dimension."""

    @property
    @abstractmethod
    def count(self) -> int | None:
        """The number of values; None if there is no end, as in a range without a step."""

    @abstractmethod
    def contains(self, value: Value) -> bool:
        """True if `value` belongs to the dimension."""

    @abstractmethod
    def draw(self, rng: random.Random) -> Value:
        """One value at random."""

    @abstractmethod
    def grid(self, points: int) -> list[Value]:
        """Distinct values in a fixed order; at most `points` of a range, all of a choice."""

    @abstractmethod
    def perturb(self, value: Value, rng: random.Random, factors: tuple[float, ...]) -> Value:
        """A value near `value`, for PBT."""

    @abstractmethod
    def to_ray(self) -> Any:
        """A ray.tune domain, or a plain value."""

    @abstractmethod
    def to_hyperopt(self, name: str) -> Any:
        """A hyperopt expression labelled `name`; `cast` makes a legal value of what it yields."""

    @abstractmethod
    def to_optuna(self) -> BaseDistribution:
        """The optuna distribution with the same set of values."""

    def cast(self, raw: Any) -> Value:
        """Turns what the hyperopt expression yielded into a legal value."""
        return raw  # type: ignore[no-any-return]

    def canonical(self, value: Value) -> Value:
        """A value that belongs to the dimension, as that has it: 0 of a range of fractions is 0.0."""
        return self.cast(value)


class Choice(Dimension):
    """One of several values: `{choice: [16, 32, 64]}`. The declared order defines which values are neighbours."""

    key = "choice"
    values: tuple[Annotated[Value, PlainValidator(check_plain_value)], ...] = Field(alias="choice")

    @field_validator("values")
    @classmethod
    def _distinct(cls, values: tuple[Value, ...]) -> tuple[Value, ...]:
        if not values:
            raise ValueError("must name at least one value")
        repeated = [value for i, value in enumerate(values) if any(_same(value, earlier) for earlier in values[:i])]
        if repeated:
            raise ValueError(f"{', '.join(map(repr, repeated))} stands twice; name each value once")
        return values

    def stated(self) -> Iterator[tuple[str, Value]]:
        """All values."""
        return ((f"choice.{index}", value) for index, value in enumerate(self.values))

    @property
    def count(self) -> int:
        """All values."""
        return len(self.values)

    def contains(self, value: Value) -> bool:
        """True if `value` is one of the values."""
        return any(_same(value, known) for known in self.values)

    def canonical(self, value: Value) -> Value:
        """The value as it is declared."""
        return self.values[self.index(value)]

    def draw(self, rng: random.Random) -> Value:
        """One of the values, each with the same probability."""
        return rng.choice(self.values)

    def index(self, value: Value) -> int:
        """The place of a value in the declared order."""
        return next(i for i, known in enumerate(self.values) if _same(value, known))

    def grid(self, points: int) -> list[Value]:
        """All values, as declared."""
        return list(self.values)

    def perturb(self, value: Value, rng: random.Random, factors: tuple[float, ...]) -> Value:
        """The value before or after in the declared order; at an end, the inner neighbour."""
        index = self.index(value)
        direction = rng.choice((-1, 1))
        if not 0 <= index + direction < len(self.values):
            direction = -direction if len(self.values) > 1 else 0
        return self.values[index + direction]

    def to_ray(self) -> Any:
        """The domain `tune.choice`."""
        from ray import tune

        return tune.choice(list(self.values))

    def to_hyperopt(self, name: str) -> Any:
        """The expression `hp.choice`."""
        from hyperopt import hp

        return hp.choice(name, list(self.values))

    def to_optuna(self) -> BaseDistribution:
        """A categorical distribution."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)


class Fixed(Dimension):
    """A value that is part of every trial's params and never searched: bare, or `{fixed: value}`."""

    key = "fixed"
    value: Annotated[Value, PlainValidator(check_plain_value)] = Field(alias="fixed")

    def stated(self) -> Iterator[tuple[str, Value]]:
        """The value, at the dimension's own path: it is usually written bare."""
        yield "", self.value

    @property
    def count(self) -> int:
        """Returns 1: a fixed dimension has one value."""
        return 1

    def contains(self, value: Value) -> bool:
        """True if `value` is the fixed one."""
        return _same(value, self.value)

    def canonical(self, value: Value) -> Value:
        """The value as it is declared."""
        return self.value

    def draw(self, rng: random.Random) -> Value:
        """The value."""
        return self.value

    def grid(self, points: int) -> list[Value]:
        """The value."""
        return [self.value]

    def perturb(self, value: Value, rng: random.Random, factors: tuple[float, ...]) -> Value:
        """The value."""
        return self.value

    def to_ray(self) -> Any:
        """The value."""
        return self.value

    def to_hyperopt(self, name: str) -> Any:
        """The value."""
        return self.value

    def to_optuna(self) -> BaseDistribution:
        """A single category."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution((self.value,))
