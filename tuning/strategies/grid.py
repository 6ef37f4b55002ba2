"""Grid search: the baseline that every other strategy has to beat."""

from __future__ import annotations

import random
from typing import ClassVar

from pydantic import Field, PositiveInt

from trainables.errors import InputError
from trainables.spec import Objective, Value
from tuning.space import Space
from tuning.space.dimensions import Choice
from tuning.strategies import Plan, Strategy


class Grid(Strategy):
    """Every combination, each to its full epochs, in a fixed order: the first declared name varies slowest.

    The seed changes no proposal, but where a budget may end the study early: a fixed order would then leave out the
    same corner of the space with every seed, so it is drawn.

    Bergstra and Bengio, "Random search for hyper-parameter optimization", JMLR 2012, on when a grid wastes trials; Liu
    and Wang, ACL 2021 (arXiv 2106.09204), on how hard it is to beat when fine-tuning.
    """

    kind: ClassVar[str] = "grid"
    weights_only: ClassVar[bool] = True
    several_objectives: ClassVar[bool] = True
    origin: ClassVar[str] = "point of the grid"
    when_cut: ClassVar[str] = "its combinations come in an order that is drawn anew for each seed"

    points: PositiveInt = Field(3, description="values per range, both ends included, evenly spaced on its scale")

    def refusals(self, space: Space, epochs: float) -> list[tuple[str, str]]:
        """Refuses a function's space with more combinations than can be listed."""
        try:
            space.grid_size(self.points)
        except InputError as error:
            return [(error.name, f"{error.rule}; {error.next_step}")]
        return []

    def planned_trials(self, space: Space) -> int:
        """The number of all combinations."""
        return space.grid_size(self.points)

    def outline(self, space: Space) -> str:
        """The number of values of each name: how many stand for a range, the user may not have written down."""
        counts = {name: len(dimension.grid(self.points)) for name, dimension in space.searched.items()}
        ranges = [name for name, dimension in space.searched.items() if not isinstance(dimension, Choice)]
        of_each = (f"{count} of {name}" for name, count in counts.items())
        each = ", ".join(of_each) + " in each of its branches" if space.conditional else " x ".join(of_each)
        return f"{each}{f' (points: {self.points} per range)' if ranges else ''}"

    def planned_epochs(self, space: Space, epochs: float) -> float:
        """The epochs of all combinations, each to its end."""
        return self.planned_trials(space) * epochs

    def plan(self, space: Space, objective: Objective, epochs: float, seed: int) -> Plan:
        """All combinations in their order, with Tune's first-in-first-out scheduler: nothing is stopped early."""
        return _plan_of(space.grid(self.points))

    def plan_cut(self, space: Space, objective: Objective, epochs: float, seed: int) -> Plan:
        """All combinations in an order that is drawn from the seed."""
        combinations = space.grid(self.points)
        random.Random(seed).shuffle(combinations)
        return _plan_of(combinations)


def _plan_of(combinations: list[dict[str, Value]]) -> Plan:
    from tuning.strategies.schedulers.fifo import FIFO
    from tuning.strategies.searchers.list_searcher import ListSearcher

    return Plan(FIFO(), trials=len(combinations), searcher=ListSearcher(combinations), weights_only=True)
