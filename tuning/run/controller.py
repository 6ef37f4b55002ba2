"""Tune's controller on a cluster whose nodes come and go, for a study that may cost no more than its budget.

A trial whose node is lost goes on elsewhere from its newest checkpoint, and that is not its own failure: `max_failures`
is for what trials do. Ray says so only of nodes that a cloud takes back with notice. A process that ends without an
error is therefore looked into first: its node's death may be known only after seconds (a power cut) or a minute (a
network that swallows everything).

Trials keep their places in Tune's list, by which callbacks know them; a trial that starts again would become the last.
A process that is being started is left to start: Ray gives its trial the process of whichever trial ends meanwhile and
stops the new one, so that with trials shorter than the start of a process a cold node never fills. On several nodes it
is still Ray's way: a process that dies with its node before it was up is not told from one that fails by itself.
The limit of trials at a time follows the cluster, so that nodes which join later are used.

When the budget is spent, every trial ends where it is: what it has not reported is lost, what it has reported is
there, with its checkpoint, which is waited for. Processes in the middle of an epoch are killed: what they still
computed would cost, and nobody would read it. Tune's own ways would not do: a `Stopper` ends trials without telling
callbacks, and loses a checkpoint that is being written; `stop_trial` tells searchers of results that there are not.

Read against ray 2.60: `TuneController` and what `ray_internals` names. `tests/test_nodes.py` drives it.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from ray.exceptions import RayActorError
from ray.tune import tune as tune_module
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from tuning.outcome import NodeLoss
from tuning.run import ray_internals
from tuning.search.population import PopulationScheduler

LOOK = 1.0  # seconds between two looks at what became of a process
UNCLEAR = 120.0  # seconds after which a process that cannot be reached is given up
IN_A_ROW = 3  # nodes that a trial may lose without a report in between: it may be what brings them down
SNAPSHOT_SHARE = 0.1  # of the driver's time goes into snapshots at most
SNAPSHOT_BURST = 1.0  # seconds of it that can be saved up: events come in bursts, and each is followed by a snapshot
FOLLOW = 5.0  # seconds between two looks at how many trials the cluster holds

logger = logging.getLogger(__name__)


class Ended(NamedTuple):
    """A trial whose process has ended, nobody knows why."""

    trial: Trial
    error: RayActorError
    since: float  # on the monotonic clock


class Budgeted(Protocol):
    """Who knows what the study has cost."""

    @property
    def budget_spent(self) -> bool:
        """Whether nothing is left of the budget at this moment."""

    def reach_limit(self) -> None:
        """Told before the trials are ended for it, again and again until the last has ended."""


class Controller(TuneController):  # type: ignore[misc]
    """Made by `tune.run` inside `following`.

    Args:
        budget: asked at each of Tune's steps: a tenth of a second, or less.
        on_loss: told before the trial starts again.
        limit: how many trials may run at a time, asked again and again; it may answer None: Tune keeps no limit. None
            in its place: the limit does not change.
        name_trial: gives the id of the study's trial of that number (0, 1, ...), the same one in every run.
    """

    def __init__(
        self,
        *arguments: Any,
        budget: Budgeted,
        on_loss: Callable[[NodeLoss], None],
        limit: Callable[[], int | None] | None,
        name_trial: Callable[[int], str],
        **options: Any,
    ) -> None:
        self._budget, self._on_loss, self._limit, self._name_trial = budget, on_loss, limit, name_trial
        self._followed = time.monotonic()
        self._ended: list[Ended] = []
        self._losses: Counter[tuple[str, int]] = Counter()  # by trial and number of its reports
        self._settled: set[str] = set()  # actors that have ended, and whose trials know it
        self._snapshot_seconds, self._earned_until = SNAPSHOT_BURST, time.monotonic()  # what snapshots may take now
        super().__init__(*arguments, **options)
        self._fixed_members = isinstance(self._scheduler_alg, PopulationScheduler)  # no trial comes to take a free one

    def __getstate__(self) -> dict[str, Any]:
        """Part of Tune's snapshot: a resumed run has other listeners and other nodes."""
        own = {
            "_budget",
            "_on_loss",
            "_limit",
            "_followed",
            "_ended",
            "_losses",
            "_settled",
            "_name_trial",
            "_snapshot_seconds",
            "_earned_until",
            "_fixed_members",
        }
        return {name: value for name, value in super().__getstate__().items() if name not in own}

    def on_step_begin(self) -> None:
        """Tune's step begins: the limit, if it is time."""
        super().on_step_begin()
        if self._limit is not None and time.monotonic() - self._followed >= FOLLOW:
            self._followed = time.monotonic()
            if (most := self._limit()) is not None:
                ray_internals.limit_trials(self, most)

    def on_step_end(self) -> None:
        """Tune's step has ended: what became of the processes that have, and whether that was the last step."""
        super().on_step_end()
        ended, self._ended = self._ended, []
        for one in ended:
            if time.monotonic() - one.since < LOOK:
                self._ended.append(one)
            else:
                self._look_into(one)
        if self._budget.budget_spent and not self._ends_by_itself():
            self._end_study()

    def _ends_by_itself(self) -> bool:
        """Whether nothing is to come but the last checkpoints of trials that have ended."""
        return bool(self._search_alg.is_finished()) and all(
            trial.is_finished()
            or (self._saves(trial) and self._cached_trial_decisions.get(trial.trial_id) == TrialScheduler.STOP)
            for trial in self._trials
        )

    def _saves(self, trial: Trial) -> bool:
        return bool(trial.is_saving) and all(ended.trial is not trial for ended in self._ended)

    def _end_study(self) -> None:
        self._budget.reach_limit()
        self._search_alg.set_finished()
        self._reuse_actors = False  # of a process that is at work nobody else could make use
        for trial in [trial for trial in self._trials if not trial.is_finished()]:
            if self._saves(trial):
                self._cached_trial_decisions[trial.trial_id] = TrialScheduler.STOP  # Tune's, once it is saved
            else:
                self._end(trial)
        self._ended.clear()
        ray_internals.kill_stopping(self)

    def _end(self, trial: Trial) -> None:
        if trial.run_metadata.start_time is not None:  # one that never had a process is not worth a record
            self._callbacks.on_trial_complete(iteration=self._iteration, trials=self._trials, trial=trial)
        self._schedule_trial_stop(trial)
        self._live_trials.discard(trial)

    def checkpoint(self, force: bool = False, wait: bool = False) -> None:
        """Take a snapshot when a trial has changed, at once: what happens after the last one is computed again when the
        driver is killed. A report whose checkpoint is still to come changes nothing for that. Each snapshot holds every
        trial: those of a large study wait until they have their share of the time again.
        """
        if not force and (all(trial.is_saving for trial in self._trials_to_cache) or not self._affords_snapshot()):
            return
        taken = ray_internals.snapshots_of(self)
        before, started = taken._last_save_time, time.monotonic()
        # On a file system the copy takes milliseconds; an upload goes on beside the trials.
        super().checkpoint(force=force, wait=wait or not self._storage.custom_fs_provided)
        if taken._last_save_time != before:
            self._snapshot_seconds -= time.monotonic() - started

    def _affords_snapshot(self) -> bool:
        now = time.monotonic()
        earned = SNAPSHOT_SHARE * (now - self._earned_until)
        self._snapshot_seconds, self._earned_until = min(SNAPSHOT_BURST, self._snapshot_seconds + earned), now
        return self._snapshot_seconds > 0

    def _update_trial_queue(self, *arguments: Any, **options: Any) -> bool:
        """Trials are named by their place: one that a killed driver had begun after its last snapshot is proposed again
        under the same name, and goes on with the record and in the folder that it has."""
        with ray_internals.next_trial_called(self._name_trial(len(self._trials))):
            return bool(super()._update_trial_queue(*arguments, **options))

    def _process_trial_results(self, trial: Trial, results: Any) -> None:
        super()._process_trial_results(trial, results)
        ray_internals.forget_statistics(trial)

    def _trial_task_failure(self, trial: Trial, exception: Exception) -> None:
        """Tune has got `exception` instead of a result: one for each thing that it had asked of the process."""
        if isinstance(exception, RayActorError) and exception.actor_id in self._settled:
            return  # told before; the trial may be somewhere else by now
        self._resetting_trials.discard(trial)  # Ray does not, and would wait for ever for the reset to end
        if any(known.trial is trial for known in self._ended):
            return
        if isinstance(exception, RayActorError) and not exception.actor_init_failed:
            self._ended.append(Ended(trial, exception, time.monotonic()))
        else:
            super()._trial_task_failure(trial, exception)

    def _look_into(self, ended: Ended) -> None:
        trial, error, since = ended
        address, lost = ray_internals.fate_of(error)
        lost = True if error.preempted else lost
        if lost is None:
            if time.monotonic() - since < UNCLEAR:
                self._ended.append(ended)
                return
            lost = True
        self._settled.add(str(error.actor_id))
        result = trial.last_result or {}
        reports = int(result.get("training_iteration", 0))
        self._losses[trial.trial_id, reports] += lost
        if not lost or self._losses[trial.trial_id, reports] > IN_A_ROW:
            super()._trial_task_failure(trial, error)
            return
        saved = trial.latest_checkpoint_result
        epoch = float(saved.metrics["epoch"]) if saved else 0.0
        logger.warning("%s: node %s is lost; it goes on elsewhere, from epoch %g", trial.trial_id, address, epoch)
        self._on_loss(NodeLoss(trial.trial_id, address, float(result.get("epoch", 0.0)), epoch, time.time()))
        trial.temporary_state.restoring_from = None  # nor does a restore that was cut off count
        error._preempted = True  # so Ray says it of a node that was taken back: not counted
        self._process_trial_failure(trial, exception=error)

    def _maybe_reuse_cached_actor(self, trial: Trial) -> bool:
        """A free process for `trial`. While there are trials to come, one of them takes it if `trial`'s own starts."""
        if not self._fixed_members and not self._search_alg.is_finished() and ray_internals.starts_alone(self, trial):
            return False
        return bool(super()._maybe_reuse_cached_actor(trial))

    def _requeue_trial(self, trial: Trial) -> None:
        place = self._trials.index(trial)
        super()._requeue_trial(trial)
        self._trials.insert(place, self._trials.pop())


@contextlib.contextmanager
def following(
    *,
    budget: Budgeted,
    on_loss: Callable[[NodeLoss], None],
    limit: Callable[[], int | None] | None,
    name_trial: Callable[[int], str],
) -> Iterator[None]:
    """In the block `tune.run` makes a `Controller` of these; it has no option for that."""
    made = tune_module.TuneController
    tune_module.TuneController = functools.partial(
        Controller, budget=budget, on_loss=on_loss, limit=limit, name_trial=name_trial
    )
    try:
        yield
    finally:
        tune_module.TuneController = made
