"""The processes of one study, as its controller sees them: a part of those that all studies of a run share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.air.execution._internal import TrackedActor

    from tuning.tune_compat.slot_pool import Crew, SlotPool


class StudyActors:
    """The manager of actors as the controller of one study sees it: the study's own ones, and no others.

    What is not defined here is the pool's.

    Args:
        pool: of the experiment.
        crew: of the study.
    """

    def __init__(self, pool: SlotPool, crew: Crew) -> None:
        self._pool, self._crew = pool, crew

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def add_actor(self, cls: Any, kwargs: dict[str, Any], resource_request: Any, **hooks: Any) -> TrackedActor:
        """Ask the pool for a process of the study; see `SlotPool.request`."""
        return self._pool.request(self._crew, cls, kwargs, resource_request, **hooks)

    @property
    def num_live_actors(self) -> int:
        """The number of the study's processes that start, compute or are stopping."""
        return self._pool.number_held_by(self._crew.study)

    @property
    def num_pending_actors(self) -> int:
        """The number of the study's processes that wait for resources."""
        return len(self._pool.awaited_by(self._crew.study))

    @property
    def num_total_actors(self) -> int:
        """The number of the study's processes, also of those that wait for resources."""
        return self.num_live_actors + self.num_pending_actors

    def cleanup(self) -> None:
        """Kill what is left of the study's processes, and ask for no more."""
        for tracked in self._pool.awaited_by(self._crew.study):
            self._pool.remove_actor(tracked)
        for tracked in self._pool.held_by(self._crew.study):
            self._pool.remove_actor(tracked, kill=True)
        while self._pool._try_kill_actor():
            pass
