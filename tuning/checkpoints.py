"""Which checkpoints of a study stay on storage: what a trial may still be continued from, and the best one.

Tune's own `num_to_keep` counts per trial and knows nothing of donors: it deletes a checkpoint that a clone is about to
load. So Tune keeps all, and this keeper deletes what nobody needs, as soon as nobody needs it.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from ray.tune import Callback

if TYPE_CHECKING:
    from ray.tune import Checkpoint
    from ray.tune.experiment import Trial

    from tuning.outcome import StudyOutcome

NEWEST = 2  # per running trial: Tune's snapshot of the experiment may be one checkpoint behind


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
            scores = {report.epoch: self._sign * report.metrics[self._metric] for report in trial.reports}
            self._kept[trial.id] = [Kept(e, scores[e], path) for e, path in sorted(trial.checkpoints.items())]

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles callbacks with the experiment; a resumed run makes a new keeper from the store."""
        return {}

    def on_checkpoint(
        self, iteration: int, trials: list[Trial], trial: Trial, checkpoint: Checkpoint, **info: Any
    ) -> None:
        """A checkpoint has arrived on the storage path; `trial.last_result` is the report that it belongs to."""
        report = trial.last_result
        score = self._sign * report["metrics"][self._metric]
        for known in trials:  # in order of the trials, whoever is first to have a checkpoint
            self._kept.setdefault(known.trial_id, [])
        self._kept[trial.trial_id].append(Kept(float(report["epoch"]), score, checkpoint.path))
        self._drop(trials)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Its newest checkpoints are not needed any more."""
        self._drop(trials, ended=trial)

    def finish(self) -> None:
        """The study has ended: only the best checkpoint stays. Called by the runner, after Tune."""
        best = self._best()
        for trial_id, kept in self._kept.items():
            self._delete(trial_id, [entry for entry in kept if entry is not best])

    def _drop(self, trials: list[Trial], ended: Trial | None = None) -> None:
        pinned, best = self._pins(), self._best()
        for trial in trials:
            kept = self._kept.get(trial.trial_id, [])
            ongoing = trial is not ended and trial.status != "TERMINATED"
            needed = {best, *(kept[-NEWEST:] if ongoing else [])}
            self._delete(trial.trial_id, [e for e in kept if e not in needed and e.path not in pinned])

    def _best(self) -> Kept | None:
        """The first of the best, in order of the trials and of their epochs: the one that StudyOutcome.best names."""
        everything = itertools.chain.from_iterable(self._kept.values())
        return max(everything, key=lambda kept: kept.score, default=None)

    def _delete(self, trial_id: str, entries: list[Kept]) -> None:
        for entry in entries:
            shutil.rmtree(entry.path)
            self._kept[trial_id].remove(entry)
            self._on_drop(trial_id, entry.epoch)
