"""The list of a study's checkpoints on the storage, the earlier states that each rests on, and what a resume keeps.

Their number stays near that of the living trials, however many have ended: what walks over all of them is cheap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from trainables.checkpoints.manifest import CheckpointManifest
from trainables.checkpoints.storage import Storage
from trainables.machine import clock
from tuning.checkpoints.copier import Copy
from tuning.pareto import LossPoint, non_dominated


class CheckpointEntry(NamedTuple):
    """One checkpoint on the storage."""

    trial: str
    epoch: float
    score: float | LossPoint  # higher is better; of several objectives the point
    path: str
    manifest: CheckpointManifest | None  # None: a custom function's own checkpoint
    since: float  # on the monotonic clock

    @classmethod
    def at(cls, path: str, storage: Storage, trial: str, epoch: float, score: float | LossPoint) -> CheckpointEntry:
        """Return the entry of the checkpoint at `path`, as it is in `storage` now."""
        return cls(trial, epoch, score, path, storage.manifest(path), clock.monotonic())

    def copy(self, *, weights_only: bool) -> Copy:
        """Return the copy of its state that could be made."""
        assert self.manifest is not None
        return Copy(self.manifest, self.path, weights_only)


class RecordedCheckpoints(NamedTuple):
    """The checkpoints of one trial as a resume finds them; see `tuning.study.resume`.

    Args:
        trial: the trial's id.
        running: True if the trial is recorded as running.
        kept: epoch, path and score (of several objectives the point) of each one that is recorded and there, in order
            of epochs.
        ahead: epoch and path of each one whose report was taken back: the trial will come to it again.
        gone: the epochs of those that are recorded and no longer there.
    """

    trial: str
    running: bool
    kept: tuple[tuple[float, str, float | LossPoint], ...] = ()
    ahead: tuple[tuple[float, str], ...] = ()
    gone: tuple[float, ...] = ()


class KeptCheckpoints:
    """The checkpoints of one study by path. Trials are in the order in which `order` was called for them."""

    def __init__(self) -> None:
        self._by_path: dict[str, CheckpointEntry] = {}
        self._by_trial: dict[str, dict[str, CheckpointEntry]] = {}  # the same, by trial and path
        self._order: dict[str, int] = {}

    def __iter__(self) -> Iterator[CheckpointEntry]:
        """Iterate over a copy of the list: entries may be discarded on the way."""
        return iter(list(self._by_path.values()))

    def order(self, trial: str) -> None:
        """Put the trial behind the known ones, unless it is one of them."""
        self._order.setdefault(trial, len(self._order))

    def add(self, entry: CheckpointEntry) -> None:
        """Add the newest checkpoint of a trial; one at the same path is replaced."""
        self.discard(entry)
        self._by_path[entry.path] = entry
        self._by_trial.setdefault(entry.trial, {})[entry.path] = entry

    def discard(self, entry: CheckpointEntry) -> None:
        """Take a checkpoint out of the list."""
        if (known := self._by_path.pop(entry.path, None)) is not None:
            of_trial = self._by_trial[known.trial]
            del of_trial[known.path]
            if not of_trial:
                del self._by_trial[known.trial]

    def of(self, trial: str) -> list[CheckpointEntry]:
        """Return the checkpoints of one trial, the newest last."""
        return list(self._by_trial.get(trial, {}).values())

    def best(self, number: int) -> list[CheckpointEntry]:
        """Return the `number` best, ties in order of trials and epochs; the first is that of `StudyOutcome.best`.

        Of several objectives it is the whole front, as that of `StudyOutcome.front`, whatever the number.
        """
        entries = sorted(self._by_path.values(), key=lambda kept: self._order[kept.trial])  # stable: epochs
        points = [entry.score for entry in entries if isinstance(entry.score, LossPoint)]
        if points:
            return [entries[position] for position in non_dominated(points)]
        return sorted(entries, key=lambda kept: -kept.score)[:number]  # type: ignore[operator]

    def lines(self, paths: Iterable[str]) -> Iterator[list[CheckpointEntry]]:
        """Yield, for each checkpoint at `paths`, the states with moments on the way to it, the newest first."""
        by_token = {entry.manifest.token: entry for entry in self._by_path.values() if entry.manifest is not None}
        for path in paths:
            entry = self._by_path.get(path)
            if entry is not None and entry.manifest is not None:
                tokens = (base.token for base in reversed(entry.manifest.restore_points))
                yield [by_token[token] for token in tokens if token in by_token]

    def bases(self, paths: Iterable[str]) -> list[CheckpointEntry]:
        """Return the states with moments that trials at `paths` would go on from, each once."""
        return list({line[0].path: line[0] for line in self.lines(paths) if line}.values())
