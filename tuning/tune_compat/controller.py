"""Tune's controller with hooks: it calls a `Supervisor` at the points where a study's trials can be decided on.

`tuning.supervision` decides; this module makes Tune carry it out. It also fixes behaviour of Tune that every study
relies on, whichever supervisor is used:

- Trials keep their index in Tune's list: callbacks identify them by it, and Tune would move a restarted trial to the
  end.
- Processes are those of a `SlotPool`, which several controllers share, instead of Tune's own cache of them. One of
  Tune's steps is two calls here, with the wait for an event between them, which all controllers share.

What Tune saves, and goes on from, is in `tuning.tune_compat.saving_controller`.

Read against ray 2.60. The tests of `tests/tuning/tune_compat` and `tests/tuning/supervision` drive it.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any, Protocol

from ray.exceptions import RayActorError
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from cluster.storage import StorageError
from tuning.tune_compat import internals
from tuning.tune_compat.saving_controller import SavingController, SnapshotPolicy
from tuning.tune_compat.study_actors import StudyActors

logger = logging.getLogger(__name__)


class Supervisor(SnapshotPolicy, Protocol):
    """Decides what becomes of a study's trials; see `tuning.supervision.supervisor`."""

    def end_step(self, controller: Controller) -> None:
        """Called after each of Tune's steps: a tenth of a second, or less, from one to the next. What it raises ends
        the study."""

    def record_report(self, actor: str) -> None:
        """Called when the trial of an actor has reported, before Tune handles the result."""

    def handle_failure(self, controller: Controller, trial: Trial, error: Exception) -> None:
        """Called instead of Tune's own handling when a call to a trial's process has ended with `error`.

        It may come several times per dead process: once per outstanding call. The trial stays as it is until one of
        `fail_trial`, `restart_trial` and `end_trial` is called, now or in a later step.
        """

    def retrying(self, trial: Trial, error: Exception) -> contextlib.AbstractContextManager[None]:
        """A block in which Tune decides by `trial.max_failures` whether the failed trial starts again."""

    def close(self) -> None:
        """Called when the study has ended, or the driver does."""


class Room(Protocol):
    """The slots into which a study may start trials now."""

    @property
    def left(self) -> int:
        """The number of processes that the study may ask for; more if one of its own trials is paused meanwhile."""

    def take(self) -> bool:
        """Called before a process is asked for; False if there is no slot for it after all."""


class Controller(SavingController):
    """The controller of one study; `tuning.tune_compat.tune_run` makes it.

    Args:
        supervisor: of the study.
        actors: the study's part of the processes.
        fixed_members: True: all trials exist from the start (a population), and each may be paused and go on.
        options: of `SavingController` and of Tune.

    Raises:
        RunFolderError: Tune cannot go on from the snapshot.
    """

    def __init__(
        self,
        *arguments: Any,
        supervisor: Supervisor,
        actors: StudyActors,
        fixed_members: bool = False,
        **options: Any,
    ) -> None:
        self._supervisor, self._fixed_members = supervisor, fixed_members
        self._room: Room | None = None
        self._asked = 0  # processes that it has asked for
        self._held_back: list[Trial] = []  # for which there was no room
        self._unfit: set[Any] = set()  # processes that failed, or are stopped in the middle of a call
        super().__init__(
            *arguments, policy=supervisor, **options, reuse_actors=False, resource_manager_factory=lambda: None
        )
        self._actor_manager = actors

    # What a supervisor may read and do.

    @property
    def search_ended(self) -> bool:
        """True if no further trial is to come."""
        return bool(self._search_alg.is_finished())

    @property
    def storage_folder(self) -> str:
        """The study's folder on the storage, without the scheme of a bucket."""
        return str(self._storage.experiment_fs_path)

    @property
    def may_start_more(self) -> bool:
        """True if a trial may still ask for a process, new, paused or waiting."""
        if not self.search_ended or self._pending_trials or self._paused_trials:
            return True
        return self._fixed_members and bool(self._running_trials)

    @property
    def slots_held(self) -> int:
        """The number of slots that the trials' processes hold, also those that start or are stopping."""
        return int(self._actor_manager.num_live_actors)

    @property
    def slots_awaited(self) -> int:
        """The number of trials that wait for a process."""
        return int(self._actor_manager.num_pending_actors)

    def processes(self) -> dict[str, Trial]:
        """The trials that have a process, by Ray's id of its actor; also those whose process is still starting."""
        return internals.actors_of(self)

    def warn_of_waiting(self) -> None:
        """Log now and then that trials wait and none runs."""
        self._insufficient_resources_manager.on_no_available_trials(self._trials)

    def kill_process(self, trial: Trial) -> None:
        """Kill the trial's process through Ray; its end arrives at `Supervisor.handle_failure`."""
        internals.kill_actor(self, trial)

    def fail_trial(self, trial: Trial, error: Exception) -> None:
        """Let Tune handle a failure of the trial: it starts again or fails for good, see `Supervisor.retrying`."""
        super()._trial_task_failure(trial, error)

    def restart_trial(self, trial: Trial, error: RayActorError) -> None:
        """Start the trial again from its newest checkpoint without counting `error` as its failure."""
        internals.forget_restore(trial)
        error._preempted = True  # as Ray marks an error when a cloud takes a node back with notice
        self._process_trial_failure(trial, exception=error)

    def end_search(self) -> None:
        """Propose no further trial."""
        self._search_alg.set_finished()

    def end_when_saved(self, trial: Trial) -> None:
        """Let Tune stop a trial once the checkpoint that it is writing is on the storage."""
        self._cached_trial_decisions[trial.trial_id] = TrialScheduler.STOP

    def ends_when_saved(self, trial: Trial) -> bool:
        """True if Tune stops the trial once its checkpoint is on the storage."""
        return bool(self._cached_trial_decisions.get(trial.trial_id) == TrialScheduler.STOP)

    def end_trial(self, trial: Trial) -> None:
        """End a trial where it is: callbacks are called, searchers are not, as there is no result to learn from."""
        if trial.run_metadata.start_time is not None:  # one that never had a process is not worth a record
            self._callbacks.on_trial_complete(iteration=self._iteration, trials=self._trials, trial=trial)
        self._schedule_trial_stop(trial)
        self._live_trials.discard(trial)

    def kill_stopping(self) -> None:
        """Kill the processes whose end Tune waits for: they would first compute to the next report."""
        internals.kill_stopping(self)

    # What the rounds call: Tune's own `step`, with its wait for an event left out (`tuning.supervision.rounds`).

    def begin_step(self) -> None:
        """Called before trials may start."""
        self.on_step_begin()
        self._callbacks.on_step_begin(iteration=self._iteration, trials=self._trials)

    def start_trials(self, room: Room) -> None:
        """Propose trials and ask for their processes."""
        self._room = room
        before = None
        while before != (before := (self._asked, room.left)):  # a population pauses one member, then starts another
            waiting = sum(trial in self._trial_to_actor for trial in self._pending_trials)
            self._max_pending_trials = waiting + max(0, room.left)  # trials that have no process yet go before new ones
            self._maybe_update_trial_queue()
            self._maybe_add_actors()

    def end_step(self) -> None:
        """Called after an event.

        Raises:
            Exception: what ends the study.
        """
        self._stop_experiment_if_needed()
        self._iteration += 1
        self.on_step_end()
        self._callbacks.on_step_end(iteration=self._iteration, trials=self._trials)

    def end(self) -> None:
        """Take a last snapshot, and stop what is left of the trials' processes."""
        try:
            self.save_now()
        except StorageError as error:
            logger.error("the last snapshot is missing: %s", error)
        self.cleanup()

    # What Tune calls.

    def on_step_end(self) -> None:
        """Called by Tune after each step."""
        super().on_step_end()
        self._supervisor.end_step(self)

    def cleanup(self) -> None:
        """Called by Tune when the study has ended, or the driver does."""
        super().cleanup()
        self._supervisor.close()

    def _process_trial_results(self, trial: Trial, results: Any) -> None:
        if (actor := internals.actor_of(trial)) is not None:
            self._supervisor.record_report(actor)
        super()._process_trial_results(trial, results)
        internals.forget_past(trial)

    def _trial_task_failure(self, trial: Trial, exception: Exception) -> None:
        self._supervisor.handle_failure(self, trial, exception)

    def _process_trial_failure(self, trial: Trial, exception: Exception) -> None:
        with self._supervisor.retrying(trial, exception):
            super()._process_trial_failure(trial, exception)

    def _maybe_add_actors(self) -> None:
        super()._maybe_add_actors()
        self._pending_trials_list += self._held_back
        self._held_back.clear()

    def _schedule_trial_actor(self, trial: Trial) -> None:
        """Ask for a process for a trial, if there is room for one."""
        if self._room is not None and self._room.take():
            self._asked += 1
            super()._schedule_trial_actor(trial)
        else:
            self._unstage_trial_with_resources(trial)
            self._held_back.append(trial)

    def _schedule_trial_stop(self, trial: Trial, exception: Exception | None = None) -> None:
        """Take a trial from its process, which stays for others if it has not failed, and is not in a call."""
        actor = self._trial_to_actor.get(trial)
        if actor is not None and (exception is not None or self._actor_manager.computes(actor)):
            self._unfit.add(actor)
        super()._schedule_trial_stop(trial, exception=exception)

    def _remove_actor(self, tracked_actor: Any) -> None:
        fit = tracked_actor in self._started_actors and tracked_actor not in self._unfit
        if fit and self._actor_manager.give_back(tracked_actor):
            self._started_actors.discard(tracked_actor)
        else:
            super()._remove_actor(tracked_actor)

    def _requeue_trial(self, trial: Trial) -> None:
        place = self._trials.index(trial)
        super()._requeue_trial(trial)
        self._trials.insert(place, self._trials.pop())
