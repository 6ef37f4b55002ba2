"""Weights & Biases' own sweep engine in this process: its Gaussian process proposes, its hyperband stops."""

from __future__ import annotations

from importlib.util import find_spec
from typing import ClassVar, Literal

from pydantic import Field, PositiveInt, model_validator

from trainables.spec import Frozen, Objective
from tuning.space import Space
from tuning.space.dimensions import Choice
from tuning.strategies import Plan, Strategy

ENGINE = "sweeps"
BESIDES = {"sklearn": "scikit-learn", "jsonschema": "jsonschema", "jsonref": "jsonref"}  # what else it imports
LEAST_KNOWN = 2  # finished runs without which its model draws at random
LISTED = 10_000  # combinations of a grid, which the engine lists anew for each proposal


class EarlyTerminate(Frozen):
    """W&B's `early_terminate`: at bands of reports, runs that are not among the best 1/eta so far are stopped."""

    type: Literal["hyperband"] = "hyperband"
    min_iter: PositiveInt | None = Field(None, description="reports after which the first are stopped; then eta times")
    max_iter: PositiveInt | None = Field(None, description="of the last band, with `s`; in place of min_iter")
    s: PositiveInt | None = Field(None, description="the number of bands below max_iter")
    eta: float = Field(3.0, gt=1, allow_inf_nan=False, description="the best 1/eta of a band go on")
    strict: bool = Field(True, description="false: a run goes on if any of its scores so far is good enough")

    @model_validator(mode="after")
    def _has_bands(self) -> EarlyTerminate:
        if self.min_iter is None and (self.max_iter is None or self.s is None):
            raise ValueError("needs min_iter, or max_iter with s; such as {min_iter: 1, eta: 3}")
        return self


class WandbSweep(Strategy):
    """The engine behind W&B's server and its local controller, asked for one run after the other.

    Its proposals follow from the runs so far and the seed. In a finite space, where it would repeat a configuration,
    the next random draw that is new takes its place. A trial that failed counts as the worst one.

    https://github.com/wandb/sweeps, 0.3.0; its hyperband is that of Li et al., JMLR 2018 (arXiv 1603.06560), without
    brackets.
    """

    kind: ClassVar[str] = "wandb_sweep"
    weights_only: ClassVar[bool] = True
    decides_on_the_way: ClassVar[bool] = True
    origin: ClassVar[str] = "the engine's proposal"

    trials: PositiveInt | None = Field(description="how many are started; null: until the experiment's budget is spent")
    method: Literal["bayes", "random", "grid"] = Field("bayes", description="as in a sweep's configuration")
    early_terminate: EarlyTerminate | None = Field(None, description="null: each trial to its full epochs")

    def install_command(self) -> str:
        """The command that installs the engine and what it lacks here; "" if all is there.

        The engine's metadata demand numpy < 2, though it works with later ones: pip would replace numpy.
        """
        command = f"pip install --no-deps {ENGINE}"
        missing = [package for module, package in BESIDES.items() if find_spec(module) is None]
        if missing:
            return f"{command}; pip install {' '.join(missing)}"
        return "" if find_spec(ENGINE) is not None else command

    def refusals(self, space: Space, epochs: float) -> list[tuple[str, str]]:
        """Refuses what is no fixed set of names, and for a grid what cannot be listed."""
        if space.conditional:
            rule = "W&B's engine searches one set of names, and which of these a trial has depends on its values"
            return [("space", f"{rule}: {', '.join(space.names)}; take random, grid or pbt")]
        nothing = "every value is fixed, there is nothing to propose; give at least one range or choice"
        found = [] if space.searched else [("space", nothing)]
        if self.method != "grid":
            return found
        for name, dimension in space.searched.items():
            if dimension.count is None:
                found.append((f"space.{name}", "a grid lists values, and a range has no list; write {choice: [...]}"))
        if space.size is not None and space.size > LISTED:
            rule = f"{space.size} combinations, and the engine lists them all for each proposal"
            found.append(("method", f"{rule}; take the strategy grid, or fewer values"))
        return found

    def planned_trials(self, space: Space) -> int | None:
        """`trials`, or the number of a finite space's configurations if that is less: none is proposed twice."""
        return self.trials if self.trials is None or space.size is None else min(self.trials, space.size)

    def learns_after(self, space: Space) -> int | None:
        """The number of runs that its model needs; with trials side by side the first ones are all drawn at random."""
        return LEAST_KNOWN if self.method == "bayes" else None

    def first_draws(self, space: Space) -> int:
        """None of its trials are draws of `Draws`."""
        return 0

    def planned_epochs(self, space: Space, epochs: float) -> float | None:
        """The epochs of all trials, each to its end, unless some are stopped."""
        trials = self.planned_trials(space)
        return None if trials is None or self.early_terminate is not None else trials * epochs

    def outline(self, space: Space) -> str:
        """The method in words, and what stands for a choice."""
        lists = "each value of " if self.method == "grid" else ""
        choices = sum(isinstance(dimension, Choice) for dimension in space.searched.values())
        return f"method {self.method}: {lists}{len(space.searched)} hyperparameters, {choices} of them choices"

    def plan(self, space: Space, objective: Objective, epochs: float, seed: int) -> Plan:
        """The engine's proposals; the searcher's saved state holds the runs by which it decides.

        Raises:
            InputError: the engine is not installed.
        """
        from tuning.strategies.schedulers.sweep_stopping import SweepRuns, SweepStopping
        from tuning.strategies.searchers.sweep_searcher import SweepSearcher

        early = None if self.early_terminate is None else self.early_terminate.model_dump(exclude_none=True)
        runs = SweepRuns(objective, early)
        scheduler = SweepStopping(runs)
        trials = self.planned_trials(space)
        most = space.size if trials is None else None
        searcher = SweepSearcher(space, self.method, seed, runs)
        return Plan(scheduler, trials, searcher=searcher, most_trials=most, weights_only=True)
