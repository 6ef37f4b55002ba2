"""Decides who takes over from whom after a generation of population-based training, and with which values.

In: the members' scores at the same epoch. Out: takeovers. Pure: no Ray, no I/O, no state, so a generation that is
decided again (after a crash, or with other slots) is decided the same way.

Source: Jaderberg et al., "Population Based Training of Neural Networks", 2017, truncation selection.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from trainables.spec import Params
from tuning.space import Space


class Member(NamedTuple):
    """A living member at the end of a generation."""

    number: int  # its place in the population, fixed for life; breaks ties
    trial_id: str
    score: float  # higher is better
    params: Params


class Takeover(NamedTuple):
    """One replacement: `member` goes on from the donor's weights and moments, with `params`."""

    member: Member
    donor: Member
    params: Params


@dataclass(frozen=True)
class Evolution:
    """Truncation selection with perturbed values; the fields are those of `tuning.strategies.pbt.Pbt`."""

    space: Space
    seed: int
    quantile: float
    resample_probability: float
    factors: tuple[float, ...]
    explore: bool = True  # False: the donor's values stay as they are

    def takeovers(self, generation: int, members: Sequence[Member]) -> list[Takeover]:
        """Pairs each of the worst `quantile` with one of the best `quantile`, drawn uniformly.

        Args:
            generation: 1, 2, ...; with the seed it determines every draw.
            members: all that live, in any order. The two quantiles never overlap; a single member stays alone.
        """
        share = self.quantile * len(members) - 1e-9  # 0.28 x 25 is 7.000000000000001 in floating point
        count = min(math.ceil(share), len(members) // 2)
        ranked = sorted(members, key=lambda member: (-member.score, member.number))
        donors = ranked[:count]
        rng = random.Random(f"{self.seed}/{generation}")
        return [
            Takeover(member, donor := rng.choice(donors), self._perturbed(donor.params, rng))
            for member in sorted(ranked[len(ranked) - count :], key=lambda member: member.number)
        ]

    def _perturbed(self, params: Params, rng: random.Random) -> Params:
        if not self.explore:
            return dict(params)
        return self.space.perturb(params, rng, self.resample_probability, self.factors)
