"""Tune's controller with sealed snapshots: what it saves of a study, when, and how it goes on from that.

- A snapshot is taken as soon as a trial has changed, and sealed (`tuning.tune_compat.snapshots`).
- Trials that have ended are saved once.
- New trials are named by their place in Tune's list, so a trial has the same name in every run.
- If Tune cannot go on from a snapshot, the run ends: Tune by itself would begin anew.

Read against ray 2.60. The tests of `tests/tuning/tune_compat` drive it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.tune_config import ResumeConfig

from trainables.machine import clock
from tuning.errors import RunFolderError
from tuning.tune_compat import internals
from tuning.tune_compat.snapshots import Snapshots, forget_restored

TOGETHER = 64  # ended trials that are saved in one file


class SnapshotPolicy(Protocol):
    """Decides when snapshots are taken, and knows what is recorded by then."""

    @property
    def may_snapshot(self) -> bool:
        """False to put off a snapshot that a changed trial would cause."""

    def record_snapshot(self, seconds: float) -> None:
        """Called when a snapshot has been taken, with the driver's time that it took."""

    def position(self, trial: str) -> int:
        """Returns the number of recorded events of the trial with that id, 0 without any; stored with each snapshot."""


class SavingController(TuneController):  # type: ignore[misc]
    """The controller of one study, as far as it is saved.

    Args:
        policy: of its snapshots.
        snapshots: seal what Tune saves; None: nothing is to be resumed from it.
        name_trial: gives the id of the study's trial of that number (0, 1, ...), the same one in every run; None: Tune
            names them.
        options: of Tune.

    Raises:
        RunFolderError: Tune cannot go on from the snapshot.
    """

    def __init__(
        self,
        *arguments: Any,
        policy: SnapshotPolicy,
        snapshots: Snapshots | None = None,
        name_trial: Callable[[int], str] | None = None,
        **options: Any,
    ) -> None:
        self._policy, self._snapshots, self._name_trial = policy, snapshots, name_trial
        self._resume_error: Exception | None = None
        self._own = {*vars(self), "_own"}  # attributes left out of Tune's pickle, those of a subclass, too
        super().__init__(*arguments, **options)
        if self._resume_error is not None:
            raise RunFolderError(
                f"the snapshot in {self.experiment_path} is whole, but Tune cannot go on from it: "
                f"{self._resume_error}. Was it made with another version of Ray, or other code?"
            ) from self._resume_error

    def __getstate__(self) -> dict[str, Any]:
        """Part of Tune's snapshot: a resumed run has another supervisor and other nodes."""
        return {name: value for name, value in super().__getstate__().items() if name not in self._own}

    def save_now(self) -> None:
        """Take a snapshot, and return when it is on the storage."""
        self.checkpoint(force=True, wait=True)

    # What Tune calls.

    def resume(self, resume_config: Any) -> None:
        """Called by Tune, which logs what is raised here and would begin anew."""
        try:
            super().resume(resume_config=resume_config)
        except Exception as error:
            self._resume_error = error
            raise
        forget_restored(self._staged)
        if self._snapshots is not None:  # those that have been set apart, and have not begun again, are saved
            apart = self._snapshots.apart
            self._trials_to_cache -= {one for one in self._trials if one.is_finished() and one.trial_id in apart}

    def save_to_dir(self) -> None:
        """Called by Tune for each snapshot.

        Raises:
            StorageError: the one before cannot be written.
        """
        if self._snapshots is None:
            super().save_to_dir()
            return
        self._snapshots.settle()
        self._set_ended_apart(self._snapshots)
        super().save_to_dir()
        # Only trials in this snapshot: later ones are proposed again on a resume, maybe with other values, so their
        # records start at 0.
        self._snapshots.seal(self._staged, self._session_str, self._positions(self._trial_metadata))

    def _set_ended_apart(self, snapshots: Snapshots) -> None:
        """Take trials that have ended out of what Tune saves, as soon as there are many of them."""
        living = {trial.trial_id for trial in self._live_trials if not trial.is_finished()}
        saved = self._get_trial_checkpoints()
        if len(ended := saved.keys() - living) >= TOGETHER:
            apart = {trial: saved.pop(trial) for trial in list(saved) if trial in ended}
            snapshots.set_apart(list(apart.values()), self._positions(apart))

    def _positions(self, trials: Iterable[str]) -> dict[str, int]:
        return {trial: self._policy.position(trial) for trial in trials}

    @property
    def _staged(self) -> Path:
        return Path(self._storage.experiment_driver_staging_path)

    def checkpoint(self, force: bool = False, wait: bool = False) -> None:
        """Take a snapshot if a trial has changed, at once, and so compute little again if the driver is killed.

        A report without its checkpoint cannot be continued from, so it needs no snapshot. The policy may put off
        snapshots where there are many of them.
        """
        unchanged = all(trial.is_saving for trial in self._trials_to_cache)
        if not force and (unchanged or self._snapshots is None or not self._policy.may_snapshot):
            return
        taken = self._checkpoint_manager
        before, started = taken._last_save_time, clock.monotonic()
        # A local folder takes milliseconds, so wait; a bucket uploads in the background.
        wait = wait or not self._storage.custom_fs_provided
        super().checkpoint(force=force, wait=wait)
        if wait and self._snapshots is not None:
            self._snapshots.settle()
        if taken._last_save_time != before:
            self._policy.record_snapshot(clock.monotonic() - started)

    def _update_trial_queue(self, blocking: bool = False, timeout: int = 600) -> bool:
        """Trials are named by their place: one that a killed driver had begun after its last snapshot is proposed again
        under the same name, and goes on with the record and in the folder that it has. The search is asked once: Tune
        would wait for ten minutes, deaf to signals, where it has nothing yet and no trial runs."""
        if self._name_trial is None:
            return bool(super()._update_trial_queue())
        with internals.next_trial_id(self._name_trial(len(self._trials))):
            return bool(super()._update_trial_queue())

    def _requeue_restored_trials(self, trials: list[Trial], resume_config: ResumeConfig) -> None:
        failed = [trial for trial in trials if trial.status == Trial.ERROR]
        super()._requeue_restored_trials(trials, resume_config)
        if resume_config.errored == ResumeConfig.ResumeType.RESUME:
            internals.reset_failures(failed)
        if (name := self._name_trial) is not None:
            places = {name(number): number for number in range(len(self._trials))}
            self._trials.sort(key=lambda trial: places[trial.trial_id])  # Ray has put the last one to report first
