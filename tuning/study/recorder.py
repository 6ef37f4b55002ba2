"""The only writer of a study while it runs: a Tune callback. What Tune tells about trials goes into the study store
before Tune goes on.

A write that fails stops the run. Tune itself logs and swallows what some hooks raise, so a failure is kept and raised
again at the end of Tune's step, where nothing swallows it.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ray.tune import Callback

from trainables.checkpoints.storage import FOLDERS, Storage
from trainables.machine import clock
from trainables.reporting import Report
from tuning.errors import RepeatedFailure
from tuning.outcome import Exploit, NodeLoss, TrialState
from tuning.space import Space
from tuning.spec.store_url import StoreError
from tuning.store.trial_events import LOST
from tuning.study.budget_tracker import HEARTBEAT, BudgetTracker
from tuning.supervision.failure_policy import repeated_failure
from tuning.supervision.failures import describe_failure

NO_REPORT = "ended without a report; a trainable calls trainables.report at least once"

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

    from tuning.store.study_writer import StudyWriter

logger = logging.getLogger(__name__)


class Recorder(Callback):  # type: ignore[misc]
    """Tune's callback for one study. Pickles without its writer (a connection, maybe a password): Tune writes callbacks
    into its snapshots. A resumed run makes a new one.

    Args:
        writer: of the study.
        space: that the study searches; the dashboard draws its axes by it.
        storage: where the checkpoints lie.
        spending: of the study; None: one slot, and no limit.
        alike: how many first trials that fail alike stop the run; None: they never do.
    """

    def __init__(
        self,
        writer: StudyWriter,
        space: Space,
        storage: Storage = FOLDERS,
        spending: BudgetTracker | None = None,
        alike: int | None = None,
    ) -> None:
        self._spending = spending or BudgetTracker()
        self._writer: StudyWriter | None = writer
        self._space, self._storage = space, storage
        self._distributions = space.to_optuna()
        self._exploits: list[tuple[str, Exploit]] = []
        self._failure: Exception | None = None
        self._most_alike = alike
        self._alike: RepeatedFailure | None = None
        self._unsaved: frozenset[str] | None = None  # recorded, and in no snapshot of Tune's; None: not looked yet
        self._trials: Sequence[Trial] = ()  # that Tune knows
        self._beat = 0.0
        self._lines: set[str] = set()  # of what slots have to say: each is logged once
        self._begun = 0  # of Tune's list, from its beginning: trials that the writer knows

    def __getstate__(self) -> dict[str, Any]:
        fresh = Recorder.__new__(Recorder)
        Recorder.__init__(fresh, None, self._space, self._storage)  # type: ignore[arg-type]
        return dict(vars(fresh))

    @property
    def ended(self) -> int:
        """How many of Tune's trials have ended, in this run or before; those lost in an interruption are not Tune's."""
        return len(self._attached().ended_trials() & {trial.trial_id for trial in self._trials})

    @property
    def failure(self) -> Exception | None:
        """What has kept it from writing; None: nothing."""
        return self._failure

    @property
    def budget_spent(self) -> bool:
        """Whether nothing is left of the study's budget at this moment; False without one."""
        self._spending.advance()
        return self._spending.all_spent

    def positions(self) -> dict[str, int]:
        """How many events of each trial are recorded, for the snapshot that Tune takes now."""
        return self._attached().positions()

    @property
    def stopping(self) -> bool:
        """Whether the study's first trials have failed alike, so that the run stops with this step of Tune's."""
        return self._alike is not None

    # What the strategy's scheduler, Tune's controller and the keeper of checkpoints tell.

    def record_exploit(self, trial_id: str, exploit: Exploit) -> None:
        """A PBT member takes over a donor's checkpoint.

        Schedulers decide before callbacks hear of the report that the decision rests on, so it is written after that.
        """
        self._exploits.append((trial_id, exploit))

    def record_loss(self, loss: NodeLoss) -> None:
        """The trial's node is lost; it starts again elsewhere."""
        with self._writing() as writer:
            writer.add_loss(loss)

    def reach_limit(self) -> None:
        """The study's budget is spent, and all its trials are ended now. Told again: nothing changes."""
        if self._spending.reached:
            return
        self._spending.reached = True
        self._write_time()  # a driver that dies now must not leave a study that has time again
        with self._writing() as writer:
            writer.reach_limit()

    def drop_checkpoint(self, trial_id: str, epoch: float) -> None:
        """The folder of that checkpoint was deleted."""
        with self._writing() as writer:
            writer.drop_checkpoint(trial_id, epoch)

    def end_unsaved(self) -> None:
        """The study has ended, and trials that an interruption lost were never proposed again."""
        with self._writing() as writer:
            for trial_id in sorted((self._unsaved or frozenset()) & set(writer.running_trials())):
                writer.end_trial(trial_id, TrialState.FAILED, LOST)

    # What Tune tells.

    def setup(self, *args: Any, **info: Any) -> None:
        """Before the first trial."""
        with self._writing():
            self._spending.start()
            self._write_time()

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Once: what a killed driver had begun after Tune's last snapshot. Tune will propose these trials again."""
        if self._unsaved is None:
            self._unsaved = self._attached().trial_ids() - {trial.trial_id for trial in trials}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial, new or continued, has an actor now."""
        with self._writing() as writer:
            self._begin(writer, trials, trial)
            writer.reopen_failed(trial.trial_id)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """One report, and the exploits that were decided on it."""
        with self._writing() as writer:
            writer.record_provenance(result.get("provenance", {}))  # a custom function tells none
            writer.stopped_for_failures = False
            report = Report.from_result(result)
            self._spending.tell(report)
            self._spending.advance()
            writer.add_report(trial.trial_id, report, self._spending.held)
            for line in result.get("warnings", ()):
                if line not in self._lines:
                    logger.warning("%s: %s", trial.trial_id, line)
                self._lines.add(line)
            self._spending.trained(trial.trial_id, writer.epochs_trained(trial.trial_id))
        self._write_exploits()

    def on_trial_save(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A checkpoint lies on the storage path. (`on_checkpoint` would not do: Tune swallows what it raises, and does
        not tell it which report the checkpoint belongs to.)"""
        saved = trial.run_metadata.checkpoint_manager.latest_checkpoint_result
        if saved is None:
            return
        with self._writing() as writer:
            if self._storage.exists(saved.checkpoint.path):
                path = f"{self._storage.scheme}{saved.checkpoint.path}"
                writer.add_checkpoint(trial.trial_id, float(saved.metrics["epoch"]), path)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial has ended by itself or was stopped: the result itself says whether it had reached its end."""
        with self._writing() as writer:
            self._begin(writer, trials, trial)
            if not writer.reports(trial.trial_id):
                if self._spending.reached:
                    writer.end_trial(trial.trial_id, TrialState.STOPPED)
                    return
                writer.end_trial(trial.trial_id, TrialState.FAILED, NO_REPORT)
                self._look_for_alike(writer)
            elif trial.last_result.get("finished"):
                writer.end_trial(trial.trial_id, TrialState.COMPLETED)
            else:
                writer.end_trial(trial.trial_id, TrialState.STOPPED)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial has failed for good; maybe before it ever started."""
        with self._writing() as writer:
            self._begin(writer, trials, trial)
            writer.end_trial(trial.trial_id, TrialState.FAILED, describe_failure(trial))
            self._look_for_alike(writer)

    def _look_for_alike(self, writer: StudyWriter) -> None:
        if self._most_alike and (one := repeated_failure(writer.trial_states(), self._most_alike)) is not None:
            writer.stopped_for_failures = True
            self._alike = RepeatedFailure(one)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """The end of Tune's step: time, and failures that an earlier hook could not make heard."""
        self._trials = trials
        self._write_exploits()
        if clock.monotonic() - self._beat >= HEARTBEAT:
            self._write_time()
        if self._failure is not None:
            raise self._failure
        if self._alike is not None:
            raise self._alike

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Tune has ended, in whatever way."""
        self._trials = trials
        if self._failure is None:
            self._write_exploits()
            self._write_time(ended=True)
            with self._writing() as writer:
                # At the limit also those that were recorded for a later one's sake, and had no process yet.
                for trial_id in writer.running_trials() if self._spending.reached else ():
                    if trial_id not in (self._unsaved or ()):
                        writer.end_trial(trial_id, TrialState.STOPPED)
                writer.write_checkpoints()

    def get_state(self) -> dict[str, Any]:
        """Part of Tune's snapshot: how far each trial is, so that a resume knows which events come after it.

        What checkpoints there are is written down as often: those of later reports come again after a resume.
        """
        self._write_exploits()
        with self._writing() as writer:
            writer.write_checkpoints()
        return {"positions": self.positions()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Tune was restored from the snapshot that holds `state`."""
        with self._writing() as writer:
            for trial_id, position in state["positions"].items():
                writer.rewind(trial_id, position)

    def _begin(self, writer: StudyWriter, trials: list[Trial], trial: Trial) -> None:
        """In the order of proposal, whoever is first to get a process: ties between scores go to the earlier trial."""
        unsaved = self._unsaved or frozenset()
        if writer.has_trial(trial.trial_id) and trial.trial_id not in unsaved:
            return
        new = itertools.islice(trials, self._begun, None)
        for known in (*itertools.takewhile(lambda other: other is not trial, new), trial):
            writer.begin_trial(known.trial_id, known.config, self._distributions, again=known.trial_id in unsaved)
            unsaved -= {known.trial_id}
            self._begun += 1
        self._unsaved = unsaved

    def _write_exploits(self) -> None:
        exploits, self._exploits = self._exploits, []
        with self._writing() as writer:
            for trial_id, exploit in exploits:
                writer.add_exploit(trial_id, exploit)

    def _write_time(self, *, ended: bool = False) -> None:
        if not self._spending.running:
            return
        self._beat = clock.monotonic()
        self._spending.advance()
        with self._writing() as writer:
            writer.record_usage(self._spending.held, ended=ended)

    def _attached(self) -> StudyWriter:
        if self._writer is None:
            raise StoreError("this recorder was restored from a pickle and knows no study")
        return self._writer

    @contextmanager
    def _writing(self) -> Iterator[StudyWriter]:
        if self._failure is not None:
            raise self._failure  # what followed a lost write would tell half a story
        try:
            yield self._attached()
        except Exception as error:
            self._failure = error
            raise
