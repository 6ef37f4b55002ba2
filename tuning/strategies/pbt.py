"""Population-based training: a population trains in step; after each generation the worst continue from the best.

A bad member takes over a good one's weights, optimizer moments and values, and perturbs the values. So the outcome is
a schedule of values, not one configuration. A member that diverges (non-finite score) or crashes is recorded as
failed and leaves; the others go on among themselves.

With `explore: false` the values are taken over as they are, with the weights: the paper's exploit without its explore.
What is left is selection among the first values, as a control of what perturbation adds.

A generation is counted in epochs, that is in examples: members with other batch sizes take other numbers of steps. So
there is no unit of steps: for a shorter generation give a fraction of an epoch, and reports as often. Its end must be a
report: a generation that is no multiple of `report_every_epochs` is refused by `tuning.spec.validation.spec_checks`
(`trainables.epochs.next_position` says where reports are).

Source: Jaderberg et al., "Population Based Training of Neural Networks", 2017.
"""

from __future__ import annotations

import itertools
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from trainables.spec import Epochs, Objective, Params
from tuning.outcome.attributes import RANDOM_DRAW
from tuning.space import Draws, Space
from tuning.strategies import Plan, Strategy

RESAMPLE_PROBABILITY, FACTORS = 0.25, (0.8, 1.2)


class Pbt(Strategy):
    """Population-based training: `population` members, each with the full epochs, on any number of slots."""

    kind: ClassVar[str] = "pbt"
    decides_on_the_way: ClassVar[bool] = True
    origin: ClassVar[str] = RANDOM_DRAW

    population: int = Field(ge=2, description="members")
    perturb_every_epochs: Epochs = Field(1.0, description="length of a generation; a multiple of report_every_epochs")
    quantile: float = Field(
        0.25, gt=0, le=0.5, description="share that is replaced after a generation, and share that donates"
    )
    explore: bool = Field(True, description="false: a donor's values are taken over unperturbed; selection only")
    resample_probability: float = Field(
        RESAMPLE_PROBABILITY, ge=0, le=1, description="of a value after an exploit: drawn anew rather than moved"
    )
    factors: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = Field(
        FACTORS, min_length=1, description="a moved number is multiplied by one of these, within its range"
    )

    @model_validator(mode="after")
    def _explore_keys_fit(self) -> Pbt:
        if not self.explore and (self.resample_probability, self.factors) != (RESAMPLE_PROBABILITY, FACTORS):
            raise ValueError("explore: false perturbs nothing, so resample_probability and factors would not be read")
        return self

    def refusals(self, space: Space, epochs: float) -> list[tuple[str, str]]:
        """Refuses a space with nothing to perturb, and a run without a perturbation."""
        found = []
        if self.explore and space.searched and not self.changed_in_flight(space):
            step = "give it one that may; names of your own that may change stand under in_flight"
            found.append(("space", f"no dimension may change, so pbt perturbs nothing; {step}"))
        if not space.searched:
            found.append(("space", "every value is fixed, so all members are alike; give at least one to search"))
        if self.perturb_every_epochs >= epochs:
            rule = f"{self.perturb_every_epochs:g}: must be less than epochs ({epochs:g}), or nothing is ever perturbed"
            found.append(("perturb_every_epochs", rule))
        return found

    def changed_in_flight(self, space: Space) -> tuple[str, ...]:
        """All names that are searched, except those declared with `mutate: false`."""
        return tuple(name for name, dimension in space.searched.items() if self.explore and dimension.mutate)

    def outline(self, space: Space) -> str:
        """The names that are not perturbed: of a function's space the user has not written them down."""
        held = [name for name in space.searched if self.explore and name not in self.changed_in_flight(space)]
        return f"{', '.join(held)} drawn once, then inherited with the weights" if held else ""

    def planned_trials(self, space: Space) -> int:
        """The number of members."""
        return self.population

    def first_draws(self, space: Space) -> int:
        """All members begin with draws of `Draws`."""
        return self.population

    def planned_epochs(self, space: Space, epochs: float) -> float:
        """The epochs of all members, each to its end."""
        return self.population * epochs

    def plan(self, space: Space, objective: Objective, epochs: float, seed: int) -> Plan:
        """The scheduler and the searcher of one study, which share one state that Tune's snapshots carry."""
        from tuning.strategies.schedulers.evolution import Evolution
        from tuning.strategies.schedulers.population import PopulationScheduler
        from tuning.strategies.searchers.population_searcher import PopulationSearch

        members: list[Params] = []
        while len(members) < self.population:  # more members than a finite space has configurations: those again
            members += itertools.islice(Draws(space, seed), self.population - len(members))
        evolution = Evolution(space, seed, self.quantile, self.resample_probability, self.factors, self.explore)
        scheduler = PopulationScheduler(evolution, objective, self.perturb_every_epochs, self.population)
        return Plan(scheduler, self.population, searcher=PopulationSearch(members, scheduler), population=scheduler)
