"""Population-based training: after each generation the worst members continue from the best ones.

A bad member takes over a good one's weights, optimizer moments and values, and perturbs the values. So the outcome is
a schedule of values, not one configuration. A member that diverges (non-finite score) or crashes is recorded as
failed and leaves; the others go on among themselves.

By default members wait for each other, and each generation is compared as a whole. With `synchronous: false` none
waits: as in the paper, a member is compared with the latest scores of the others and goes on at once, so that slots
stay in use where epochs take unequally long, or members outnumber slots; who meets whom then depends on the order of
arrival.

With `explore: false` the values are taken over as they are, with the weights: the paper's exploit without its explore.
What is left is selection among the first values, as a control of what perturbation adds.

Source: Jaderberg et al., "Population Based Training of Neural Networks", 2017.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from trainables.spec import Objective
from tuning.space import Space
from tuning.strategies import Plan, Strategy
from tuning.strategies.schedulers.evolution import FACTORS, RESAMPLE_PROBABILITY, Inheritance, Perturbation
from tuning.strategies.searchers.generations import Generations


class Pbt(Generations, Strategy):
    """Population-based training: `population` members, each with the full epochs, on any number of slots."""

    kind: ClassVar[str] = "pbt"

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
        found = self.generation_refusals(space, epochs)
        if self.explore and space.searched and not self.changed_in_flight(space):
            step = "give it one that may; names of your own that may change stand under in_flight"
            found.append(("space", f"no dimension may change, so pbt perturbs nothing; {step}"))
        return found

    def changed_in_flight(self, space: Space) -> tuple[str, ...]:
        """All names that are searched, except those declared with `mutate: false`; none without exploring."""
        return super().changed_in_flight(space) if self.explore else ()

    def plan(self, space: Space, objective: Objective, epochs: float, seed: int) -> Plan:
        """The scheduler and the searcher of one study, which share one state that Tune's snapshots carry."""
        perturbed = Perturbation(space, self.resample_probability, self.factors)
        return self.population_plan(space, objective, seed, perturbed if self.explore else Inheritance())
