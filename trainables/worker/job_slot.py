"""A slot for the work after a search: one Ray actor that computes one job after the other.

To Tune a job is a trial of a single step. So what holds for trials holds for jobs: where they run, what becomes of them
when a process hangs or a node is lost, and what a process may hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ray import tune

from trainables.machine.devices import use_assigned_devices
from trainables.machine.oom_probe import start_oom_probe
from trainables.progress import Heartbeat, active, tracker
from trainables.spec import FineTuneSpec, Params
from trainables.training import Training

NUMBER = "job"  # in a trial's config: which of the calls it computes
VALUE = "value"  # in a result: what the function has returned


class JobCall(NamedTuple):
    """A call in a worker's process: `function(*given, make)`, where `make` builds a Training there."""

    title: str  # for people
    function: Callable[..., Any]
    given: tuple[Any, ...]


def job_trainable(
    calls: Sequence[JobCall], make: Callable[[Params, FineTuneSpec], Training], heartbeat: Heartbeat | None
) -> Any:
    """Returns what Tune takes as the trainable for `calls`; a trial's config has the number of its call.

    Args:
        calls: all of them travel to each node once.
        make: builds a Training in the slot; `team.builder` returns one for several processes.
        heartbeat: how the process sends heartbeats; None: it sends none.
    """
    return tune.with_parameters(JobSlot, calls=list(calls), make=make, heartbeat=heartbeat)


class JobSlot(tune.Trainable):  # type: ignore[misc]
    """The actor that computes jobs. Tune calls `setup` once, `step` once per job, and `reset_config` between two."""

    def setup(
        self,
        config: dict[str, Any],
        calls: list[JobCall],
        make: Callable[[Params, FineTuneSpec], Training],
        heartbeat: Heartbeat | None = None,
    ) -> None:
        """Called by Tune once, in the new actor; see `job_trainable` for the arguments."""
        import ray

        use_assigned_devices()
        if heartbeat is not None:
            tracker.start_heartbeat(heartbeat, str(ray.get_runtime_context().get_actor_id()))
        self._calls, self._make = calls, make

    @property
    def call(self) -> JobCall:
        """The call that this actor computes, or will compute next."""
        number: int = self.config[NUMBER]
        return self._calls[number]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Called by Tune to reuse the actor for another job. Nothing is kept."""
        return True

    def step(self) -> dict[str, Any]:
        """Computes the job, and returns its value as a Tune result."""
        with active():
            tracker.begin()
            start_oom_probe()
            value = self.call.function(*self.call.given, self._make)
        return {VALUE: value, "done": True}
