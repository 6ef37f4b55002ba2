"""Strategies that break one rule of their contract each."""

from __future__ import annotations

import contextlib
import os
import random
import threading
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from pydantic import ConfigDict, Field, PositiveInt
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import ConcurrencyLimiter

from trainables.spec import Objective
from tuning.space import Space
from tuning.strategies import Plan, Strategy
from tuning.strategies.pbt import Pbt
from tuning.strategies.searchers.list_searcher import ListSearcher

Proposals = list[dict[str, Any]]


class Sound(Strategy):
    """A strategy that breaks no rule: its trials are independent draws."""

    kind: ClassVar[str] = "sound"

    trials: PositiveInt = 6

    def proposals(self, space: Space, seed: int) -> Proposals:
        """Returns all that the strategy will propose."""
        rng = random.Random(seed)
        return [space.sample(rng) for _ in range(self.trials)]

    def scheduler(self) -> TrialScheduler:
        """Returns a scheduler that serves who comes first."""
        return FIFOScheduler()

    def searcher(self, proposals: Proposals) -> Any:
        """Returns a searcher that proposes these values in their order."""
        return ListSearcher(proposals)

    def plan(self, space: Space, objective: Objective, epochs: float, seed: int) -> Plan:
        """Returns the plan made of proposals, scheduler and searcher."""
        return Plan(
            self.scheduler(), self.trials, searcher=self.searcher(self.proposals(space, seed)), weights_only=True
        )


# Of its plans


class TakesAnothersKind(Sound):
    kind: ClassVar[str] = "grid"


class HidesAField(Sound):
    hidden: PositiveInt = Field(3, exclude=True)


class TakesAnyKey(Sound):
    model_config = ConfigDict(extra="ignore")


class TakesAnyNumber(Sound):
    trials: int = 6


class TakesNoNumber(Sound):
    share: float = Field(0.5, gt=0)  # infinity is more than that


class RefusesEverything(Sound):
    def refusals(self, space: Space, epochs: float) -> list[tuple[str, str]]:
        return [("space", "no")]


class AlwaysProposesARate(Sound):
    def proposals(self, space: Space, seed: int) -> Proposals:
        return [{"learning_rate": 1e-4, **params} for params in super().proposals(space, seed)]


class RefusesByNoPath(Sound):
    def refusals(self, space: Space, epochs: float) -> list[tuple[str, str]]:
        return [] if space.searched else [("somewhere", "has nothing to search")]


class LeavesTheSpace(Sound):
    def proposals(self, space: Space, seed: int) -> Proposals:
        return [{**params, "learning_rate": 10.0} for params in super().proposals(space, seed)]


class ProposesNumPys(Sound):
    def proposals(self, space: Space, seed: int) -> Proposals:
        drawn = super().proposals(space, seed)
        return [{**params, "learning_rate": np.float64(params["learning_rate"])} for params in drawn]


class ProposesOnePoint(Sound):
    def proposals(self, space: Space, seed: int) -> Proposals:
        return super().proposals(space, seed)[:1] * self.trials


class EndsEarly(Sound):
    def proposals(self, space: Space, seed: int) -> Proposals:
        return super().proposals(space, seed)[1:]


class ForgetsItsSeed(Sound):
    def proposals(self, space: Space, seed: int) -> Proposals:
        return super().proposals(space, int.from_bytes(os.urandom(8)))


class HasASeedOfItsOwn(Sound):
    def proposals(self, space: Space, seed: int) -> Proposals:
        return super().proposals(space, 7)


class SeedsTheGlobalState(Sound):
    def proposals(self, space: Space, seed: int) -> Proposals:
        random.seed(seed)
        return super().proposals(space, seed)


class SeedsNumPysGlobalState(Sound):
    def proposals(self, space: Space, seed: int) -> Proposals:
        np.random.seed(seed)
        return super().proposals(space, seed)


class DrawsFromTheGlobalState(Sound):
    def proposals(self, space: Space, seed: int) -> Proposals:
        return super().proposals(space, int(np.random.randint(1000)))


class StartsRay(Sound):
    """Starts a simulated Ray, which takes no process, as it plans; `started` ends it."""

    started: ClassVar[contextlib.ExitStack] = contextlib.ExitStack()

    def proposals(self, space: Space, seed: int) -> Proposals:
        from tuning.testing.simulated_ray import simulated_ray

        self.started.enter_context(simulated_ray())
        return super().proposals(space, seed)


class SharesItsScheduler(Sound):
    shared: ClassVar[TrialScheduler] = FIFOScheduler()

    def scheduler(self) -> TrialScheduler:
        return self.shared


class SchedulesByItself(Sound):
    def scheduler(self) -> Any:
        return object()


class Locked(ListSearcher):
    def __init__(self, proposals: Proposals) -> None:
        super().__init__(proposals)
        self.lock = threading.Lock()


class CannotBePickled(Sound):
    def searcher(self, proposals: Proposals) -> Any:
        return Locked(proposals)


class Forgetful(ListSearcher):
    """A searcher that begins anew where it is to be restored."""

    def restore(self, checkpoint_path: str) -> None:
        return None


class ForgetsWhereItWas(Sound):
    def searcher(self, proposals: Proposals) -> Any:
        return Forgetful(proposals)


# Of its studies


class ProposesWhatDiverges(Sound):
    def proposals(self, space: Space, seed: int) -> Proposals:
        first, *others = super().proposals(space, seed)
        return [{**first, "learning_rate": 0.99}, *others]


class Meddling(FIFOScheduler):  # type: ignore[misc]
    """A scheduler that changes the rate in the middle of each trial, and tells nobody."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if result["epoch"] == 2 and trial.config["learning_rate"] < 9e-3:
            trial.set_config({**trial.config, "learning_rate": 9.5e-3})
            return str(TrialScheduler.PAUSE)
        return str(super().on_trial_result(tune_controller, trial, result))


class ChangesValuesInSecret(Sound):
    def scheduler(self) -> TrialScheduler:
        return Meddling()

    def plan(self, space: Space, objective: Objective, epochs: float, seed: int) -> Plan:
        return replace(super().plan(space, objective, epochs, seed), weights_only=False)


class PlansTooMuch(Sound):
    def planned_epochs(self, space: Space, epochs: float) -> float:
        return 1000.0


class LeavesSlotsFree(Sound):
    """Proposes a trial when the one before has ended, however many slots there are."""

    def searcher(self, proposals: Proposals) -> Any:
        return ConcurrencyLimiter(ListSearcher(proposals), max_concurrent=1)


class ClonesWithoutMoments(Pbt):
    kind: ClassVar[str] = "clones_without_moments"

    def plan(self, space: Space, objective: Objective, epochs: float, seed: int) -> Plan:
        return replace(super().plan(space, objective, epochs, seed), weights_only=True)


class Tossing(FIFOScheduler):  # type: ignore[misc]
    """A scheduler that stops a trial if a coin says so."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return str(TrialScheduler.STOP if os.urandom(1)[0] < 128 else TrialScheduler.CONTINUE)


class StopsByChance(Sound):
    def scheduler(self) -> TrialScheduler:
        return Tossing()


class Insisting(ListSearcher):
    """A searcher that takes no trial for ended before its time."""

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        if result is not None and result["epoch"] < 4:
            raise RuntimeError(f"{trial_id} has not ended")


class RefusesToStop(Sound):
    def searcher(self, proposals: Proposals) -> Any:
        return Insisting(proposals)


class Counting(FIFOScheduler):  # type: ignore[misc]
    """A scheduler that stops every second trial after an epoch; how many it has seen is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if trial.trial_id not in self.seen:
            self.seen.append(trial.trial_id)
        return str(TrialScheduler.CONTINUE if self.seen.index(trial.trial_id) % 2 else TrialScheduler.STOP)


class LosesItsSchedulersState(Sound):
    def scheduler(self) -> TrialScheduler:
        return Counting()
