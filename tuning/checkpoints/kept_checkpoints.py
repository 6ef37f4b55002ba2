"""The checkpoints of a study that lie on its storage path, and how each rests on earlier states.

Their number stays near that of the living trials, however many have ended: what walks over all of them is cheap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from trainables.checkpoints.manifest import CheckpointManifest
from trainables.checkpoints.storage import Storage
from trainables.machine import clock
from tuning.checkpoints.copier import Copy


class Kept(NamedTuple):
    """One checkpoint."""

    trial: str
    epoch: float
    score: float  # higher is better
    path: str
    manifest: CheckpointManifest | None  # None: a custom function's own checkpoint
    since: float  # on the monotonic clock

    @classmethod
    def at(cls, path: str, storage: Storage, trial: str, epoch: float, score: float) -> Kept:
        """The checkpoint `path`, found in `storage` now."""
        return cls(trial, epoch, score, path, storage.manifest(path), clock.monotonic())

    def copy(self, *, weights_only: bool) -> Copy:
        """Of its state."""
        assert self.manifest is not None
        return Copy(self.manifest, self.path, weights_only)


class KeptCheckpoints:
    """All of one study, by path. Trials are in the order in which `order` was told of them."""

    def __init__(self) -> None:
        self._by_path: dict[str, Kept] = {}
        self._order: dict[str, int] = {}

    def __iter__(self) -> Iterator[Kept]:
        """A copy of the list: they may be discarded on the way."""
        return iter(list(self._by_path.values()))

    def order(self, trial: str) -> None:
        """The trial is the next one, unless it is known."""
        self._order.setdefault(trial, len(self._order))

    def add(self, entry: Kept) -> None:
        """The newest of its trial; one at the same path is replaced."""
        self._by_path.pop(entry.path, None)
        self._by_path[entry.path] = entry

    def discard(self, entry: Kept) -> None:
        """It is none of the study's any more."""
        self._by_path.pop(entry.path, None)

    def of(self, trial: str) -> list[Kept]:
        """Those of one trial, the newest last."""
        return [entry for entry in self._by_path.values() if entry.trial == trial]

    def best(self, number: int) -> list[Kept]:
        """The first of the best, in order of the trials and of their epochs: the one that StudyOutcome.best names."""
        return sorted(self._by_path.values(), key=lambda kept: (-kept.score, self._order[kept.trial]))[:number]

    def lines(self, paths: Iterable[str]) -> Iterator[list[Kept]]:
        """Of each checkpoint at `paths` the states with moments on the way to it, the newest first."""
        by_token = {entry.manifest.token: entry for entry in self._by_path.values() if entry.manifest is not None}
        for path in paths:
            entry = self._by_path.get(path)
            if entry is not None and entry.manifest is not None:
                tokens = (base.token for base in reversed(entry.manifest.restore_points))
                yield [by_token[token] for token in tokens if token in by_token]

    def bases(self, paths: Iterable[str]) -> list[Kept]:
        """The states with moments that trials at `paths` would go on from, each once."""
        return list({line[0].path: line[0] for line in self.lines(paths) if line}.values())
