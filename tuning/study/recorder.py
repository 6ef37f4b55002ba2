"""The only writer of a running study: a Tune callback that puts each event into the store before Tune goes on.

In: what Tune, its controller, the scheduler and the keeper of checkpoints report of trials. Out: records. A write that
fails stops the run. Tune logs and swallows what some hooks raise, so a failure is kept and raised again at the end of
Tune's step, where nothing swallows it.
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
    """Records one study.

    It pickles without its writer (a connection, maybe a password), since Tune writes callbacks into its snapshots. A
    resumed run makes a new one.

    Args:
        writer: of the study.
        space: that the study searches; the dashboard draws its axes by it.
        storage: where the checkpoints lie.
        budget: of the study; None: one slot, and no limit.
        alike: how many first trials that fail alike stop the run; None: they never do.
        unsaved: ids of trials that are recorded, and in no snapshot of Tune's: the strategy will propose them again.
    """

    def __init__(
        self,
        writer: StudyWriter,
        space: Space,
        storage: Storage = FOLDERS,
        budget: BudgetTracker | None = None,
        alike: int | None = None,
        unsaved: frozenset[str] = frozenset(),
    ) -> None:
        self._budget = budget or BudgetTracker()
        self._writer: StudyWriter | None = writer
        self._space, self._storage = space, storage
        self._distributions = space.to_optuna()
        self._exploits: list[tuple[str, Exploit]] = []
        self._failure: Exception | None = None
        self._most_alike = alike
        self._repeated: RepeatedFailure | None = None
        self._unsaved = unsaved  # those of them that have not begun again
        self._trials: Sequence[Trial] = ()  # that Tune knows
        self._beat = 0.0
        self._lines: set[str] = set()  # warnings of slots: each is logged once
        self._begun = 0  # how many trials at the beginning of Tune's list the writer knows

    def __getstate__(self) -> dict[str, Any]:
        fresh = Recorder.__new__(Recorder)
        Recorder.__init__(fresh, None, self._space, self._storage)  # type: ignore[arg-type]
        return dict(vars(fresh))

    @property
    def ended(self) -> int:
        """The number of Tune's trials that have ended, in any run; those lost in an interruption are not among them."""
        return len(self._attached().ended_trials() & {trial.trial_id for trial in self._trials})

    @property
    def failure(self) -> Exception | None:
        """The error that has kept it from writing; None: there is none."""
        return self._failure

    @property
    def budget_spent(self) -> bool:
        """True if nothing is left of the study's budget at this moment."""
        self._budget.advance()
        return self._budget.all_spent

    def position(self, trial: str) -> int:
        """The number of recorded events of the trial with that id, for the snapshot that Tune takes now."""
        return self._attached().position(trial)

    @property
    def stopping(self) -> bool:
        """True if the study's first trials have failed alike: the run stops with this step of Tune's."""
        return self._repeated is not None

    # Called by the strategy's scheduler, Tune's controller and the keeper of checkpoints.

    def record_exploit(self, trial_id: str, exploit: Exploit) -> None:
        """Note that a PBT member takes over a donor's checkpoint.

        Schedulers decide before callbacks receive the report behind the decision, so it is written after that report.
        """
        self._exploits.append((trial_id, exploit))

    def record_loss(self, loss: NodeLoss) -> None:
        """Record that a trial has lost its node and starts again elsewhere."""
        with self._writing() as writer:
            writer.add_loss(loss)

    def reach_limit(self) -> None:
        """Record that the budget is spent, before the controller ends all trials. A second call changes nothing."""
        if self._budget.reached:
            return
        self._budget.reached = True
        self._write_time()  # a driver that dies now must not leave a study that has time again
        with self._writing() as writer:
            writer.reach_limit()

    def drop_checkpoint(self, trial_id: str, epoch: float) -> None:
        """Record that the folder of a checkpoint was deleted."""
        with self._writing() as writer:
            writer.drop_checkpoint(trial_id, epoch)

    def end_unsaved(self) -> None:
        """Record as failed the trials that an interruption lost and the strategy never proposed again."""
        with self._writing() as writer:
            for trial_id in sorted(self._unsaved & set(writer.running_trials())):
                writer.end_trial(trial_id, TrialState.FAILED, LOST)

    # Called by Tune.

    def setup(self, *args: Any, **info: Any) -> None:
        """Start the clock, before the first trial."""
        with self._writing():
            self._budget.start()
            self._write_time()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Record a trial, new or continued, that has an actor now."""
        with self._writing() as writer:
            self._begin(writer, trials, trial)
            writer.reopen_failed(trial.trial_id)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Record one report, and the exploits that were decided on it."""
        with self._writing() as writer:
            writer.record_provenance(result.get("provenance", {}))  # a custom function has none
            writer.stopped_for_failures = False
            report = Report.from_result(result)
            self._budget.add_report(report)
            self._budget.advance()
            writer.add_report(trial.trial_id, report, self._budget.held)
            for line in result.get("warnings", ()):
                if line not in self._lines:
                    logger.warning("%s: %s", trial.trial_id, line)
                self._lines.add(line)
            self._budget.set_epochs(trial.trial_id, writer.epochs_trained(trial.trial_id))
        self._write_exploits()

    def on_trial_save(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Record a checkpoint that lies on the storage path.

        `on_checkpoint` would not do: Tune swallows what it raises, and does not pass the report of the checkpoint.
        """
        saved = trial.run_metadata.checkpoint_manager.latest_checkpoint_result
        if saved is None:
            return
        with self._writing() as writer:
            if self._storage.exists(saved.checkpoint.path):
                path = f"{self._storage.scheme}{saved.checkpoint.path}"
                writer.add_checkpoint(trial.trial_id, float(saved.metrics["epoch"]), path)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Record the end of a trial; by its last result it was stopped, or had reached its own end."""
        with self._writing() as writer:
            self._begin(writer, trials, trial)
            if not writer.reports(trial.trial_id):
                if self._budget.reached:
                    writer.end_trial(trial.trial_id, TrialState.STOPPED)
                    return
                writer.end_trial(trial.trial_id, TrialState.FAILED, NO_REPORT)
                self._check_for_repeated_failure(writer)
            elif trial.last_result.get("finished"):
                writer.end_trial(trial.trial_id, TrialState.COMPLETED)
            else:
                writer.end_trial(trial.trial_id, TrialState.STOPPED)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Record that a trial has failed for good, maybe before it ever started."""
        with self._writing() as writer:
            self._begin(writer, trials, trial)
            writer.end_trial(trial.trial_id, TrialState.FAILED, describe_failure(trial))
            self._check_for_repeated_failure(writer)

    def _check_for_repeated_failure(self, writer: StudyWriter) -> None:
        if self._most_alike and (one := repeated_failure(writer.trial_states(), self._most_alike)) is not None:
            writer.stopped_for_failures = True
            self._repeated = RepeatedFailure(one)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Record the time, and raise the failures that an earlier hook could not."""
        self._trials = trials
        self._write_exploits()
        if clock.monotonic() - self._beat >= HEARTBEAT:
            self._write_time()
        if self._failure is not None:
            raise self._failure
        if self._repeated is not None:
            raise self._repeated

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Record that Tune has ended, in whatever way."""
        self._trials = trials
        if self._failure is None:
            self._write_exploits()
            self._write_time(ended=True)
            with self._writing() as writer:
                # At the limit also those that were recorded for a later one's sake, and had no process yet.
                for trial_id in writer.running_trials() if self._budget.reached else ():
                    if trial_id not in self._unsaved:
                        writer.end_trial(trial_id, TrialState.STOPPED)
                writer.write_checkpoints()

    def get_state(self) -> None:
        """Write down which checkpoints there are: Tune takes a snapshot now.

        Those of later reports come again after a resume. The sealed snapshot holds how far each trial is (`position`).
        """
        self._write_exploits()
        with self._writing() as writer:
            writer.write_checkpoints()

    def _begin(self, writer: StudyWriter, trials: list[Trial], trial: Trial) -> None:
        """Record trials in the order of proposal, not of their starts: ties of scores go to the earlier trial."""
        if writer.has_trial(trial.trial_id) and trial.trial_id not in self._unsaved:
            return
        new = itertools.islice(trials, self._begun, None)
        for known in (*itertools.takewhile(lambda other: other is not trial, new), trial):
            again = known.trial_id in self._unsaved
            writer.begin_trial(known.trial_id, known.config, self._distributions, again=again)
            self._unsaved -= {known.trial_id}
            self._begun += 1

    def _write_exploits(self) -> None:
        exploits, self._exploits = self._exploits, []
        with self._writing() as writer:
            for trial_id, exploit in exploits:
                writer.add_exploit(trial_id, exploit)

    def _write_time(self, *, ended: bool = False) -> None:
        if not self._budget.running:
            return
        self._beat = clock.monotonic()
        self._budget.advance()
        with self._writing() as writer:
            writer.record_usage(self._budget.held, ended=ended)

    def _attached(self) -> StudyWriter:
        if self._writer is None:
            raise StoreError("this recorder was restored from a pickle and knows no study")
        return self._writer

    @contextmanager
    def _writing(self) -> Iterator[StudyWriter]:
        if self._failure is not None:
            raise self._failure  # records behind a lost write would be incomplete
        try:
            yield self._attached()
        except Exception as error:
            self._failure = error
            raise
