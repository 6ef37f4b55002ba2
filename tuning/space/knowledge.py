"""Knowledge of a space before a search: points to try first, priors, and the trials of earlier experiments.

A space carries it (`Space.knowing`) to the strategy that searches it: `Draws` begins with the points and draws from the
priors, and a model of the scores learns from the earlier trials before its first proposal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trainables.spec import Frozen, Params, Value
from tuning.space.priors import Prior

KNOWLEDGE = ("points", "priors", "start_from")  # the keys of a spec that say what is known


@dataclass(frozen=True)
class KnownPoint:
    """A configuration that is tried before anything is proposed; what it leaves out is drawn.

    Args:
        values: by name; those of the space alone.
        origin: where it comes from, for the comparison.
    """

    values: Params
    origin: str


class EarlierTrial(Frozen):
    """A trial of an earlier experiment, as a model of the scores knows it."""

    params: dict[str, Value]
    score: float | None  # its last one; None: it failed


@dataclass(frozen=True)
class Knowledge:
    """All that is known of a space before a search.

    Args:
        points: in the order in which they are tried.
        priors: by name; a dimension without one is drawn uniformly on its scale.
        trials: of earlier experiments, in their order. A strategy that learns nothing has none of them.
    """

    points: tuple[KnownPoint, ...] = ()
    priors: Mapping[str, Prior] = field(default_factory=dict)
    trials: tuple[EarlierTrial, ...] = ()
