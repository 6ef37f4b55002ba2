"""Chooses the values of a member by a time-varying Gaussian process over what scores have gained so far.

In: the stages of all members that have ended, each with its values, and those in progress. Out: values for a stage that
begins: those with the best upper confidence bound of the gain. Stages in progress enter the data with the mean that is
predicted for them, so that members that go on at the same time do not all get the same values.

Source: Parker-Holder, Nguyen and Roberts, "Provably Efficient Online Hyperparameter Optimization with Population-Based
Bandits", NeurIPS 2020 (arXiv 2002.02518), with its kernel and weights; for stages in progress: Desautels,
Krause and Burdick, JMLR 2014. What differs here, since a fine-tuning has few generations and flat ends of its curves:

- Gains are compared within a generation (as standard scores). Otherwise the first ones, which are by far the largest,
  would be all that the model sees, and the first could not be used at all: no score is known before it.
- The model also sees how good the weights were before, among those of the generation: bad ones gain more easily.
- It has noise, and its three parameters are the likeliest of a few values, so that few stages do not mislead it.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from trainables.spec import Params
from tuning.space import Space
from tuning.space.ranges import Range
from tuning.strategies.schedulers.evolution import FACTORS, RESAMPLE_PROBABILITY, Stage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

MOST_STAGES = 200  # that are modelled, the newest
MOST_DEVIATION = 2.0  # a gain further from its generation's mean counts as that many standard deviations
LENGTHS, FORGETTING, NOISE = (0.1, 0.2, 0.4, 0.8), (0.0, 0.2, 0.5), (0.01, 0.1, 0.4)
CANDIDATES, ROUNDS, NEAR = 1000, 3, 0.1  # points that are compared; then rounds of as many near the best, nearer each


@dataclass(frozen=True)
class Bandit:
    """An `Explorer` that chooses `ranges`, and perturbs the other values of `space`; see `tuning.strategies.pb2`."""

    space: Space
    ranges: Mapping[str, Range]  # by name, at least one
    learns: ClassVar[bool] = True

    def explored(self, stage: Stage, rng: random.Random, history: Sequence[Stage], pending: Sequence[Stage]) -> Params:
        """Values with the best upper bound of the gain; `history` is not empty. See `Explorer`."""
        perturbed = self.space.perturb(stage.params, rng, RESAMPLE_PROBABILITY, FACTORS)
        draws = np.random.default_rng(rng.getrandbits(64))
        point = _best_point(self.ranges, stage, history[-MOST_STAGES:], pending, draws)
        chosen = zip(self.ranges.items(), point, strict=True)
        return {**perturbed, **{name: one.at_share(float(share)) for (name, one), share in chosen}}


class _Inputs(NamedTuple):
    """The inputs of the model, a row per stage."""

    generation: Array  # (stages,)
    standing: Array  # (stages,), of the weights before, in standard deviations of their generation's
    point: Array  # (stages, ranges), each 0 to 1 on its range's scale

    def joined(self, other: _Inputs) -> _Inputs:
        return _Inputs(*(np.concatenate(pair) for pair in zip(self, other, strict=True)))

    def part(self, rows: slice) -> _Inputs:
        return _Inputs(*(column[rows] for column in self))

    def at(self, points: Array) -> _Inputs:
        """The inputs of the one stage here with other values."""
        return _Inputs(self.generation.repeat(len(points)), self.standing.repeat(len(points)), points)


class _Kernel(NamedTuple):
    length: float  # of the unit interval of each range
    forgetting: float  # 0 to 1: how much less two stages have in common per generation between them
    noise: float  # variance, where that of a gain is 1

    def of(self, one: _Inputs, other: _Inputs) -> Array:
        """The covariances of gains: (stages of `one`, stages of `other`)."""
        squared = ((one.point[:, None] - other.point[None]) ** 2).sum(axis=2) / self.length**2
        squared += (one.standing[:, None] - other.standing[None]) ** 2
        apart = np.abs(one.generation[:, None] - other.generation[None])
        covariances: Array = np.exp(-squared / 2) * (1 - self.forgetting) ** (apart / 2)
        return covariances


class _Process:
    """A Gaussian process with mean 0 and variance 1, after observations."""

    def __init__(self, kernel: _Kernel, inputs: _Inputs, gains: Array) -> None:
        self.kernel, self._inputs, self.gains = kernel, inputs, gains
        self._factor = cho_factor(kernel.of(inputs, inputs) + kernel.noise * np.eye(len(gains)), lower=True)
        self._weights = cho_solve(self._factor, gains)

    @property
    def log_likelihood(self) -> float:
        """The logarithm of the likelihood of the observed gains, up to a constant."""
        return float(-self.gains @ self._weights / 2 - np.log(np.diag(self._factor[0])).sum())

    def predicted(self, inputs: _Inputs) -> tuple[Array, Array]:
        """Mean and standard deviation of the gain, each (stages,)."""
        covariances = self.kernel.of(inputs, self._inputs)
        explained = (covariances * cho_solve(self._factor, covariances.T).T).sum(axis=1)
        return covariances @ self._weights, np.sqrt(np.maximum(1 - explained, 0.0))

    def with_pending(self, pending: _Inputs) -> _Process:
        """The process after observations as expected: with less uncertainty near them, and no other mean."""
        gains = np.concatenate([self.gains, self.predicted(pending)[0]])
        return _Process(self.kernel, self._inputs.joined(pending), gains)


def _best_point(
    ranges: Mapping[str, Range],
    stage: Stage,
    history: Sequence[Stage],
    pending: Sequence[Stage],
    draws: np.random.Generator,
) -> Array:
    inputs, ended = _inputs(ranges, [*history, *pending, stage]), len(history)
    known = _likeliest(inputs.part(slice(ended)), _gains(history))
    guarded = known.with_pending(inputs.part(slice(ended, -1)))
    weight = math.sqrt(0.2 + max(0.0, math.log(0.4 * ended)))  # the paper's constants

    def bound(points: Array) -> Array:
        new = inputs.part(slice(-1, None)).at(points)
        upper: Array = known.predicted(new)[0] + weight * guarded.predicted(new)[1]
        return upper

    points = draws.random((CANDIDATES, len(ranges)))
    best: Array = points[bound(points).argmax()]
    for times in range(1, ROUNDS + 1):
        near = np.clip(best + draws.normal(0, NEAR / times, points.shape), 0, 1)
        points = np.concatenate([best[None], near])
        best = points[bound(points).argmax()]
    return best


def _likeliest(inputs: _Inputs, gains: Array) -> _Process:
    kernels = (_Kernel(*values) for values in itertools.product(LENGTHS, FORGETTING, NOISE))
    return max((_Process(kernel, inputs, gains) for kernel in kernels), key=lambda process: process.log_likelihood)


def _inputs(ranges: Mapping[str, Range], stages: Sequence[Stage]) -> _Inputs:
    generations = np.array([stage.generation for stage in stages], dtype=np.float64)
    points = [
        [one.share(float(stage.params[name])) for name, one in ranges.items()]  # type: ignore[arg-type]
        for stage in stages
    ]
    standing = _standard([stage.before for stage in stages], generations)
    return _Inputs(generations, standing, np.array(points, dtype=np.float64).reshape(len(stages), len(ranges)))


def _gains(history: Sequence[Stage]) -> Array:
    generations = np.array([stage.generation for stage in history], dtype=np.float64)
    gains: Array = np.clip(_standard([stage.gain for stage in history], generations), -MOST_DEVIATION, MOST_DEVIATION)
    return gains


def _standard(values: Sequence[float | None], generations: Array) -> Array:
    """Standard scores of values among those of their generation; 0 where they do not differ, or are not known."""
    found = np.zeros(len(values))
    known = np.array([value is not None for value in values], dtype=bool)
    plain = np.array([0.0 if value is None else value for value in values])
    for generation in np.unique(generations):
        rows = known & (generations == generation)
        if rows.any() and (spread := plain[rows].std()) > 0:
            found[rows] = (plain[rows] - plain[rows].mean()) / spread
    return found
