"""Which checkpoints of a study stay on storage: what a trial may still be continued from, and the best one.

Tune's own `num_to_keep` counts per trial and knows nothing of donors: it deletes a checkpoint that a clone is about to
load. So Tune keeps all, and this keeper deletes what nobody needs, as soon as nobody needs it. Needed are the best one,
the newest of each running trial (Tune restarts a failed trial from it), and what Tune's last two snapshots of the
experiment name as newest: a resume continues from the newer, unless the driver died before that one was on storage.
"""

from __future__ import annotations

import itertools
import shutil
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from ray.tune import Callback

from tuning.outcome import TrialState

if TYPE_CHECKING:
    from ray.tune import Checkpoint
    from ray.tune.experiment import Trial

    from tuning.outcome import StudyOutcome

SNAPSHOTS = 2  # the newest may not have reached the storage yet


@runtime_checkable
class PinsCheckpoints(Protocol):
    """A scheduler some of whose checkpoints are waiting to be cloned."""

    def pinned(self) -> set[str]:
        """Paths that must stay."""


class Kept(NamedTuple):
    """One checkpoint on storage."""

    epoch: float
    score: float  # higher is better
    path: str


class CheckpointKeeper(Callback):  # type: ignore[misc]
    """Deletes checkpoints on the storage path, a folder.

    Args:
        study: as recorded before a resume; without trials on a fresh start. Tells the objective.
        scheduler: asked for its pins, if it has any.
        on_drop: told (trial id, epoch) after each deletion.
    """

    def __init__(self, study: StudyOutcome, scheduler: object, on_drop: Callable[[str, float], None]) -> None:
        self._metric, self._sign = study.metric, 1 if study.mode == "max" else -1
        self._pins = scheduler.pinned if isinstance(scheduler, PinsCheckpoints) else set
        self._on_drop = on_drop
        self._kept: dict[str, list[Kept]] = {}
        for trial in study.trials:
            scores: dict[float, float] = {}
            for report in trial.reports:  # of an epoch that was passed twice the better one's checkpoint is recorded
                score = self._sign * report.metrics[self._metric]
                scores[report.epoch] = max(score, scores.get(report.epoch, score))
            known = sorted((e, path) for e, path in trial.checkpoints.items() if e in scores)
            self._kept[trial.id] = [Kept(epoch, scores[epoch], path) for epoch, path in known]
        self._ended = {trial.id for trial in study.trials if trial.state is not TrialState.RUNNING}
        # The snapshot that this run is resumed from may name any of them.
        everything = {entry.path for kept in self._kept.values() for entry in kept}
        self._snapshots: deque[set[str]] = deque([everything], maxlen=SNAPSHOTS)

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles callbacks with the experiment; a resumed run makes a new keeper from the store."""
        return {}

    def on_checkpoint(
        self, iteration: int, trials: list[Trial], trial: Trial, checkpoint: Checkpoint, **info: Any
    ) -> None:
        """A checkpoint has arrived on the storage path; `trial.last_result` is the report that it belongs to."""
        report, path = trial.last_result, checkpoint.path
        score = self._sign * report["metrics"][self._metric]
        for known in trials:  # in order of the trials, whoever is first to have a checkpoint
            self._kept.setdefault(known.trial_id, [])
        kept = self._kept[trial.trial_id]
        # A trial that was resumed from an older checkpoint overwrites the later ones, one by one, under the same names.
        kept[:] = [entry for entry in kept if entry.path != path]
        self._delete(trial.trial_id, [entry for entry in kept if entry.path > path])
        kept.append(Kept(float(report["epoch"]), score, path))
        self._drop()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Also one whose end Tune's snapshot was too old to know."""
        self._ended.discard(trial.trial_id)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Its newest checkpoint is not needed any more."""
        self._end(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """It has failed for good: the same."""
        self._end(trial)

    def get_state(self) -> None:
        """Tune takes a snapshot of the experiment now. There is nothing of the keeper's to save in it."""
        self._snapshots.append(self._newest())

    def finish(self, folder: Path) -> None:
        """The study has ended: below its `folder` only the best checkpoint stays. Called by the runner, after Tune."""
        best = self._best()
        for trial_id, kept in self._kept.items():
            self._delete(trial_id, [entry for entry in kept if entry is not best])
        for left in folder.glob("*/checkpoint_*"):  # by a driver that was killed before it could record it
            if best is None or left != Path(best.path):
                shutil.rmtree(left)

    def _end(self, trial: Trial) -> None:
        self._ended.add(trial.trial_id)
        self._drop()

    def _newest(self) -> set[str]:
        return {kept[-1].path for trial_id, kept in self._kept.items() if kept and trial_id not in self._ended}

    def _drop(self) -> None:
        needed = self._newest().union(self._pins(), *self._snapshots)
        if best := self._best():
            needed.add(best.path)
        for trial_id, kept in self._kept.items():
            self._delete(trial_id, [entry for entry in kept if entry.path not in needed])

    def _best(self) -> Kept | None:
        """The first of the best, in order of the trials and of their epochs: the one that StudyOutcome.best names."""
        everything = itertools.chain.from_iterable(self._kept.values())
        return max(everything, key=lambda kept: kept.score, default=None)

    def _delete(self, trial_id: str, entries: Iterable[Kept]) -> None:
        for entry in entries:
            if Path(entry.path).exists():  # a driver that was killed may have deleted it and not recorded that
                shutil.rmtree(entry.path)
            self._kept[trial_id].remove(entry)
            self._on_drop(trial_id, entry.epoch)
