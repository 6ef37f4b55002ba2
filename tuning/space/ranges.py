"""Ranges of numbers as dimensions of the search space.

A range with a step (all whole-number ranges have one) is a lattice: low, low + step, ... It is drawn through a
continuous proxy, the range widened by half a cell at both ends so that the end points get as much mass as their
neighbours, and cast to the nearest lattice point. Every view that draws shares `proxy` and `cast`, so they agree.
"""

from __future__ import annotations

import math
import random
from abc import ABC
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, FiniteFloat, ValidationInfo, field_validator

from trainables.spec import Value
from tuning.space.dimensions import Dimension, number_from_text

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Real = Annotated[FiniteFloat, BeforeValidator(number_from_text)]
Whole = Annotated[int, BeforeValidator(number_from_text)]
AboveZero = Field(gt=0)  # of both bounds of a logarithmic range


class Range(Dimension, ABC):
    """All numbers between two bounds, both included; with a step, a lattice that starts at the lower bound."""

    log: ClassVar[bool] = False
    whole: ClassVar[bool] = False

    bounds: tuple[float, float]
    step: float | None

    @field_validator("bounds")
    @classmethod
    def _ordered(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if not bounds[0] < bounds[1]:
            raise ValueError("low must be less than high; write a single value bare")
        return bounds

    @field_validator("step")
    @classmethod
    def _fits(cls, step: float | None, info: ValidationInfo) -> float | None:
        if step is None or "bounds" not in info.data:  # wrong bounds are reported by themselves
            return step
        low, high = info.data["bounds"]
        # In decimals, as one would write them: 0.3 - 0.1 is less than 0.2 in floating point.
        if not 0 < Decimal(repr(step)) <= Decimal(repr(high)) - Decimal(repr(low)):
            raise ValueError(f"must be greater than 0 and at most high - low = {high - low:g}")
        return step

    @property
    def cells(self) -> int:
        """The index of the last lattice point; 0 for a continuous range."""
        low, high = self.bounds
        return 0 if self.step is None else int((Decimal(repr(high)) - Decimal(repr(low))) // Decimal(repr(self.step)))

    @property
    def count(self) -> int | None:
        """The number of lattice points; None for a continuous range."""
        return None if self.step is None else self.cells + 1

    def at(self, index: int) -> int | float:
        """The value of lattice point `index`."""
        return int(self._exactly(index)) if self.whole else float(self._exactly(index))

    def _exactly(self, index: int) -> Decimal:
        """Lattice point `index` in decimals, so that 3 steps of 0.05 are 0.15, as people write it."""
        return Decimal(repr(self.bounds[0])) + index * Decimal(repr(self.step))

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
        """The index of the lattice point nearest to `value`, within the bounds."""
        assert self.step is not None
        return min(max(round((value - self.bounds[0]) / self.step), 0), self.cells)

    def cast(self, raw: Any) -> int | float:
        """The nearest legal value, a plain int or float."""
        if self.step is None:
            return min(max(float(raw), self.bounds[0]), self.bounds[1])
        return self.at(self.index(float(raw)))

    def stated(self) -> Iterator[tuple[str, Value]]:
        """The lower and the upper bound, each with its path."""
        return ((f"{self.key}.{end}", bound) for end, bound in enumerate(self.bounds))

    def contains(self, value: Value) -> bool:
        """True if `value` is legal, up to the rounding of a last digit on a lattice."""
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        slack = 0.0 if self.step is None or self.whole else self.step * 1e-6
        return abs(self.cast(value) - value) <= slack

    def _between(self, low: float, high: float, share: float) -> float:
        """The number at `share` (0..1) of the way, on this range's scale."""
        if self.log:
            return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        return low + share * (high - low)

    def at_share(self, share: float) -> int | float:
        """The legal value nearest to `share` (0..1) of the way through `proxy`, on this range's scale."""
        return self.cast(self._between(*self.proxy, share))

    def share(self, value: float) -> float:
        """Returns how much of the way through `proxy` lies below `value`, 0 to 1, on this range's scale."""
        low, high = self.proxy
        return math.log(value / low) / math.log(high / low) if self.log else (value - low) / (high - low)

    def draw(self, rng: random.Random) -> Value:
        """A uniform draw on this range's scale."""
        return self.at_share(rng.random())

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
        from tuning.space.ray_domain import Cast

        domain = Cast(*self.proxy, self.cast)
        return domain.loguniform() if self.log else domain.uniform()

    def to_hyperopt(self, name: str) -> Any:
        """The proxy as an expression: TPE models a plain (log-)uniform variable."""
        from hyperopt import hp

        low, high = self.proxy
        return hp.loguniform(name, math.log(low), math.log(high)) if self.log else hp.uniform(name, low, high)

    def to_optuna(self) -> BaseDistribution:
        """The range as a distribution; Optuna has no logarithmic lattice: there the scale becomes linear."""
        from optuna.distributions import FloatDistribution, IntDistribution

        low, high = self.bounds[0], self.high
        if self.whole:
            step = int(self.step or 1)
            return IntDistribution(int(low), int(high), log=self.log and step == 1, step=step)
        if self.step is not None and Decimal(repr(high)) < self._exactly(self.cells):
            high = math.nextafter(high, math.inf)  # optuna rounds down in decimals and would lose the last point
        return FloatDistribution(low, high, log=self.log and self.step is None, step=self.step)


class Uniform(Range):
    """Numbers on a linear scale: `{uniform: [0, 0.3]}`, `{uniform: [0, 0.3], step: 0.05}`."""

    key = "uniform"
    bounds: tuple[Real, Real] = Field(alias="uniform")
    step: Real | None = None


class LogUniform(Range):
    """Numbers on a logarithmic scale: `{loguniform: [1e-5, 1e-3]}`."""

    key = "loguniform"
    log = True
    bounds: tuple[Annotated[Real, AboveZero], Annotated[Real, AboveZero]] = Field(alias="loguniform")
    step: Real | None = None


class IntUniform(Range):
    """Whole numbers on a linear scale: `{int: [0, 500]}`, `{int: [0, 500], step: 100}`."""

    key = "int"
    whole = True
    bounds: tuple[Whole, Whole] = Field(alias="int")
    step: Whole = 1


class LogInt(Range):
    """Whole numbers on a logarithmic scale: `{logint: [16, 64]}`."""

    key = "logint"
    log = True
    whole = True
    bounds: tuple[Annotated[Whole, AboveZero], Annotated[Whole, AboveZero]] = Field(alias="logint")
    step: Whole = 1
