"""Decides what happens to jobs while they run: trainings and evaluations after a search.

They are supervised as trials are, with two differences. A job whose process dies starts once more, whatever the reason
was: `max_failures` is for what a search proposes. A second death is the job's error: a confirmation is then recorded as
failed, and the others go on; an evaluation on test ends the run. A job that has lost node after node has not failed: a
resume begins it again.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ray.exceptions import RayActorError, RayTaskError
from ray.tune.callback import Callback

from trainables.machine import clock
from trainables.progress import Heartbeat
from trainables.worker.job_slot import NUMBER, VALUE
from trainables.worker.team import WorkerDied
from tuning.supervision.failures import TrialFailure
from tuning.supervision.supervisor import NodesLost, StudySupervisor
from tuning.supervision.watchdog import NoProgress

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

    from tuning.tune_compat.controller import Controller

logger = logging.getLogger(__name__)


class JobEnd(NamedTuple):
    """The end of a job: with a value or with an error."""

    number: int
    lost: float  # seconds that it ran in processes that have died
    value: Any = None
    error: Exception | None = None


class JobEnds(Callback):  # type: ignore[misc]
    """Collects the ends of jobs from Tune's callbacks, and the time that was lost before them.

    It is the record of their supervisor, too: jobs have no budget, and no snapshot to be resumed from.

    Args:
        receive: called with each end, outside Tune's handling of results: what it raises ends the run as it is.
    """

    def __init__(self, receive: Callable[[JobEnd], None]) -> None:
        self._receive = receive
        self._started: dict[int, float] = {}  # by number of the job, on the monotonic clock: those in a process
        self._lost: dict[int, float] = {}
        self._errors: dict[int, Exception] = {}  # the last one of each
        self._ends: list[JobEnd] = []
        self.ended = 0

    budget_spent = stopping = False

    def position(self, trial: str) -> int:
        """Returns 0: no event of a job is recorded but its end."""
        return 0

    def reach_limit(self) -> None:
        """Do nothing: jobs have no budget, so nobody calls it."""

    def add_failure(self, trial: Trial, error: Exception) -> None:
        """Note that a process of the job has ended with `error`; it may start again."""
        number = trial.config[NUMBER]
        since = self._started.pop(number, None)  # None: it was still starting
        self._lost[number] = self._lost.get(number, 0.0) + (0.0 if since is None else clock.monotonic() - since)
        self._errors[number] = _raised(error)

    def hand_over(self) -> None:
        """Pass on the ends that have come.

        Raises:
            Exception: what `receive` raises.
        """
        ends, self._ends = self._ends, []
        for end in ends:
            self.ended += 1
            self._receive(end)

    # Called by Tune.

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Start the clock of a job that has a process now."""
        self._started[trial.config[NUMBER]] = clock.monotonic()

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Take the value of a job out of Tune's result: it may be a whole model, and Tune would keep and save it."""
        number = trial.config[NUMBER]
        self._ends.append(JobEnd(number, self._lost.get(number, 0.0), value=result.pop(VALUE)))

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Take the error of a job that does not start again."""
        number = trial.config[NUMBER]
        self._ends.append(JobEnd(number, self._lost.get(number, 0.0), error=self._errors[number]))


class RetryOnce:
    """The retries of jobs in one run: each starts once more if its process dies, hangs, runs out of memory or has to
    wait too long for its GPU.

    Args:
        title_of: gives the title of the job that is a trial to Tune.
    """

    no_more = "not started again: it has been once"

    def __init__(self, title_of: Callable[[Trial], str]) -> None:
        self._title_of = title_of
        self._again: set[str] = set()

    def allow_restart(self, trial: Trial) -> bool:
        """Counts a hang or a death of `trial`; call it before the failure is recorded.

        Returns:
            True if the job will start again.
        """
        first = trial.trial_id not in self._again
        self._again.add(trial.trial_id)
        trial.max_failures += first  # for good: Tune counts this failure
        return first

    @contextlib.contextmanager
    def applied(self, trial: Trial, error: Exception) -> Iterator[None]:
        """A block in which Tune decides by `trial.max_failures`, raised by one for a first error that may go away."""
        if _may_go_away(error) and self.allow_restart(trial):
            logger.warning("%s: %s; it is started once more", self._title_of(trial), TrialFailure.of(error).line)
        yield


def _may_go_away(error: Exception) -> bool:
    """True if a process has died by itself, or its GPU was not ready. What the supervisor has decided on is neither."""
    if TrialFailure.of(error).device_not_ready:
        return True
    if isinstance(error, RayActorError):
        return not error.preempted and not isinstance(error, NoProgress | NodesLost)
    return isinstance(_raised(error), WorkerDied)


def _raised(error: Exception) -> Exception:
    """The error of the function, with the traceback in its process as a text; one of Ray's stays as it is."""
    if not isinstance(error, RayTaskError) or not isinstance(error.cause, Exception):
        return error
    raised: Exception = error.cause
    raised.__cause__ = error
    return raised


class JobSupervisor(StudySupervisor):
    """The `Supervisor` of jobs that run at the same time.

    Args:
        ends: of the jobs.
        titles: of the jobs, for people, by their numbers.
        heartbeat: that the jobs' processes send; None: they may take any time.
    """

    def __init__(
        self,
        ends: JobEnds,
        titles: Sequence[str],
        heartbeat: Heartbeat | None = None,
    ) -> None:
        super().__init__(ends, lambda loss: None, heartbeat, retries=RetryOnce(self.title_of))
        self._job_ends, self._titles = ends, titles

    def end_step(self, controller: Controller) -> None:
        """Settles what became of processes that have ended, and passes on the ends of jobs.

        Raises:
            StorageError: the disk of the storage is full.
            Exception: what the receiver of an end raises.
        """
        super().end_step(controller)
        self._job_ends.hand_over()

    def retrying(self, trial: Trial, error: Exception) -> contextlib.AbstractContextManager[None]:
        """See `RetryOnce.applied`; the time that the process has taken is noted."""
        self._job_ends.add_failure(trial, error)
        return super().retrying(trial, error)

    def title_of(self, trial: Trial) -> str:
        """The title of the job that is `trial` to Tune."""
        number: int = trial.config[NUMBER]
        return self._titles[number]
