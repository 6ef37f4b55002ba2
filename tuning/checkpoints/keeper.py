"""Decides which checkpoints of a study stay on the storage: those that a trial may go on from, and the best ones.

Tune's own `num_to_keep` counts per trial and knows nothing of donors: it deletes a checkpoint that a clone is about to
load. So Tune keeps all, and this keeper deletes what nobody needs, as soon as nobody needs it. Needed are the best,
what Tune would start each running trial from (a clone: its donor's), what the strategy pins, and what was so at Tune's
last three snapshots of the experiment, of which two are kept and one is on its way to the storage: a resume continues
from the newest that is whole.

A checkpoint is a manifest (`trainables.checkpoints.manifest`); its state is another matter. In memory stay the states
that a running trial would load, and the best ones until they are copied. Copied are the states with moments that a
trial would load, as soon as they exist; the best weights when they have stood for a while, and at the end. Until a
newer one is copied, the last copy on the way to it stays.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.tune import Callback

from cluster.storage import StorageError
from trainables.checkpoints.storage import FOLDERS, Storage
from trainables.checksums import DamagedCheckpoint, damage
from trainables.machine import clock
from trainables.spec import Goal, Objective
from tuning.checkpoints.kept_checkpoints import CheckpointEntry, KeptCheckpoints, RecordedCheckpoints
from tuning.checkpoints.study_states import StudyStates
from tuning.pareto import LossPoint
from tuning.supervision.driver_time import DriverTime

if TYPE_CHECKING:
    from ray.tune import Checkpoint
    from ray.tune.experiment import Trial

STOOD = 60.0  # seconds that the best weights stand before they are copied: in a short study only the last ones are
SNAPSHOTS = 3  # what so many of the last ones name stays: two are kept, and one is on its way to the storage
COPIES = 2  # of the states of one trial at most, where they are copied: older ones can be made again
PAUSE = 0.5  # seconds between two looks at the time
DRIVER_SHARE, DRIVER_BURST = 0.05, 1.0  # of the driver's time to decide what is needed; thousands of trials may live


class CheckpointKeeper(Callback):  # type: ignore[misc]
    """Deletes the checkpoints of one study that nobody needs any more: a Tune callback.

    Args:
        objective: the metric and the mode by which checkpoints are ranked.
        goal: several objectives, of which the whole front stays; None: there is one.
        on_drop: called with trial id and epoch after each deletion.
        pinned: gives the paths that the strategy needs now; see `tuning.strategies.Population.pinned`.
        states: does with the states what is decided here; None: each lies beside its manifest, or is a function's own.
        keep_best: how many of the best stay.
        storage: where the checkpoints lie.
        recorded: what a resume finds, by trial, in the order of the trials; () on a fresh start.

    Raises:
        StorageError: a checkpoint that a trial would go on from cannot be read, or is damaged.
    """

    def __init__(
        self,
        objective: Objective,
        on_drop: Callable[[str, float], None],
        pinned: Callable[[], set[str]] = set,
        states: StudyStates | None = None,
        keep_best: int = 1,
        storage: Storage = FOLDERS,
        recorded: Sequence[RecordedCheckpoints] = (),
        goal: Goal | None = None,
    ) -> None:
        self._states, self._keep_best, self._storage = states, keep_best, storage
        self._failure: Exception | None = None
        self._looked, self._due, self._driver_time = 0.0, True, DriverTime(DRIVER_SHARE, DRIVER_BURST)
        self._metric, self._sign = objective.metric, 1 if objective.mode == "max" else -1
        self._goal = goal
        self._pinned, self._on_drop = pinned, on_drop
        self._kept = KeptCheckpoints()
        self._known = 0  # how many of Tune's trials are known
        self._living: dict[str, Trial] = {}  # those that have not ended
        self._loads: dict[str, str] = {}  # by living trial: the path that Tune would start it from
        self._parting: deque[set[str]] = deque([set()], maxlen=SNAPSHOTS)  # of trials whose end some snapshot misses
        self._resumed: set[str] = set()  # trials that may use what a killed run has left
        self._ahead: dict[str, list[CheckpointEntry]] = {}  # by such a trial: those beyond its position
        with self._failing():
            for trial in recorded:
                self._recall(trial)
        # The snapshot that this run is resumed from may name any of them.
        self._snapshots: deque[set[str]] = deque([{entry.path for entry in self._kept}], maxlen=SNAPSHOTS)

    def __getstate__(self) -> dict[str, Any]:
        """Leave everything out: Tune pickles callbacks, and a resumed run makes a new keeper from the store."""
        return {}

    def on_checkpoint(
        self, iteration: int, trials: list[Trial], trial: Trial, checkpoint: Checkpoint, **info: Any
    ) -> None:
        """Add a checkpoint that has arrived on the storage; `trial.last_result` is its report."""
        with self._failing():
            report, path = trial.last_result, checkpoint.path
            self._look(trials)
            if trial.trial_id in self._living:
                self._loads[trial.trial_id] = path
            self._set_back(trial.trial_id, path)
            metrics = report["metrics"]
            score = self._sign * metrics[self._metric] if self._goal is None else LossPoint.of(self._goal, metrics)
            entry = CheckpointEntry.at(path, self._storage, trial.trial_id, float(report["epoch"]), score)
            self._kept.add(entry)
            if entry.manifest is not None:
                # A trial that was set back writes into folders that are there already; Tune leaves what is in them.
                self._storage.delete_other_states(path, entry.manifest)
                if self._states is not None:
                    self._states.arrived(entry.manifest)
            if not self._ahead[trial.trial_id]:
                self._resumed.discard(trial.trial_id)
            self._drop()

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Do what has become due with time, and raise failures, which Tune swallows elsewhere."""
        if self._failure is None and clock.monotonic() - self._looked > PAUSE:
            with self._failing():
                self._look(trials)
                self._drop()
        if self._failure is not None:
            raise self._failure

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Let the newest checkpoint of a trial go: the trial has ended."""
        self._end(trials, trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Let the newest checkpoint of a trial go: the trial has failed for good."""
        self._end(trials, trial)

    def get_state(self) -> None:
        """Note that Tune takes a snapshot now, and what it names; the keeper itself has nothing to save."""
        self._snapshots.append(self._pinned().union(self._loads.values()))
        self._parting.append(set())

    def finish(self, study: str) -> None:
        """Delete all but the weights of the best checkpoints; called by the runner at the end of the study.

        Args:
            study: Tune's folder of it.

        Raises:
            StorageError: they cannot be written.
        """
        best = self._kept.best(self._keep_best)
        if self._states is not None:
            self._states.flush([entry.copy(weights_only=True) for entry in best if entry.manifest is not None])
        stay = {entry.path for entry in best}
        self._delete(entry for entry in self._kept if entry.path not in stay)
        for left in self._storage.checkpoints(study):  # by a driver that was killed before it could record it
            if left not in stay:
                self._storage.delete(left, None)
        for entry in best:
            if entry.manifest is not None:
                self._storage.strip(entry.path, entry.manifest)
        self._storage.finish()

    def suspend(self) -> None:
        """Copy what a resume would go on from; called by the runner when the study is interrupted.

        Raises:
            StorageError: it cannot be written.
        """
        if self._states is not None and self._failure is None:
            best = [entry.copy(weights_only=True) for entry in self._kept.best(self._keep_best) if entry.manifest]
            bases = self._kept.bases(self._loads.values())
            self._states.flush([*(base.copy(weights_only=False) for base in bases), *best])

    def _recall(self, trial: RecordedCheckpoints) -> None:
        """Take over what a resume has found of a trial's checkpoints."""
        self._kept.order(trial.trial)
        self._resumed.add(trial.trial)  # until Tune reports its end
        for epoch in trial.gone:  # deleted after Tune's last snapshot by a driver that died before it recorded that
            self._on_drop(trial.trial, epoch)
        for epoch, path, score in trial.kept:
            ranked = score if isinstance(score, LossPoint) else self._sign * score
            self._kept.add(self._found(trial.trial, epoch, path, ranked))
        if trial.ahead:
            self._ahead[trial.trial] = [self._found(trial.trial, *entry, self._worst) for entry in trial.ahead]
        if trial.kept and trial.running:
            newest = self._kept.of(trial.trial)[-1]
            self._loads[trial.trial] = newest.path
            if newest.manifest is None and not self._storage.scheme and (why := damage(Path(newest.path))) is not None:
                raise DamagedCheckpoint(why)  # a function's own: nobody else can make it again

    def _found(self, trial: str, epoch: float, path: str, score: float | LossPoint) -> CheckpointEntry:
        return CheckpointEntry.at(path.removeprefix(self._storage.scheme), self._storage, trial, epoch, score)

    @property
    def _worst(self) -> float | LossPoint:
        """The score of a checkpoint whose report is not known now."""
        if self._goal is None:
            return -math.inf
        return LossPoint((math.inf,) * len(self._goal.objectives), math.inf)

    def _end(self, trials: list[Trial], trial: Trial) -> None:
        self._look(trials)
        self._forget(trial.trial_id)
        if trial.checkpoint is not None:
            self._parting[-1].add(trial.checkpoint.path)  # a driver that dies now leaves a trial that has to end again
        self._drop()

    def _set_back(self, trial_id: str, path: str) -> None:
        """Set later checkpoints aside if a trial was resumed from an older one.

        The trial comes to them again, one by one under the same names: it reports what it finds there, or writes into
        their folders. Until then they do not count.
        """
        later = [entry for entry in self._kept.of(trial_id) if entry.path > path]
        self._delete(entry for entry in later if entry.manifest is None)  # a function's own: its files would be mixed
        ahead = [*self._ahead.get(trial_id, []), *(entry for entry in later if entry.manifest is not None)]
        for entry in ahead:
            self._kept.discard(entry)
        self._ahead[trial_id] = [entry for entry in ahead if entry.path > path]

    def _forget(self, trial_id: str) -> None:
        self._delete(self._ahead.pop(trial_id, []))
        self._living.pop(trial_id, None)
        self._resumed.discard(trial_id)
        self._loads.pop(trial_id, None)

    def _look(self, trials: list[Trial]) -> None:
        """Take over the trials that Tune has added and, if something may be dropped now, how it sees the living ones.

        After a crash its snapshot may be too old to know an end that the store knows: such a trial lives again, and may
        use what a killed run has left.
        """
        if not self._known:
            self._resumed &= {trial.trial_id for trial in trials}
        for trial in trials[self._known :]:
            self._kept.order(trial.trial_id)
            self._living[trial.trial_id] = trial
        self._known = len(trials)
        self._due = self._driver_time.left
        if not self._due:
            return
        with self._deciding():
            for trial_id, trial in list(self._living.items()):
                if trial.is_finished():
                    self._forget(trial_id)
                elif (newest := trial.checkpoint) is not None:
                    self._loads[trial_id] = newest.path

    def _drop(self) -> None:
        """Delete what nobody needs, unless to decide on that has used up its share of the driver's time."""
        self._looked = clock.monotonic()
        if self._due:
            with self._deciding():
                needed = self._needed()
            self._delete(entry for entry in self._kept if entry.path not in needed)  # takes the storage's time

    @contextlib.contextmanager
    def _deciding(self) -> Iterator[None]:
        """Count the time of the block as the driver's own."""
        began = clock.monotonic()
        yield
        self._driver_time.spend(clock.monotonic() - began)

    def _needed(self) -> set[str]:
        """Return the paths of what stays, and decide on the states of these."""
        named, best = list(dict.fromkeys(self._loads.values())), self._kept.best(self._keep_best)
        saved = set(named).union(self._pinned(), *self._snapshots)
        bases = {entry.path for entry in self._copied_bases(saved)}
        revivable = {entry.path for entry in self._kept if entry.trial in self._resumed}  # maybe, once they have a slot
        if self._states is not None:
            for entry in best:
                if entry.manifest is not None and entry.path not in bases and self._is_copied(entry):
                    self._states.strip(entry.path, entry.manifest)
            self._decide(self._states, named, best)
        return (saved | bases | revivable | {entry.path for entry in best}).union(*self._parting)

    def _decide(self, states: StudyStates, named: list[str], best: list[CheckpointEntry]) -> None:
        """Decide which states stay in memory and which are copied."""
        if not self._resumed:
            states.forget_left()
        bases = self._kept.bases(named)
        waiting = [e for e in best if e.manifest is not None and not states.durable(e.copy(weights_only=True))]
        in_memory = {entry.manifest.state for entry in (*bases, *waiting) if entry.manifest is not None}
        # Until snapshots name the newer ones the older ones stay: no more than these, see `storage_needs`.
        room = COPIES * len(named) + 1 - sum(map(self._is_copied, self._kept))
        moments = [base.copy(weights_only=False) for base in bases if not self._is_copied(base)]
        stood = [entry for entry in waiting if clock.monotonic() - entry.since > STOOD]
        states.decide(in_memory, [*moments[: max(room, 0)], *(entry.copy(weights_only=True) for entry in stood)])

    def _copied_bases(self, paths: set[str]) -> Iterator[CheckpointEntry]:
        """Yield the states that trials at `paths` would go on from, and earlier ones back to one on the storage."""
        for line in self._kept.lines(paths):
            for base in line:
                yield base
                if self._is_copied(base):
                    break

    def _is_copied(self, entry: CheckpointEntry) -> bool:
        if self._states is None or entry.manifest is None:
            return True
        return entry.manifest.moments and self._states.durable(entry.copy(weights_only=False))

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._failure = self._failure or StorageError(
                f"cluster.storage: checkpoints cannot be used or deleted: {error}. "
                "Mend the storage, then go on with `tunefleet resume`."
            )
            raise self._failure from error
        except Exception as error:
            self._failure = self._failure or error
            raise

    def _delete(self, entries: Iterable[CheckpointEntry]) -> None:
        for entry in entries:
            if (
                self._states is not None
                and entry.manifest is not None
                and not self._states.cancel(entry.manifest.token)
            ):
                continue  # its state is being copied right now; the next time
            self._storage.delete(entry.path, entry.manifest)
            self._kept.discard(entry)
            self._on_drop(entry.trial, entry.epoch)
