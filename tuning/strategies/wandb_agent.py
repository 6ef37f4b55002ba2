"""A sweep of a W&B server, which proposes and stops; every slot serves it. `tunefleet sweep-agent` starts it."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, PositiveInt

from trainables.spec import Objective
from tuning.space import Space
from tuning.strategies import Plan, Strategy


class WandbAgent(Strategy):
    """Each run that the server hands out is a trial, and each trial's run in W&B is that run of the sweep.

    The server decides, so a seed changes nothing, and a resume goes on with the runs that it had without repeating what
    the server has decided.
    """

    kind: ClassVar[str] = "wandb_agent"
    weights_only: ClassVar[bool] = True
    decides_on_the_way: ClassVar[bool] = True
    origin: ClassVar[str] = "the server's proposal"

    sweep: str = Field(description="ENTITY/PROJECT/ID")
    most_runs: PositiveInt = Field(
        10_000, le=1_000_000, description="so many are served at most; `wandb agent --count`"
    )
    names: dict[str, str] = Field({}, description="hyperparameter -> the sweep's name of it, where that differs")
    metric: str | None = Field(None, description="the sweep's name of the objective; null: it has none")

    def planned_trials(self, space: Space) -> int | None:
        """None: the server decides."""
        return None

    def outline(self, space: Space) -> str:
        """The sweep that is served."""
        return f"the runs of {self.sweep}, as its server hands them out; at most {self.most_runs}"

    def plan(self, space: Space, objective: Objective, epochs: float, seed: int) -> Plan:
        """The server's runs; nobody is asked before the first slot is free."""
        from tuning.strategies.schedulers.server_stopping import ServerStopping
        from tuning.strategies.searchers.agent_searcher import AgentSearcher
        from tuning.tracking.online_sweep import OnlineSweep
        from tuning.tracking.sweep_server import SweepPath

        sweep = OnlineSweep(SweepPath.parse(self.sweep), self.metric, objective.metric)
        searcher = AgentSearcher(space, self.names, sweep)
        return Plan(
            ServerStopping(sweep), None, searcher=searcher, most_trials=self.most_runs, weights_only=True, online=sweep
        )
