"""The YAML keys of strategies whose trials are a population. Imports no Ray by itself.

A generation is counted in epochs, that is in examples: members with other batch sizes take other numbers of steps. So
there is no unit of steps: for a shorter generation give a fraction of an epoch, and reports as often. Its end must be a
report: a generation that is no multiple of `report_every_epochs` is refused by `tuning.spec.validation.spec_checks`
(`trainables.epochs.next_position` says where reports are).
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from trainables.spec import Epochs, Frozen, Objective, Params
from tuning.outcome.attributes import RANDOM_DRAW
from tuning.space import Draws, Space
from tuning.space.knowledge import KNOWLEDGE

if TYPE_CHECKING:
    from tuning.strategies import Plan
    from tuning.strategies.schedulers.evolution import Explorer


class Generations(Frozen):
    """Members that are compared after each generation: the worst continue from the best ones' weights."""

    decides_on_the_way: ClassVar[bool] = True
    origin: ClassVar[str] = RANDOM_DRAW
    uses: ClassVar[tuple[str, ...]] = KNOWLEDGE

    population: int = Field(ge=2, description="members")
    perturb_every_epochs: Epochs = Field(1.0, description="length of a generation; a multiple of report_every_epochs")
    quantile: float = Field(
        0.25, gt=0, le=0.5, description="share that is replaced after a generation, and share that donates"
    )
    synchronous: bool = Field(
        True,
        description="false: no member waits for others; at the end of its generation it is compared with their latest "
        "scores",
        exclude_if=bool,  # specs of before this key keep their digests
    )

    def generation_refusals(self, space: Space, epochs: float) -> list[tuple[str, str]]:
        """Refuses a space with nothing to search, and a run without a perturbation; as `Strategy.refusals`."""
        found = []
        if not space.searched:
            found.append(("space", "every value is fixed, so all members are alike; give at least one to search"))
        if self.perturb_every_epochs >= epochs:
            rule = f"{self.perturb_every_epochs:g}: must be less than epochs ({epochs:g}), or nothing is ever perturbed"
            found.append(("perturb_every_epochs", rule))
        return found

    def changed_in_flight(self, space: Space) -> tuple[str, ...]:
        """All names that are searched, except those declared with `mutate: false`."""
        return tuple(name for name, dimension in space.searched.items() if dimension.mutate)

    def outline(self, space: Space) -> str:
        """The names that are not perturbed, and that no member waits: of a function's space no names are written."""
        held = [name for name, dimension in space.searched.items() if not dimension.mutate]
        drawn = f"{', '.join(held)} drawn once, then inherited with the weights" if held else ""
        return "; ".join(filter(None, (drawn, "" if self.synchronous else "no member waits for another")))

    @property
    def may_repeat_epochs(self) -> bool:
        """True without waiting: a member may take over from one that is behind."""
        return not self.synchronous

    def planned_trials(self, space: Space) -> int:
        """The number of members."""
        return self.population

    def first_draws(self, space: Space) -> int:
        """All members begin with what `Draws` yields: the known points first."""
        return self.population

    def planned_epochs(self, space: Space, epochs: float) -> float | None:
        """The epochs of all members, each to its end; None if one may go on from a donor that is ahead or behind."""
        return self.population * epochs if self.synchronous else None

    def population_plan(self, space: Space, objective: Objective, seed: int, explorer: Explorer) -> Plan:
        """The scheduler and the searcher of one study, which share one state that Tune's snapshots carry."""
        from tuning.strategies import Plan
        from tuning.strategies.schedulers.asynchronous import AsynchronousPopulation
        from tuning.strategies.schedulers.evolution import Evolution
        from tuning.strategies.schedulers.synchronous import SynchronousPopulation
        from tuning.strategies.searchers.population_searcher import PopulationSearch

        members: list[Params] = []
        while len(members) < self.population:  # more members than a finite space has configurations: those again
            members += itertools.islice(Draws(space, seed), self.population - len(members))
        make = SynchronousPopulation if self.synchronous else AsynchronousPopulation
        evolution = Evolution(seed, self.quantile, explorer)
        scheduler = make(evolution, objective, self.perturb_every_epochs, self.population)
        return Plan(scheduler, self.population, searcher=PopulationSearch(members, scheduler), population=scheduler)
