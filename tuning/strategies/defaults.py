"""One trial without a search: the baseline that shows whether tuning was worth anything."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from trainables.spec import Objective, Params
from trainables.tunables import find_tunable
from tuning.space import FunctionSpace, Space
from tuning.strategies import Plan, Strategy


class Defaults(Strategy):
    """One trial of the defaults, or of `values`.

    What the experiment searches has its default in `TUNABLES` instead; a Trainer of the user's own keeps its arguments.
    The trial holds one slot for as long as it takes, whatever the budget.
    """

    kind: ClassVar[str] = "defaults"
    weights_only: ClassVar[bool] = True
    several_objectives: ClassVar[bool] = True
    searches: ClassVar[bool] = False
    origin: ClassVar[str] = "values without a search"

    values: dict[str, bool | int | float | str] = Field(
        {}, description="tunable name -> its value, in place of the default; those of `fixed` hold as everywhere"
    )

    @property
    def own_values(self) -> Params:
        """The values that the user gives."""
        return self.values

    def space_in(self, space: Space, *, own: bool) -> Space:
        """The one configuration, as a space without anything to search."""
        names = () if own or isinstance(space, FunctionSpace) else space.names
        known = {name: tunable.default for name in names if (tunable := find_tunable(name)) is not None}
        return Space.model_validate({n: v for n, v in {**known, **self.values}.items() if v is not None})

    def refusals(self, space: Space, epochs: float) -> list[tuple[str, str]]:
        """Refuses anything to search."""
        if not space.searched:
            return []
        return [("space", f"{', '.join(space.searched)}: nothing is searched here; write values: {{name: value}}")]

    def planned_trials(self, space: Space) -> int:
        """Returns 1: the defaults are one trial."""
        return 1

    def planned_epochs(self, space: Space, epochs: float) -> float:
        """The epochs of the one trial."""
        own = space.fixed.get("num_train_epochs")
        return epochs if own is None else float(own)

    def outline(self, space: Space) -> str:
        """The values in words, and that no budget ends the trial."""
        values = ", ".join(f"{name}={value}" for name, value in space.fixed.items())
        return f"{values or 'the arguments as they are'}; outside the budget"

    def plan(self, space: Space, objective: Objective, epochs: float, seed: int) -> Plan:
        """The one trial; the seed changes its training alone."""
        from tuning.strategies.schedulers.fifo import FIFO
        from tuning.strategies.searchers.list_searcher import ListSearcher

        return Plan(FIFO(), trials=1, searcher=ListSearcher([space.fixed]), weights_only=True)
