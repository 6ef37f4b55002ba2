"""Decides who takes over from whom in population-based training, and with which values.

In: the members' scores. Out: takeovers. Pure: no Ray, no I/O, no state, so what is decided again (after a crash, or
with other slots) is decided the same way. The values are an `Explorer`'s: perturbed here, modelled in
`tuning.strategies.schedulers.bandit`.

Source: Jaderberg et al., "Population Based Training of Neural Networks", 2017, truncation selection.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

from trainables.spec import Params
from tuning.space import Space

RESAMPLE_PROBABILITY, FACTORS = 0.25, (0.8, 1.2)  # the paper's


class Member(NamedTuple):
    """A living member that has a score."""

    number: int  # its place in the population, fixed for life; breaks ties
    trial_id: str
    score: float  # of its own last report; higher is better
    params: Params
    generation: int = 0  # generations behind the weights that it has now
    donates: bool = True  # False: it has a donor's weights since that report, and none of its own


class Takeover(NamedTuple):
    """One replacement: `member` goes on from the donor's weights and moments, with `params`."""

    member: Member
    donor: Member
    params: Params


class Stage(NamedTuple):
    """The training of one member from one comparison to the next."""

    generation: int  # generations behind the weights that it began with
    before: float | None  # the score of those weights; None before the first report
    params: Params
    gain: float | None = None  # of the score, per epoch; None: the stage has not ended


class Explorer(Protocol):
    """Chooses the values with which a member goes on from a donor's weights."""

    learns: ClassVar[bool]  # True if it reads `history` and `pending`; else they are not kept

    def explored(self, stage: Stage, rng: random.Random, history: Sequence[Stage], pending: Sequence[Stage]) -> Params:
        """Returns the values for a stage.

        Args:
            stage: that begins, with the donor's values.
            rng: of all draws.
            history: stages of all members that have ended, oldest first.
            pending: stages of the other members that have not.
        """


@dataclass(frozen=True)
class Perturbation:
    """Moves the donor's values, or draws them anew; see `Space.perturb`."""

    space: Space
    resample_probability: float
    factors: tuple[float, ...]
    learns: ClassVar[bool] = False

    def explored(self, stage: Stage, rng: random.Random, history: Sequence[Stage], pending: Sequence[Stage]) -> Params:
        """Perturbed values; see `Explorer`."""
        return self.space.perturb(stage.params, rng, self.resample_probability, self.factors)


@dataclass(frozen=True)
class Inheritance:
    """Leaves the donor's values as they are."""

    learns: ClassVar[bool] = False

    def explored(self, stage: Stage, rng: random.Random, history: Sequence[Stage], pending: Sequence[Stage]) -> Params:
        """The donor's values; see `Explorer`."""
        return dict(stage.params)


@dataclass(frozen=True)
class Evolution:
    """Truncation selection: the worst `quantile` of the members take over from the best `quantile`."""

    seed: int
    quantile: float
    explorer: Explorer

    def takeovers(self, generation: int, members: Sequence[Member], history: Sequence[Stage] = ()) -> list[Takeover]:
        """Pairs each of the worst `quantile` with one of the best `quantile`, drawn uniformly.

        Args:
            generation: 1, 2, ...; with the seed it determines every draw.
            members: all that live, in any order. The two quantiles never overlap; a single member stays alone.
            history: the stages that have ended.
        """
        worst, donors = self._quantiles(members)
        rng = random.Random(f"{self.seed}/{generation}")
        pending = [Stage(generation, one.score, one.params) for one in members if one not in worst]
        found = []
        for member in sorted(worst, key=lambda member: member.number):
            donor = rng.choice(donors)
            stage = Stage(generation, donor.score, donor.params)
            params = self.explorer.explored(stage, rng, history, pending)
            pending.append(stage._replace(params=params))
            found.append(Takeover(member, donor, params))
        return found

    def takeover(
        self,
        member: Member,
        members: Sequence[Member],
        times: int,
        history: Sequence[Stage] = (),
        pending: Sequence[Stage] = (),
    ) -> Takeover | None:
        """Decides on one member by the latest scores of all; None: it goes on as it is.

        Args:
            member: one of `members`.
            members: all that live and have a score, in any order.
            times: how often the member has taken over before; with the seed and its number it determines every draw.
            history: the stages that have ended.
            pending: those of the other members that have not.
        """
        worst, best = self._quantiles(members)
        donors = [one for one in best if one.donates]
        if member not in worst or not donors:
            return None
        rng = random.Random(f"{self.seed}/{member.number}/{times}")
        donor = rng.choice(donors)
        stage = Stage(donor.generation, donor.score, donor.params)
        return Takeover(member, donor, self.explorer.explored(stage, rng, history, pending))

    def _quantiles(self, members: Sequence[Member]) -> tuple[list[Member], list[Member]]:
        """The worst and the best of `members`, as many of each."""
        share = self.quantile * len(members) - 1e-9  # 0.28 x 25 is 7.000000000000001 in floating point
        count = min(math.ceil(share), len(members) // 2)
        ranked = sorted(members, key=lambda member: (-member.score, member.number))
        return ranked[len(ranked) - count :], ranked[:count]
