"""Priors: densities around a guess, one per dimension, in place of the uniform one.

    learning_rate: {around: 2e-5, factor: 3}                # two thirds of the draws lie within 2e-5 / 3 and 2e-5 * 3
    weight_decay: {around: 0.1, spread: 0.05}               # two thirds lie within 0.05 and 0.15
    per_device_train_batch_size: {around: 32, share: 0.6}   # 60 % of the draws are 32, the others share the rest

A prior says where the optimum is likely to be, as in BOPrO (Souza et al., ECML PKDD 2021, arXiv 2006.14608) and piBO
(Hvarfner et al., ICLR 2022, arXiv 2204.11051). It stays within the bounds of its dimension. `UNIFORM_SHARE` of a
range's density is spread evenly, so that a wrong guess costs trials and hides nothing; PriorBand (Mallik et al.,
NeurIPS 2023, arXiv 2306.12370) mixes uniform draws in for the same reason.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, PlainValidator, model_validator

from trainables.spec import Frozen, Value
from tuning.space.dimensions import Choice, Dimension, check_plain_value, number_from_text
from tuning.space.ranges import Range

if TYPE_CHECKING:
    from collections.abc import Sequence

UNIFORM_SHARE = 0.1  # of a range's density
HALVINGS = 60  # of the range, to find the value below which a given share lies
KEYS = ("factor", "spread", "share")  # which one fits depends on the dimension


class Prior(Frozen):
    """A guess of the best value of one hyperparameter, and how sure one is of it."""

    around: Annotated[Value, PlainValidator(check_plain_value)] = Field(
        description="the guess, a value of the dimension"
    )
    factor: Annotated[float, BeforeValidator(number_from_text)] | None = Field(
        None,
        gt=1,
        allow_inf_nan=False,
        description="of a logarithmic range: two thirds of the density lie between around / factor and around * factor",
    )
    spread: Annotated[float, BeforeValidator(number_from_text)] | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="of a linear range: two thirds of the density lie between around - spread and around + spread",
    )
    share: Annotated[float, BeforeValidator(number_from_text)] | None = Field(
        None, gt=0, lt=1, description="of a choice: the probability of the guess; the other values share the rest"
    )

    @model_validator(mode="after")
    def _says_how_sure(self) -> Prior:
        if sum(getattr(self, key) is not None for key in KEYS) != 1:
            raise ValueError(
                "needs one of factor (of a logarithmic range), spread (of a linear one) and share (of a choice); such "
                "as {around: 2e-5, factor: 3}"
            )
        return self

    def refusal(self, dimension: Dimension) -> str | None:
        """Returns why it is no density over `dimension`, with the next step; None if it is one."""
        if not isinstance(dimension, Range | Choice) or dimension.count == 1:
            return "has a single value, so there is nothing to guess; remove the prior"
        if not dimension.contains(self.around):
            return f"around: {self.around!r} is no value of the dimension; name one, or widen the dimension"
        key = "share" if isinstance(dimension, Choice) else "factor" if dimension.log else "spread"
        if (given := getattr(self, key)) is None:
            scale = {"share": "a choice", "factor": "a logarithmic range", "spread": "a linear range"}[key]
            return f"{self._key} does not fit {scale}; write {key}"
        if isinstance(dimension, Choice):
            fair = 1 / len(dimension.values)
            return (
                None if given > fair else f"share: {given:g} must be more than {fair:.2g}, which each value has anyway"
            )
        low, high = dimension.bounds[0], dimension.high
        widest = high / low if dimension.log else high - low
        if given < widest:
            return None
        return f"{key}: {given:g} must be less than {widest:g}, the width of the range: so wide a prior says nothing"

    @property
    def _key(self) -> str:
        return next(key for key in KEYS if getattr(self, key) is not None)

    def over(self, dimension: Dimension) -> Density:
        """Returns its density over `dimension`, which it must not refuse."""
        if isinstance(dimension, Choice):
            return _weighted(dimension, self)
        assert isinstance(dimension, Range)
        assert isinstance(self.around, int | float)
        if dimension.log:
            assert self.factor is not None
            return RangeDensity(dimension, NormalDist(math.log(self.around), math.log(self.factor)))
        assert self.spread is not None
        return RangeDensity(dimension, NormalDist(self.around, self.spread))

    def describe(self) -> str:
        """The prior in words, such as 'around 2e-05, within a factor of 3'."""
        if self.share is not None:
            return f"{self.share:.0%} {self.around}"
        within = f"a factor of {self.factor:g}" if self.factor is not None else f"{self.spread:g}"
        return f"around {self.around}, within {within}"


class Density(ABC):
    """A prior over one dimension, in the views of the searches.

    To HyperOpt a value is what its expression draws (`drawn_as`): of a range the share of the density below it, a
    uniform variable, so that TPE's prior is exactly this density; of a choice the value's index.
    """

    @abstractmethod
    def draw(self, rng: random.Random) -> Value:
        """One value at random."""

    @abstractmethod
    def to_hyperopt(self, name: str) -> Any:
        """A hyperopt expression labelled `name`; `from_hyperopt` makes a legal value of what it yields."""

    @abstractmethod
    def from_hyperopt(self, raw: Any) -> Value:
        """Turns what the expression yielded into a legal value."""

    @abstractmethod
    def drawn_as(self, value: Any) -> float | int:
        """Returns the number that HyperOpt draws for `value`."""


@dataclass(frozen=True)
class RangeDensity(Density):
    """A normal density on a range's scale, cut off at its bounds, and `UNIFORM_SHARE` of a uniform one."""

    range: Range
    normal: NormalDist  # of the logarithm, if the range is logarithmic

    def below(self, value: float) -> float:
        """Returns the share of the density below `value`, from 0 to 1."""
        return self._below(math.log(value) if self.range.log else value)

    def at(self, share: float) -> float:
        """Returns the number below which `share` of the density lies; it may lie between two points of a lattice."""
        low, high = self._bounds
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self._below(middle) < share else (low, middle)
        return math.exp(high) if self.range.log else high

    @property
    def _bounds(self) -> tuple[float, float]:
        """The ends of the continuous range that is drawn from, on its scale."""
        low, high = self.range.proxy
        return (math.log(low), math.log(high)) if self.range.log else (low, high)

    def _below(self, place: float) -> float:
        low, high = self._bounds
        place = min(max(place, low), high)
        before, whole = self.normal.cdf(low), self.normal.cdf(high) - self.normal.cdf(low)
        cut_off = (self.normal.cdf(place) - before) / whole
        return UNIFORM_SHARE * (place - low) / (high - low) + (1 - UNIFORM_SHARE) * cut_off

    def draw(self, rng: random.Random) -> Value:
        """A draw, cast to a legal value."""
        return self.range.cast(self.at(rng.random()))

    def to_hyperopt(self, name: str) -> Any:
        """A uniform variable from 0 to 1: the share of the density below the value."""
        from hyperopt import hp

        return hp.uniform(name, 0, 1)

    def from_hyperopt(self, raw: Any) -> Value:
        """The legal value at that share."""
        return self.range.cast(self.at(float(raw)))

    def drawn_as(self, value: Any) -> float:
        """The share of the density below the value."""
        return self.below(value)


@dataclass(frozen=True)
class ChoiceDensity(Density):
    """The probability of each value of a choice, in their order."""

    choice: Choice
    probabilities: Sequence[float]

    def draw(self, rng: random.Random) -> Value:
        """One of the values."""
        return rng.choices(self.choice.values, self.probabilities)[0]

    def to_hyperopt(self, name: str) -> Any:
        """Returns the expression `hp.pchoice`."""
        from hyperopt import hp

        return hp.pchoice(name, list(zip(self.probabilities, self.choice.values, strict=True)))

    def from_hyperopt(self, raw: Any) -> Value:
        """Returns the value as HyperOpt has it."""
        return raw  # type: ignore[no-any-return]

    def drawn_as(self, value: Any) -> int:
        """The index of the value."""
        return self.choice.index(value)


def _weighted(choice: Choice, prior: Prior) -> ChoiceDensity:
    assert prior.share is not None
    guess, rest = choice.index(prior.around), (1 - prior.share) / (len(choice.values) - 1)
    return ChoiceDensity(choice, [prior.share if place == guess else rest for place in range(len(choice.values))])
