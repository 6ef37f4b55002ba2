"""The processes that compute trials, shared by all studies that run at the same time.

In: what Tune's controllers ask for, one controller per study. Out: a process for each trial: one that has ended its
last trial, whichever study that was of, else a new one. So processes live as long as the experiment, and a slot that
one study leaves free computes for the next at once. Tune's own cache of processes is per study, and keeps one of those
that nobody waits for.

Read against ray 2.60.
"""

from __future__ import annotations

import itertools
import uuid
from collections import defaultdict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import ray
from ray.air.execution import PlacementGroupResourceManager
from ray.air.execution._internal import RayActorManager, TrackedActor
from ray.exceptions import RayError, RayTaskError
from ray.tune.execution import tune_controller
from ray.util.placement_group import placement_group_table

from trainables.machine import clock
from tuning.tune_compat.processes import as_actor_error

if TYPE_CHECKING:
    from ray.air.execution.resources.request import AcquiredResources, ResourceRequest

END_SECONDS = 5.0  # that processes have to end at the end of a run


class Crew(NamedTuple):
    """Describes the processes of one study, and which other ones may compute its trials.

    Args:
        study: the study's name.
        kind: processes of the same kind compute each other's trials; None: those of this study alone.
        join: called with the handle of a process that comes from another study, before its first trial in this one.
    """

    study: str
    kind: str | None = None
    join: Callable[[Any], object] | None = None

    def takes(self, other: Crew) -> bool:
        """True if processes of `other` may compute trials of this study."""
        return self.study == other.study or (self.kind is not None and self.kind == other.kind)


class _Idle(NamedTuple):
    """A process without a trial, and the resources that it holds."""

    crew: Crew
    actor: Any
    held: AcquiredResources


class _Request(NamedTuple):
    """A trial that waits for a process: the class of its actor, and the arguments for a new one."""

    crew: Crew
    cls: Any
    arguments: dict[str, Any]
    resources: ResourceRequest


class SlotPool(RayActorManager):  # type: ignore[misc]
    """Tune's manager of actors, with processes that outlive their trials.

    Attributes:
        keeps: False if no further trial is to come: processes then end with their trials.
    """

    def __init__(self) -> None:
        super().__init__(resource_manager=tune_controller.PlacementGroupResourceManager())
        self.keeps = True
        self._idle: list[_Idle] = []
        self._requests: dict[TrackedActor, _Request] = {}  # of the processes that wait, start or live
        self._of_study: dict[str, set[TrackedActor]] = defaultdict(set)  # the same, by study
        self._ready: deque[Any] = deque()  # results that have arrived, and that no controller has heard of yet

    @property
    def slots_held(self) -> int:
        """The number of processes that hold what a trial holds: those that start, compute, are idle or are stopping."""
        return len(self._live_actors_to_ray_actors_resources) + len(self._idle)

    def slots_reserved(self) -> int:
        """The number of slots that Ray holds for processes that are still to be started: groups that have resources.

        Between the two lies the start of a worker, which tells Tune that the group is ready. Asks the head about each
        group that Tune does not know to be ready.
        """
        manager = self._resource_manager
        if not isinstance(manager, PlacementGroupResourceManager):
            return 0
        ready = sum(map(len, manager._request_to_ready_pgs.values()))
        staged = [group for groups in manager._request_to_staged_pgs.values() for group in groups]
        return int(ready + sum(placement_group_table(group).get("state") == "CREATED" for group in staged))

    def room(self, limit: int) -> int:
        """The number of trials that may still get a process if at most `limit` of them have one."""
        return limit - len(self._live_actors_to_ray_actors_resources) - len(self._pending_actors_to_attrs)

    def request(self, crew: Crew, cls: Any, arguments: dict[str, Any], resources: Any, **hooks: Any) -> TrackedActor:
        """Ask for a process: an idle one that fits, or a new one as soon as there are resources.

        Args:
            crew: of the study.
            cls, arguments, resources, hooks: see `RayActorManager.add_actor`.
        """
        tracked, request = _tracked(**hooks), _Request(crew, cls, arguments, resources)
        self._remember(tracked, request)
        if (idle := self._fitting(request)) is None:
            self._wait_for_resources(tracked, request)
            self._make_room()
        else:
            self._begin(tracked, request, idle)
        return tracked

    def give_back(self, tracked: TrackedActor) -> bool:
        """Take back a process that has ended its trial; False if nobody would use it: it is then to be stopped."""
        if not self.keeps or not self.is_actor_started(tracked):
            return False
        actor, held = self._live_actors_to_ray_actors_resources.pop(tracked)
        self._live_resource_cache = None
        self._cleanup_actor_futures(tracked)
        self._idle.append(_Idle(self._requests[tracked].crew, actor, held))
        self._forget(tracked)
        self._serve_first()
        self._make_room()
        return True

    def awaited_by(self, study: str) -> list[TrackedActor]:
        """The processes of a study that wait for resources."""
        return [one for one in self._pending_actors_to_attrs if one in self._of_study[study]]

    def held_by(self, study: str) -> list[TrackedActor]:
        """The processes of a study that start, compute or are stopping."""
        return [one for one in self._of_study[study] if one not in self._pending_actors_to_attrs]

    def number_held_by(self, study: str) -> int:
        """The number of processes that `held_by` lists; there may be a thousand."""
        return len(self._of_study[study]) - len(self.awaited_by(study))

    def computes(self, tracked: TrackedActor) -> bool:
        """True if the process has not returned from a call."""
        running = self._actor_task_events._tracked_futures
        return any(future in running for future in self._tracked_actors_to_task_futures.get(tracked, ()))

    def stop_idle(self) -> None:
        """Stop the processes that have no trial."""
        while self._idle:
            self._stop(self._idle.pop())

    def close(self) -> None:
        """End all processes, those that take too long by force: nothing is to come."""
        self.stop_idle()
        for tracked in self.pending_actors:
            self.remove_actor(tracked)
        until = clock.monotonic() + END_SECONDS
        while self.live_actors and clock.monotonic() < until:
            self.next(timeout=1.0)
        for tracked in self.live_actors:
            self.remove_actor(tracked, kill=True)
        while self._try_kill_actor():
            pass
        self._resource_manager.clear()

    def _fitting(self, request: _Request) -> _Idle | None:
        """Take an idle process that may compute the trial of `request`; None if there is none."""
        for place, idle in enumerate(self._idle):
            if request.crew.takes(idle.crew) and idle.held.resource_request == request.resources:
                return self._idle.pop(place)
        return None

    def _serve_first(self) -> None:
        """Give the newest idle process to the first trial that waits and may have it."""
        for tracked in self._pending_actors_to_attrs:
            request = self._requests[tracked]
            if (idle := self._fitting(request)) is not None:
                del self._pending_actors_to_attrs[tracked]
                self._resource_request_to_pending_actors[request.resources].remove(tracked)
                self._resource_manager.cancel_resource_request(resource_request=request.resources)
                self._begin(tracked, request, idle)
                return

    def _make_room(self) -> None:
        """Stop as many idle processes as trials wait: none of those can use them, and they hold what these need."""
        for _ in range(min(len(self._idle), len(self._pending_actors_to_attrs))):
            self._stop(self._idle.pop(0))

    def _begin(self, tracked: TrackedActor, request: _Request, idle: _Idle) -> None:
        """Let an idle process begin the trial of `tracked`, as Tune lets one of its cache."""
        self._live_actors_to_ray_actors_resources[tracked] = (idle.actor, idle.held)
        self._live_resource_cache = None
        if idle.crew.study != request.crew.study and request.crew.join is not None:
            request.crew.join(idle.actor)
        arguments = request.arguments
        begun = idle.actor.reset.remote(arguments["config"], storage=arguments["storage"])
        self._tracked_actors_to_state_futures[tracked].add(begun)

        def on_result(reset: bool) -> None:
            if reset:
                self._actor_start_resolved(tracked_actor=tracked, future=begun)
            else:  # a function that has not returned yet
                self._cleanup_actor(tracked_actor=tracked)
                self._remember(tracked, request)
                self._wait_for_resources(tracked, request)

        def on_error(error: Exception) -> None:
            self._actor_start_failed(tracked_actor=tracked, exception=error)

        self._actor_state_events.track_future(future=begun, on_result=on_result, on_error=on_error)

    def _wait_for_resources(self, tracked: TrackedActor, request: _Request) -> None:
        self._pending_actors_to_attrs[tracked] = request.cls, request.arguments, request.resources
        self._resource_request_to_pending_actors[request.resources].append(tracked)
        self._resource_manager.request_resources(resource_request=request.resources)

    def _stop(self, idle: _Idle) -> None:
        """Stop a process as Tune does; its resources are free when it has ended."""
        nobody = _tracked()
        self._live_actors_to_ray_actors_resources[nobody] = (idle.actor, idle.held)
        self._live_resource_cache = None
        self.remove_actor(nobody, stop_future=idle.actor.stop.remote())  # a function removes its files by it

    def _remember(self, tracked: TrackedActor, request: _Request) -> None:
        self._requests[tracked] = request
        self._of_study[request.crew.study].add(tracked)

    def _forget(self, tracked: TrackedActor) -> None:
        if (request := self._requests.pop(tracked, None)) is not None:
            self._of_study[request.crew.study].discard(tracked)

    def next(self, timeout: float | None = None) -> bool:
        """Handle one event, as Tune's manager does; True if there was one.

        Tune's own asks Ray about all results that are to come before each event, which takes as long as a few events
        with a thousand slots. This one keeps what has arrived besides the first, and handles that before it asks again.
        """
        killed = self._try_kill_actor()
        self._try_start_actors()
        if killed:
            return True
        if not self._next_ready():
            self._collect(timeout)
        if (future := self._next_ready()) is None:
            return False
        self._ready.popleft()
        self._events_of(future).resolve_future(future)
        self._try_start_actors()
        return True

    def _collect(self, timeout: float | None) -> None:
        """Wait for a result, and take all that have arrived by then: of new resources, of starts, of calls."""
        resources = self._resource_manager.get_resource_futures()
        waited = (events.get_futures() for events in (self._actor_state_events, self._actor_task_events))
        futures = [*resources, *itertools.chain.from_iterable(waited)]
        ready, others = ray.wait(futures, num_returns=1, timeout=timeout)
        if ready and others:
            ready += ray.wait(others, num_returns=len(others), timeout=0)[0]
        if any(future in ready for future in resources):
            self._handle_ready_resource_future()
        self._ready.extend(future for future in ready if future not in resources)

    def _next_ready(self) -> Any:
        """Drop what nobody waits for any more from the results that have arrived; returns the first of the others."""
        while self._ready and self._events_of(self._ready[0]) is None:
            self._ready.popleft()
        return self._ready[0] if self._ready else None

    def _events_of(self, future: Any) -> Any:
        """Return Tune's table in which the result is waited for; None if it is not."""
        tables = (self._actor_state_events, self._actor_task_events)
        return next((table for table in tables if future in table._tracked_futures), None)

    # What Tune calls.

    def remove_actor(self, tracked_actor: TrackedActor, **options: Any) -> bool:
        """Called by Tune to stop a process, or to take back the request for one."""
        waits = tracked_actor in self._pending_actors_to_attrs
        stops = bool(super().remove_actor(tracked_actor, **options))
        if waits:
            self._forget(tracked_actor)
        return stops

    def _cleanup_actor(self, tracked_actor: TrackedActor) -> None:
        """Called by Tune when a process has ended."""
        super()._cleanup_actor(tracked_actor=tracked_actor)
        self._forget(tracked_actor)

    def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
        error = self._as_actor_error(tracked_actor_task._tracked_actor, exception)
        super()._actor_task_failed(tracked_actor_task, error)

    def _actor_start_failed(self, tracked_actor: TrackedActor, exception: Exception) -> None:
        super()._actor_start_failed(tracked_actor, self._as_actor_error(tracked_actor, exception))

    def _as_actor_error(self, tracked: TrackedActor, error: Exception) -> Exception:
        """Make an error of the actor of every error that ends a process.

        Ray's manager of actors knows RayActorError and RayTaskError; at any other, such as the OutOfMemoryError with
        which the memory monitor kills, it raises, and the whole experiment ends. There is no option for that.
        """
        held = self._live_actors_to_ray_actors_resources.get(tracked)
        if held is None or isinstance(error, RayTaskError) or not isinstance(error, RayError):
            return error
        died: Exception = as_actor_error(held[0]._actor_id.hex(), error)
        return died


def _tracked(**hooks: Any) -> TrackedActor:
    """A new name for a process; without hooks no controller hears of it any more."""
    return TrackedActor(uuid.uuid4().int, **hooks)
