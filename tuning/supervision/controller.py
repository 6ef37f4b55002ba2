"""Tune's controller on a cluster whose nodes come and go, for a study that may cost no more than its budget.

A trial whose node is lost goes on elsewhere from its newest checkpoint, and that is not its own failure: `max_failures`
is for what trials do. Ray says so only of nodes that a cloud takes back with notice. A process that ends without an
error is therefore looked into first (`run.ended_process`): its node's death may be known only after seconds (a power
cut) or a minute (a network that swallows everything).

Trials keep their places in Tune's list, by which callbacks know them; a trial that starts again would become the last.
A process that is being started is left to start: Ray gives its trial the process of whichever trial ends meanwhile and
stops the new one, so that with trials shorter than the start of a process a cold node never fills. On several nodes it
is still Ray's way: a process that dies with its node before it was up is not told from one that fails by itself.
The limit of trials at a time follows the cluster, so that nodes which join later are used.

A trial that fails by itself may start again, as `retries` decides. One whose process died on a node that lives is asked
after there: the kernel may have killed it for want of memory.

When the budget is spent, every trial ends where it is: what it has not reported is lost, what it has reported is
there, with its checkpoint, which is waited for. Processes in the middle of an epoch are killed: what they still
computed would cost, and nobody would read it. Tune's own ways would not do: a `Stopper` ends trials without telling
callbacks, and loses a checkpoint that is being written; `stop_trial` tells searchers of results that there are not.

What Tune saves is sealed (`run.snapshots`). If it cannot go on from what it is given, the run ends: Tune would begin
anew.

Read against ray 2.60: `TuneController` and what `ray_internals` names. The tests of `supervision` drive it.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from ray.exceptions import RayActorError
from ray.tune import tune as tune_module
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.tune_config import ResumeConfig

from trainables.machine import clock
from trainables.progress import Heartbeat
from tuning.errors import RunFolderError
from tuning.outcome import NodeLoss
from tuning.supervision import watchdog
from tuning.supervision.actor_failures import EndedProcess, Fate
from tuning.supervision.full_disk import full_disk
from tuning.supervision.retry import Retries
from tuning.tune_compat import internals
from tuning.tune_compat.snapshots import Snapshots, forget_restored
from tuning.tune_compat.time_budget import TimeBudget

IN_A_ROW = 3  # nodes that a trial may lose without a report in between: it may be what brings them down
SNAPSHOT_SHARE = 0.1  # of the driver's time goes into snapshots at most
SNAPSHOT_BURST = 1.0  # seconds of it that can be saved up: events come in bursts, and each is followed by a snapshot
FOLLOW = 5.0  # seconds between two looks at how many trials the cluster holds

logger = logging.getLogger(__name__)


class Record(Protocol):
    """Who knows what the study has done and cost, and whether it is to go on."""

    @property
    def budget_spent(self) -> bool:
        """Whether nothing is left of the budget at this moment."""

    def positions(self) -> Mapping[str, int]:
        """How many events of each trial are recorded."""

    def reach_limit(self) -> None:
        """Told before the trials are ended for it, again and again until the last has ended."""

    @property
    def stopping(self) -> bool:
        """Whether it will end the run, by an exception, with this step."""


class Controller(TuneController):  # type: ignore[misc]
    """Made by `tune.run` inside `use_controller`.

    Args:
        record: asked at each of Tune's steps: a tenth of a second, or less.
        on_loss: told before the trial starts again.
        limit: how many trials may run at a time, asked again and again; None: the limit that Tune keeps, if it keeps
            one, does not change.
        snapshots: seal what Tune saves.
        name_trial: gives the id of the study's trial of that number (0, 1, ...), the same one in every run.
        heartbeat: that the trials' processes have; None: they may take any time.
        fixed_members: all trials are there from the start, so none comes to take a process that is free.

    Raises:
        RunFolderError: Tune cannot go on from the snapshot.
    """

    def __init__(
        self,
        *arguments: Any,
        record: Record,
        on_loss: Callable[[NodeLoss], None],
        limit: Callable[[], int | None],
        snapshots: Snapshots,
        name_trial: Callable[[int], str],
        heartbeat: Heartbeat | None = None,
        fixed_members: bool = False,
        **options: Any,
    ) -> None:
        self._record, self._on_loss, self._limit = record, on_loss, limit
        self._snapshots, self._name_trial = snapshots, name_trial
        self._fixed_members = fixed_members
        self._unresumed: Exception | None = None
        self._followed = clock.monotonic()
        self._ended: list[tuple[Trial, EndedProcess]] = []
        self._losses: Counter[tuple[str, int]] = Counter()  # by trial and number of its reports
        self._settled: set[str] = set()  # actors that have ended, and whose trials know it
        self._retries = Retries()
        self._full: Exception | None = None  # a trial could not write to the storage
        self._watch = None if heartbeat is None else watchdog.Watch(heartbeat.seconds)
        self._hung: dict[str, watchdog.Hung] = {}  # by actor: killed for it
        self._snapshot_time = TimeBudget(SNAPSHOT_SHARE, SNAPSHOT_BURST)
        self._own = {*vars(self), "_own"}
        super().__init__(*arguments, **options)
        if self._unresumed is not None:
            raise RunFolderError(
                f"the snapshot in {self.experiment_path} is whole, but Tune cannot go on from it: {self._unresumed}. "
                "Was it made with another version of Ray, or other code?"
            ) from self._unresumed
        internals.hand_on_as_actor_errors(self)

    def __getstate__(self) -> dict[str, Any]:
        """Part of Tune's snapshot: a resumed run has other listeners and other nodes."""
        return {name: value for name, value in super().__getstate__().items() if name not in self._own}

    def on_step_begin(self) -> None:
        """Tune's step begins: the limit, if it is time."""
        super().on_step_begin()
        if clock.monotonic() - self._followed >= FOLLOW:
            self._followed = clock.monotonic()
            if (most := self._limit()) is not None:
                internals.limit_trials(self, most)

    def on_step_end(self) -> None:
        """Tune's step has ended: what became of the processes that have, and whether that was the last step.

        Raises:
            StorageError: the disk of the storage is full.
        """
        super().on_step_end()
        if self._full is not None:
            raise self._full
        ended, self._ended = self._ended, []
        for trial, one in ended:
            if (fate := one.fate()) is None:
                self._ended.append((trial, one))
            else:
                self._settle(trial, fate)
        if self._watch is not None and self._watch.due(clock.monotonic()):
            self._kill_hung(self._watch)
        if self._record.budget_spent and not self._ends_by_itself():
            self._end_study()
        if self._record.stopping:
            self.checkpoint(force=True, wait=True)  # or a resume would not know which trials have failed

    def _kill_hung(self, watch: watchdog.Watch) -> None:
        """Processes without progress. What Tune is told of their ends comes back to `_settle`."""
        actors = internals.actors_of(self)
        beats = internals.beats_of(actors.keys() - self._hung.keys())
        for one in watch.look(clock.monotonic(), beats):
            if internals.actor_alive(one.actor):
                told = list(beats[one.actor].values())
                self._hung[one.actor] = one._replace(here=watchdog.all_here(told))
                if not watchdog.kill(told):
                    internals.kill_actor(self, actors[one.actor])

    def _ends_by_itself(self) -> bool:
        """Whether nothing is to come but the last checkpoints of trials that have ended."""
        return bool(self._search_alg.is_finished()) and all(
            trial.is_finished()
            or (self._saves(trial) and self._cached_trial_decisions.get(trial.trial_id) == TrialScheduler.STOP)
            for trial in self._trials
        )

    def _saves(self, trial: Trial) -> bool:
        return bool(trial.is_saving) and all(ended is not trial for ended, _ in self._ended)

    def _end_study(self) -> None:
        self._record.reach_limit()
        self._search_alg.set_finished()
        self._reuse_actors = False  # of a process that is at work nobody else could make use
        for trial in [trial for trial in self._trials if not trial.is_finished()]:
            if self._saves(trial):
                self._cached_trial_decisions[trial.trial_id] = TrialScheduler.STOP  # Tune's, once it is saved
            else:
                self._end(trial)
        self._ended.clear()
        internals.kill_stopping(self)

    def _end(self, trial: Trial) -> None:
        if trial.run_metadata.start_time is not None:  # one that never had a process is not worth a record
            self._callbacks.on_trial_complete(iteration=self._iteration, trials=self._trials, trial=trial)
        self._schedule_trial_stop(trial)
        self._live_trials.discard(trial)

    def resume(self, resume_config: Any) -> None:
        """Called by Tune, which logs what is raised here and would begin anew."""
        try:
            super().resume(resume_config=resume_config)
        except Exception as error:
            self._unresumed = error
            raise
        forget_restored(self._staged)

    def save_to_dir(self) -> None:
        """Called by Tune for each snapshot.

        Raises:
            StorageError: the one before cannot be written.
        """
        self._snapshots.settle()
        super().save_to_dir()
        # Of the trials in it: those which a resume has still to propose again begin anew, maybe with other values.
        saved = {trial.trial_id for trial in self._trials}
        positions = {trial: number for trial, number in self._record.positions().items() if trial in saved}
        self._snapshots.seal(self._staged, self._session_str, positions)

    @property
    def _staged(self) -> Path:
        return Path(self._storage.experiment_driver_staging_path)

    def cleanup(self) -> None:
        """The study has ended, or the driver does."""
        super().cleanup()
        if self._watch is not None:
            internals.forget_beats(self._watch.seen)

    def checkpoint(self, force: bool = False, wait: bool = False) -> None:
        """Take a snapshot when a trial has changed, at once: what happens after the last one is computed again when the
        driver is killed. A report whose checkpoint is still to come changes nothing for that. Each snapshot holds every
        trial: those of a large study wait until they have their share of the time again.
        """
        if not force and (all(trial.is_saving for trial in self._trials_to_cache) or not self._snapshot_time.left):
            return
        taken = internals.snapshots_of(self)
        before, started = taken._last_save_time, clock.monotonic()
        wait = wait or not self._storage.custom_fs_provided  # of milliseconds; an upload goes on beside the trials
        super().checkpoint(force=force, wait=wait)
        if wait:
            self._snapshots.settle()
        if taken._last_save_time != before:
            self._snapshot_time.spend(clock.monotonic() - started)

    def _update_trial_queue(self, *arguments: Any, **options: Any) -> bool:
        """Trials are named by their place: one that a killed driver had begun after its last snapshot is proposed again
        under the same name, and goes on with the record and in the folder that it has."""
        with internals.next_trial_called(self._name_trial(len(self._trials))):
            return bool(super()._update_trial_queue(*arguments, **options))

    def _process_trial_results(self, trial: Trial, results: Any) -> None:
        if self._watch is not None and (actor := internals.actor_of(trial)) is not None:
            self._watch.reported(actor)
        super()._process_trial_results(trial, results)
        internals.forget_statistics(trial)

    def _trial_task_failure(self, trial: Trial, exception: Exception) -> None:
        """Tune has got `exception` instead of a result: one for each thing that it had asked of the process."""
        if isinstance(exception, RayActorError) and exception.actor_id in self._settled:
            return  # told before; the trial may be somewhere else by now
        self._full = self._full or full_disk(exception, str(self._storage.experiment_fs_path))
        if self._full is not None:
            return  # the study ends with this step; a trial that is recorded as failed would not go on
        one = self._hung.get(str(exception.actor_id)) if isinstance(exception, RayActorError) else None
        self._resetting_trials.discard(trial)  # Ray does not, and would wait for ever for the reset to end
        if any(ended is trial for ended, _ in self._ended):
            return
        if one is not None and one.here:
            self._settled.add(one.actor)
            self._restart_hung(trial, one)
        elif isinstance(exception, RayActorError) and not exception.actor_init_failed:
            self._ended.append((trial, EndedProcess(trial.trial_id, exception, killed=one is not None)))
        elif one is not None:
            self._restart_hung(trial, one)
        else:
            super()._trial_task_failure(trial, exception)

    def _process_trial_failure(self, trial: Trial, exception: Exception) -> None:
        with self._retries.deciding(trial, exception):
            super()._process_trial_failure(trial, exception)

    def _requeue_restored_trials(self, trials: list[Trial], resume_config: ResumeConfig) -> None:
        failed = [trial for trial in trials if trial.status == Trial.ERROR]
        super()._requeue_restored_trials(trials, resume_config)
        if resume_config.errored == ResumeConfig.ResumeType.RESUME:
            internals.take_up_again(self, failed)
        places = {self._name_trial(number): number for number in range(len(self._trials))}
        self._trials.sort(key=lambda trial: places[trial.trial_id])  # Ray has put the last one to report first

    def _settle(self, trial: Trial, fate: Fate) -> None:
        address, lost, error = fate
        self._settled.add(str(error.actor_id))
        result = trial.last_result or {}
        reports = int(result.get("training_iteration", 0))
        self._losses[trial.trial_id, reports] += lost
        if not lost and (one := self._hung.pop(str(error.actor_id), None)) is not None:
            self._restart_hung(trial, one)
            return
        if lost and self._losses[trial.trial_id, reports] > IN_A_ROW:
            told = f"lost {IN_A_ROW + 1} nodes in a row, at last {address}: too large for a node?"
            error = RayActorError(error.actor_id, told)
            lost = False
        if not lost:
            super()._trial_task_failure(trial, error)
            return
        saved = trial.latest_checkpoint_result
        epoch = float(saved.metrics["epoch"]) if saved else 0.0
        logger.warning("%s: node %s is lost; it goes on elsewhere, from epoch %g", trial.trial_id, address, epoch)
        self._on_loss(NodeLoss(trial.trial_id, address, float(result.get("epoch", 0.0)), epoch, clock.time()))
        trial.temporary_state.restoring_from = None  # nor does a restore that was cut off count
        error._preempted = True  # so Ray says it of a node that was taken back: not counted
        self._process_trial_failure(trial, exception=error)

    def _restart_hung(self, trial: Trial, one: watchdog.Hung) -> None:
        """Its own failure, also while it was being restored: the checkpoint is not to blame."""
        trial.temporary_state.restoring_from = None
        saved = trial.latest_checkpoint_result
        epoch = float(saved.metrics["epoch"]) if saved else 0.0
        again = self._retries.hung(trial)
        outcome = (
            f"restarted from epoch {epoch:g}" if again else "not restarted again: raise max_failures to allow that"
        )
        told = f"{one.describe(float((trial.last_result or {}).get('epoch', 0.0)))}; {outcome}"
        logger.warning("%s: %s", trial.trial_id, told)
        super()._trial_task_failure(trial, watchdog.NoProgress(error_msg=told))

    def _maybe_reuse_cached_actor(self, trial: Trial) -> bool:
        """A free process for `trial`. While there are trials to come, one of them takes it if `trial`'s own starts."""
        if not self._fixed_members and not self._search_alg.is_finished() and internals.starts_alone(self, trial):
            return False
        return bool(super()._maybe_reuse_cached_actor(trial))

    def _requeue_trial(self, trial: Trial) -> None:
        place = self._trials.index(trial)
        super()._requeue_trial(trial)
        self._trials.insert(place, self._trials.pop())


@contextlib.contextmanager
def use_controller(
    *,
    record: Record,
    on_loss: Callable[[NodeLoss], None],
    limit: Callable[[], int | None],
    snapshots: Snapshots,
    name_trial: Callable[[int], str],
    heartbeat: Heartbeat | None = None,
    fixed_members: bool = False,
) -> Iterator[None]:
    """In the block `tune.run` makes a `Controller` of these; it has no option for that."""
    made = tune_module.TuneController
    tune_module.TuneController = functools.partial(
        Controller,
        record=record,
        on_loss=on_loss,
        limit=limit,
        snapshots=snapshots,
        name_trial=name_trial,
        heartbeat=heartbeat,
        fixed_members=fixed_members,
    )
    try:
        yield
    finally:
        tune_module.TuneController = made
