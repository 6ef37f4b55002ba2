"""Decides what happens to the trials of a study while it runs: on a cluster whose nodes come and go, within a budget.

In: the hooks of Tune's controller (`tuning.tune_compat.controller`). Out: what it does to the trials, through the same
controller.

- When the budget is spent, every trial ends where it is: what it has not reported is lost, what it has reported is
  there, with its checkpoint, which is waited for. Processes in the middle of an epoch are killed: what they still
  computed would cost, and nobody would read it. Tune's own ways would not do: a `Stopper` ends trials without calling
  callbacks, and loses a checkpoint that is being written; `stop_trial` would pass the searcher a last result, and a
  trial that is cut off has none.
- A trial whose node is lost goes on elsewhere from its newest checkpoint, and that is not its own failure:
  `max_failures` is for what trials do. Ray reports the node only if a cloud takes it back with notice. A process that
  ends without an error is therefore looked into first (`actor_failures`): its node's death may be known only after
  seconds (a power cut) or a minute (a network that swallows everything).
- A trial that fails by itself may start again, as `retry` decides. If its process died on a node that lives, that node
  is queried first: the kernel may have killed the process for want of memory.
- A process without progress is killed (`watchdog`), and its trial starts again.
- Snapshots take a share of the driver's time at most.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from ray.exceptions import RayActorError

from trainables.machine import clock
from tuning.outcome import NodeLoss
from tuning.supervision import watchdog
from tuning.supervision.actor_failures import ActorFailure, Diagnosis
from tuning.supervision.driver_time import DriverTime
from tuning.supervision.full_disk import full_disk_error
from tuning.supervision.retry import Retries, RetryPolicy
from tuning.tune_compat import heartbeats
from tuning.tune_compat.internals import forget_restore
from tuning.tune_compat.processes import actor_alive

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

    from trainables.progress import Heartbeat
    from tuning.tune_compat.controller import Controller

IN_A_ROW = 3  # nodes that a trial may lose without a report in between: it may be what brings them down
SNAPSHOT_SHARE = 0.02  # of the driver's time goes into snapshots at most
SNAPSHOT_BURST = 1.0  # seconds of it that can be saved up: events come in bursts, and each is followed by a snapshot

logger = logging.getLogger(__name__)


class Record(Protocol):
    """Knows what the study has done and cost, and whether it is to go on."""

    @property
    def budget_spent(self) -> bool:
        """True if nothing is left of the budget at this moment."""

    def position(self, trial: str) -> int:
        """Returns the number of recorded events of the trial with that id; 0 without any."""

    def reach_limit(self) -> None:
        """Called before the trials are ended for the budget, and again at each step until all have ended."""

    @property
    def stopping(self) -> bool:
        """True if it will end the run, by an exception, with this step."""


class NodesLost(RayActorError):  # type: ignore[misc]
    """A trial has lost one node after the other, and may be the cause."""


class StudySupervisor:
    """The `Supervisor` of one study, in one run of it.

    Args:
        record: queried at each of Tune's steps: a tenth of a second, or less.
        on_loss: called before a trial whose node is lost starts again.
        heartbeat: that the trials' processes send; None: they may take any time.
        retries: which failed trials start again; None: as `RetryPolicy` says.
    """

    def __init__(
        self,
        record: Record,
        on_loss: Callable[[NodeLoss], None],
        heartbeat: Heartbeat | None = None,
        retries: Retries | None = None,
    ) -> None:
        self._record, self._on_loss = record, on_loss
        # An actor hangs and is killed (`_hung`), or ends by itself. Its end is diagnosed (`_undiagnosed`); then its
        # trial starts again or fails (`_settled`). One that hung on the driver's own node needs no diagnosis.
        self._hung: dict[str, watchdog.HungActor] = {}  # by actor
        self._undiagnosed: list[tuple[Trial, ActorFailure]] = []
        self._settled: set[str] = set()  # actors
        self._losses: Counter[tuple[str, int]] = Counter()  # of nodes, by trial and number of its reports
        self._retries: Retries = RetryPolicy() if retries is None else retries
        self._disk_full_error: Exception | None = None  # a trial could not write to the storage
        self._watch = None if heartbeat is None else watchdog.Watchdog(heartbeat.seconds)
        self._snapshot_time = DriverTime(SNAPSHOT_SHARE, SNAPSHOT_BURST)

    def end_step(self, controller: Controller) -> None:
        """Settles what became of processes that have ended, and ends the study if its budget is spent.

        Raises:
            StorageError: the disk of the storage is full.
        """
        if self._disk_full_error is not None:
            raise self._disk_full_error
        undiagnosed, self._undiagnosed = self._undiagnosed, []
        for trial, failure in undiagnosed:
            if (diagnosis := failure.diagnose()) is None:
                self._undiagnosed.append((trial, failure))
            else:
                self._settle(controller, trial, diagnosis)
        if self._watch is not None and self._watch.due(clock.monotonic()):
            self._kill_hung(controller, self._watch)
        if self._record.budget_spent and not self._ends_by_itself(controller):
            self._end_study(controller)
        if self._record.stopping:
            controller.save_now()  # or a resume would not know which trials have failed

    def record_report(self, actor: str) -> None:
        """Lets the watchdog know that the trial of `actor` has reported."""
        if self._watch is not None:
            self._watch.record_report(actor)

    def retrying(self, trial: Trial, error: Exception) -> contextlib.AbstractContextManager[None]:
        """See `Retries.applied`."""
        return self._retries.applied(trial, error)

    @property
    def may_snapshot(self) -> bool:
        """True if snapshots have not used up their share of the driver's time."""
        return self._snapshot_time.left

    def record_snapshot(self, seconds: float) -> None:
        """Counts the driver's time that a snapshot took."""
        self._snapshot_time.spend(seconds)

    def position(self, trial: str) -> int:
        """Returns the number of recorded events of the trial with that id; 0 without any."""
        return self._record.position(trial)

    def close(self) -> None:
        """Removes what the watchdog has left on the cluster."""
        if self._watch is not None:
            heartbeats.forget_beats(self._watch.seen)

    def title_of(self, trial: Trial) -> str:
        """Returns the name of a trial in log messages."""
        return str(trial.trial_id)

    def handle_failure(self, controller: Controller, trial: Trial, error: Exception) -> None:
        """Decides on a call that has ended with `error`; the end of a process without one is diagnosed first."""
        if isinstance(error, RayActorError) and error.actor_id in self._settled:
            return  # handled before; the trial may be somewhere else by now
        self._disk_full_error = self._disk_full_error or full_disk_error(error, controller.storage_folder)
        if self._disk_full_error is not None:
            return  # the study ends with this step; a trial that is recorded as failed would not go on
        hung = self._hung.get(str(error.actor_id)) if isinstance(error, RayActorError) else None
        if any(other is trial for other, _ in self._undiagnosed):
            return
        if hung is not None and hung.on_driver_node:
            self._settled.add(hung.actor)
            self._restart_hung(controller, trial, hung)
        elif isinstance(error, RayActorError) and not error.actor_init_failed:
            self._undiagnosed.append((trial, ActorFailure(self.title_of(trial), error, killed=hung is not None)))
        elif hung is not None:
            self._restart_hung(controller, trial, hung)
        else:
            controller.fail_trial(trial, error)

    def _kill_hung(self, controller: Controller, watch: watchdog.Watchdog) -> None:
        """Kill processes without progress. Their ends arrive at `handle_failure`."""
        actors = controller.processes()
        beats = heartbeats.beats_of(actors.keys() - self._hung.keys())
        for hung in watch.find_hung(clock.monotonic(), beats):
            if actor_alive(hung.actor):
                newest = list(beats[hung.actor].values())
                self._hung[hung.actor] = hung._replace(on_driver_node=watchdog.all_on_this_node(newest))
                if not watchdog.kill_processes(newest):
                    controller.kill_process(actors[hung.actor])

    def _ends_by_itself(self, controller: Controller) -> bool:
        """True if nothing is to come but the last checkpoints of trials that have ended."""
        return controller.search_ended and all(
            trial.is_finished() or (self._saves(trial) and controller.ends_when_saved(trial))
            for trial in controller.get_trials()
        )

    def _saves(self, trial: Trial) -> bool:
        """True if a checkpoint of the trial is on its way to the storage from a process that has not ended."""
        return bool(trial.is_saving) and all(other is not trial for other, _ in self._undiagnosed)

    def _end_study(self, controller: Controller) -> None:
        self._record.reach_limit()
        controller.end_search()
        for trial in [trial for trial in controller.get_trials() if not trial.is_finished()]:
            if self._saves(trial):
                controller.end_when_saved(trial)
            else:
                controller.end_trial(trial)
        self._undiagnosed.clear()
        controller.kill_stopping()

    def _settle(self, controller: Controller, trial: Trial, diagnosis: Diagnosis) -> None:
        address, lost, error = diagnosis
        self._settled.add(str(error.actor_id))
        result = trial.last_result or {}
        reports = int(result.get("training_iteration", 0))
        self._losses[trial.trial_id, reports] += lost
        if not lost and (hung := self._hung.pop(str(error.actor_id), None)) is not None:
            self._restart_hung(controller, trial, hung)
            return
        if lost and self._losses[trial.trial_id, reports] > IN_A_ROW:
            reason = f"lost {IN_A_ROW + 1} nodes in a row, at last {address}: too large for a node?"
            error = NodesLost(error.actor_id, reason)
            lost = False
        if not lost:
            controller.fail_trial(trial, error)
            return
        epoch = _saved_epoch(trial)
        logger.warning("%s: node %s is lost; it goes on elsewhere, from epoch %g", self.title_of(trial), address, epoch)
        self._on_loss(NodeLoss(trial.trial_id, address, float(result.get("epoch", 0.0)), epoch, clock.time()))
        controller.restart_trial(trial, error)

    def _restart_hung(self, controller: Controller, trial: Trial, hung: watchdog.HungActor) -> None:
        """Count it as the trial's own failure. Tune would count one during a restore apart, and drop the checkpoint."""
        forget_restore(trial)
        again = self._retries.allow_restart(trial)
        outcome = f"restarted from epoch {_saved_epoch(trial):g}" if again else self._retries.no_more
        reason = f"{hung.describe(float((trial.last_result or {}).get('epoch', 0.0)))}; {outcome}"
        logger.warning("%s: %s", self.title_of(trial), reason)
        controller.fail_trial(trial, watchdog.NoProgress(error_msg=reason))


def _saved_epoch(trial: Trial) -> float:
    """The epoch of the trial's newest checkpoint, from which it would go on; 0 without one."""
    saved = trial.latest_checkpoint_result
    return float(saved.metrics["epoch"]) if saved else 0.0
