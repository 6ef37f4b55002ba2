"""One dimension of the search space: the values that one hyperparameter may take.

A range with a step (all whole-number ranges have one) is a lattice: low, low + step, ... It is drawn through a continuous
proxy, the range widened by half a cell at both ends so that the end points get as much mass as their neighbours, and
cast to the nearest lattice point. Every view that draws values shares `proxy` and `cast`: so they agree on the set.
"""

from __future__ import annotations

import math
import random
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BeforeValidator, ConfigDict, Field, FiniteFloat, PlainValidator, PositiveInt, model_validator

from trainables.spec import Frozen, Value

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def number_from_text(raw: object) -> object:
    """A text that reads as a number, as that number: YAML 1.1 takes `1e-5` (no point) for a text."""
    if isinstance(raw, bool):
        raise ValueError(f"{raw!r}: must be a number")
    if not isinstance(raw, str) or not NUMBER.fullmatch(raw.strip()):
        return raw
    value = float(raw)
    return int(raw) if raw.strip().lstrip("+-").isdigit() else value


def plain_value(raw: object) -> Value:
    """A single value of a choice or a fixed dimension.

    Raises:
        ValueError: a list or a mapping.
    """
    if raw is None or isinstance(raw, bool):
        return raw
    value = number_from_text(raw)
    if not isinstance(value, int | float | str):
        raise ValueError(f"{raw!r}: must be a number, a text, true or false")
    return value


Real = Annotated[FiniteFloat, BeforeValidator(number_from_text)]
Whole = Annotated[int, BeforeValidator(number_from_text)]
WholeStep = Annotated[PositiveInt, BeforeValidator(number_from_text)]


class Dimension(Frozen, ABC):
    """The values of one hyperparameter, and how to search them. The first field is named as in YAML."""

    model_config = ConfigDict(serialize_by_alias=True)

    key: ClassVar[str]  # the YAML key that tells the kind

    mutate: bool = Field(True, description="false: PBT draws it once per member, then it follows the donor")

    @abstractmethod
    def stated(self) -> Iterator[tuple[str, Value]]:
        """The values written in the declaration, each with its path below the dimension."""

    @abstractmethod
    def contains(self, value: Value) -> bool:
        """Whether `value` belongs to the dimension."""

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
        """The legal value for what the hyperopt expression yielded."""
        return raw  # type: ignore[no-any-return]


class Range(Dimension, ABC):
    """All numbers between two bounds, both included; with a step, a lattice that starts at the lower bound."""

    log: ClassVar[bool] = False
    whole: ClassVar[bool] = False

    bounds: tuple[float, float]
    step: float | None

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        low, high = self.bounds
        if not low < high:
            raise ValueError(f"{self.key}: [{low:g}, {high:g}]: low must be less than high; write one value bare")
        if self.log and not low > 0:
            raise ValueError(f"{self.key}: low is {low:g}, a logarithmic range needs low > 0; raise it or drop the log")
        if self.step is not None and not 0 < self.step <= high - low:
            raise ValueError(f"step: {self.step:g} must be greater than 0 and at most high - low = {high - low:g}")
        return self

    @property
    def cells(self) -> int:
        """The index of the last lattice point; 0 for a continuous range."""
        low, high = self.bounds
        return 0 if self.step is None else int((Decimal(repr(high)) - Decimal(repr(low))) // Decimal(repr(self.step)))

    def at(self, index: int) -> int | float:
        """Lattice point `index`. In decimals, so that 3 steps of 0.05 are 0.15, as one would write it."""
        assert self.step is not None
        exact = Decimal(repr(self.bounds[0])) + index * Decimal(repr(self.step))
        return int(exact) if self.whole else float(exact)

    @property
    def high(self) -> int | float:
        """The largest value that is reached: the upper bound, or the last lattice point below it."""
        return self.bounds[1] if self.step is None else self.at(self.cells)

    @property
    def proxy(self) -> tuple[float, float]:
        """The continuous range to draw from: on a lattice half a cell wider.

        Below a logarithmic range half a cell could reach past 0, so there it is half a cell mirrored in the logarithm.
        """
        low, high = self.bounds[0], self.high
        if self.step is None:
            return low, high
        half = self.step / 2
        return low**2 / (low + half) if self.log else low - half, high + half

    def index(self, value: float) -> int:
        """The lattice point nearest to `value`, within the bounds."""
        assert self.step is not None
        return min(max(round((value - self.bounds[0]) / self.step), 0), self.cells)

    def cast(self, raw: Any) -> int | float:
        """The nearest legal value, a plain int or float."""
        if self.step is None:
            return min(max(float(raw), self.bounds[0]), self.bounds[1])
        return self.at(self.index(float(raw)))

    def stated(self) -> Iterator[tuple[str, Value]]:
        """Both bounds."""
        return ((f"{self.key}.{end}", bound) for end, bound in enumerate(self.bounds))

    def contains(self, value: Value) -> bool:
        """Whether `value` is legal, up to the rounding of a last digit on a lattice."""
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        slack = 0.0 if self.step is None or self.whole else self.step * 1e-6
        return abs(self.cast(value) - value) <= slack

    def _between(self, low: float, high: float, share: float) -> float:
        """The number at `share` (0..1) of the way, on this range's scale."""
        if self.log:
            return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        return low + share * (high - low)

    def draw(self, rng: random.Random) -> Value:
        """Uniform on this range's scale."""
        return self.cast(self._between(*self.proxy, rng.random()))

    def grid(self, points: int) -> list[Value]:
        """`points` evenly spaced values including both ends (one point: the middle), snapped, without duplicates."""
        if self.step is not None and self.cells < points:
            return [self.at(index) for index in range(self.cells + 1)]
        low, high = self.bounds[0], self.high
        if points == 1:
            return [self.cast(self._between(low, high, 0.5))]
        inner = (self.cast(self._between(low, high, i / (points - 1))) for i in range(1, points - 1))
        return list(dict.fromkeys([low, *inner, high]))

    def perturb(self, value: Value, rng: random.Random, factors: tuple[float, ...]) -> Value:
        """`value` times one of `factors`, clipped; on a lattice at least one step in that direction, if there is one.

        Zero times any factor is zero, so a member at 0 would never leave it. From there the move is the same fraction
        of the whole range instead: +0.2 x (high - low) for 1.2, -0.2 x (high - low) for 0.8, clipped as well.
        """
        assert isinstance(value, int | float)
        factor = rng.choice(factors)
        target = value * factor if value else (factor - 1) * (self.bounds[1] - self.bounds[0])
        if self.step is None:
            return self.cast(target)
        here, there = self.index(value), self.index(target)
        if there == here and target != value:
            there = min(max(here + (1 if target > value else -1), 0), self.cells)
        return self.at(there)

    def to_ray(self) -> Any:
        """A continuous Ray domain; on a lattice one that casts its draws."""
        from tuning.ray_domain import Cast

        domain = Cast(*self.proxy, self.cast)
        return domain.loguniform() if self.log else domain.uniform()

    def to_hyperopt(self, name: str) -> Any:
        """The proxy: TPE models a plain (log-)uniform variable."""
        from hyperopt import hp

        low, high = self.proxy
        return hp.loguniform(name, math.log(low), math.log(high)) if self.log else hp.uniform(name, low, high)

    def to_optuna(self) -> BaseDistribution:
        """The same set. Optuna has no logarithmic lattice: there the set is kept and the scale is linear."""
        from optuna.distributions import FloatDistribution, IntDistribution

        low, high = self.bounds[0], self.high
        if self.whole:
            step = int(self.step or 1)
            return IntDistribution(int(low), int(high), log=self.log and step == 1, step=step)
        return FloatDistribution(low, high, log=self.log and self.step is None, step=self.step)


class Uniform(Range):
    """`{uniform: [0, 0.3]}`, `{uniform: [0, 0.3], step: 0.05}`."""

    key = "uniform"
    bounds: tuple[Real, Real] = Field(alias="uniform")
    step: Real | None = None


class LogUniform(Range):
    """`{loguniform: [1e-5, 1e-3]}`."""

    key = "loguniform"
    log = True
    bounds: tuple[Real, Real] = Field(alias="loguniform")
    step: Real | None = None


class IntUniform(Range):
    """`{int: [0, 500]}`, `{int: [0, 500], step: 100}`."""

    key = "int"
    whole = True
    bounds: tuple[Whole, Whole] = Field(alias="int")
    step: WholeStep = 1


class LogInt(Range):
    """`{logint: [16, 64]}`."""

    key = "logint"
    log = True
    whole = True
    bounds: tuple[Whole, Whole] = Field(alias="logint")
    step: WholeStep = 1


class Choice(Dimension):
    """`{choice: [16, 32, 64]}`. The declared order says which values are neighbours."""

    key = "choice"
    values: tuple[Annotated[Value, PlainValidator(plain_value)], ...] = Field(alias="choice")

    @model_validator(mode="after")
    def _distinct(self) -> Choice:
        if not self.values:
            raise ValueError("choice: must name at least one value")
        typed = [(isinstance(value, bool), value) for value in self.values]
        repeated = [value for i, (_, value) in enumerate(typed) if typed[i] in typed[:i]]
        if repeated:
            raise ValueError(f"choice: {', '.join(map(repr, repeated))} stands twice; name each value once")
        return self

    def _index(self, value: Value) -> int:
        typed = [(isinstance(known, bool), known) for known in self.values]
        return typed.index((isinstance(value, bool), value))

    def stated(self) -> Iterator[tuple[str, Value]]:
        """All values."""
        return ((f"choice.{index}", value) for index, value in enumerate(self.values))

    def contains(self, value: Value) -> bool:
        """Whether `value` is one of them."""
        return any(value == known and isinstance(value, bool) == isinstance(known, bool) for known in self.values)

    def draw(self, rng: random.Random) -> Value:
        """Each with the same probability."""
        return rng.choice(self.values)

    def grid(self, points: int) -> list[Value]:
        """All values, as declared."""
        return list(self.values)

    def perturb(self, value: Value, rng: random.Random, factors: tuple[float, ...]) -> Value:
        """The value before or after in the declared order; at an end, the inner neighbour."""
        index, direction = self._index(value), rng.choice((-1, 1))
        if not 0 <= index + direction < len(self.values):
            direction = -direction if len(self.values) > 1 else 0
        return self.values[index + direction]

    def to_ray(self) -> Any:
        """`tune.choice`."""
        from ray import tune

        return tune.choice(list(self.values))

    def to_hyperopt(self, name: str) -> Any:
        """`hp.choice`."""
        from hyperopt import hp

        return hp.choice(name, list(self.values))

    def to_optuna(self) -> BaseDistribution:
        """Categorical."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)


class Fixed(Dimension):
    """A bare value, or `{fixed: value}`: part of every trial's params, never searched."""

    key = "fixed"
    value: Annotated[Value, PlainValidator(plain_value)] = Field(alias="fixed")

    def stated(self) -> Iterator[tuple[str, Value]]:
        """The value, at the dimension's own path: it is usually written bare."""
        yield "", self.value

    def contains(self, value: Value) -> bool:
        """Whether it is the value."""
        return value == self.value and isinstance(value, bool) == isinstance(self.value, bool)

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


KINDS: dict[str, type[Dimension]] = {
    kind.key: kind for kind in (Uniform, LogUniform, IntUniform, LogInt, Choice, Fixed)
}


def parse_dimension(raw: object) -> Dimension:
    """A dimension from its YAML form.

    Raises:
        ValueError: no kind, two kinds, or what pydantic says of the kind's fields.
    """
    if isinstance(raw, Dimension):
        return raw
    if isinstance(raw, list | tuple):
        raise ValueError(f"{list(raw)!r} is a bare list; write {{choice: [...]}} or a range {{uniform: [low, high]}}")
    if not isinstance(raw, Mapping):
        return Fixed(fixed=plain_value(raw))
    kinds = [key for key in raw if key in KINDS]
    if len(kinds) != 1:
        given = ", ".join(map(str, raw)) or "nothing"
        raise ValueError(f"needs exactly one of {', '.join(KINDS)}; has {given}")
    return KINDS[kinds[0]].model_validate(raw)
