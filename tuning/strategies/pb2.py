"""Population-based bandits: as pbt, but a model of the gains chooses the values with which a member goes on.

For few members: where PBT tries values at random, which takes many members to hit on good ones, a Gaussian process
learns from every generation of every member how much a score gains with which values, and proposes those with the best
upper bound. It models ranges. Values of a choice are perturbed as pbt does, and names with `mutate: false` are drawn
once and inherited: neither is part of the model. (The authors' later paper, on mixed inputs, has a second bandit for
choices.) All else is pbt's, with `synchronous: false` as well.

Source: Parker-Holder, Nguyen and Roberts, "Provably Efficient Online Hyperparameter Optimization with Population-Based
Bandits", NeurIPS 2020 (arXiv 2002.02518); `tuning.strategies.schedulers.bandit` says what differs here.
"""

from __future__ import annotations

from typing import ClassVar

from trainables.spec import Objective
from tuning.space import Space
from tuning.space.ranges import Range
from tuning.strategies import Plan, Strategy
from tuning.strategies.searchers.generations import Generations


class Pb2(Generations, Strategy):
    """Population-based bandits: `population` members, each with the full epochs; 2 to 8 are enough."""

    kind: ClassVar[str] = "pb2"

    def refusals(self, space: Space, epochs: float) -> list[tuple[str, str]]:
        """Refuses a space without a range that may change, one with branches, and a run without a perturbation."""
        found = self.generation_refusals(space, epochs)
        if space.conditional:
            step = "take pbt, or suggest every name with the same range in each trial"
            rule = f"pb2 models one set of ranges, and which a member has depends on its values; {step}"
            found.append(("space", rule))
        elif space.searched and not _modelled(space):
            step = "give a range that may change in the middle of a trial, or take pbt"
            found.append(("space", f"pb2 models how ranges of numbers change a score, and there is none; {step}"))
        return found

    def plan(self, space: Space, objective: Objective, epochs: float, seed: int) -> Plan:
        """The scheduler and the searcher of one study, which share one state that Tune's snapshots carry."""
        from tuning.strategies.schedulers.bandit import Bandit

        return self.population_plan(space, objective, seed, Bandit(space, _modelled(space)))


def _modelled(space: Space) -> dict[str, Range]:
    """The ranges that may change in the middle of a trial."""
    return {name: one for name, one in space.searched.items() if isinstance(one, Range) and one.mutate}
