"""Sealed snapshots of a study: what Tune saves of it, in one file with a checksum.

A resume goes on from the newest one that is whole.

    STUDY/snapshots/snapshot-000012
    STUDY/snapshots/ended-000003

Trials that have ended do not change any more. Many of them together are sealed in a file of their own, once, and
later snapshots name it: so what a snapshot costs does not grow with the trials that a study has had.

Tune writes a snapshot as several files, one after the other, and nothing shows whether they are of one moment, or as
they were written: an interruption leaves a search one step ahead of its trials, and at a file that cannot be read Tune
logs one line and begins anew. So what it has written is sealed here, in one file that is written whole or not at all,
and the one before stays. Before a resume the files of the chosen one are put where Tune looks for them; Tune's own
copies in the study's folder are never read again.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Iterable, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from cluster.storage import StorageError
from trainables.checkpoints.storage import Storage
from trainables.machine import clock
from tuning.tune_compat.pickled_names import missing_names

FOLDER, NAME, ENDED = "snapshots", "snapshot-", "ended-"
STATE, TRIALS = "experiment_state-{}.json", "trial_data"  # Tune's file of a snapshot that holds the trials, under a key
KEPT = 2  # sealed snapshots that stay; what they name of checkpoints stays, too
RESTORED = "restored"  # in the place of a session's time in the names of Tune's files: sorts after every time


class DamagedSnapshot(ValueError):
    """A sealed snapshot differs from what was written."""


class Snapshot(NamedTuple):
    """The content of one sealed file: a snapshot, or trials that have ended."""

    taken: float  # seconds since 1970
    positions: Mapping[str, int]  # by trial, in Tune's order: how many of its recorded events it knows
    files: Mapping[str, bytes]  # of Tune's, by name; `{}` stands for the session
    ended: tuple[str, ...] = ()  # names of the files with the study's other trials

    def seal(self) -> bytes:
        """The snapshot as bytes: a line with a checksum of the rest, a line of JSON, and the files."""
        sizes = {name: len(data) for name, data in self.files.items()}
        plain = {"taken": self.taken, "positions": self.positions, "files": sizes, "ended": self.ended}
        header = json.dumps(plain).encode()
        rest = b"".join([header, b"\n", *self.files.values()])
        return hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest

    @classmethod
    def parse(cls, sealed: bytes) -> Snapshot:
        """Verify and parse what `seal` has made.

        Raises:
            DamagedSnapshot: the checksum differs.
        """
        checksum, _, rest = sealed.partition(b"\n")
        if hashlib.sha256(rest).hexdigest().encode() != checksum:
            raise DamagedSnapshot(f"checksum differs, {len(sealed)} bytes")
        header, _, data = rest.partition(b"\n")
        plain, files, begin = json.loads(header), {}, 0
        for name, size in plain["files"].items():
            files[name] = data[begin : begin + size]
            begin += size
        return cls(plain["taken"], plain["positions"], files, tuple(plain.get("ended", ())))

    def with_ended(self, others: Iterable[Snapshot]) -> Snapshot:
        """The snapshot with the trials of other files, as Tune would have saved it.

        Args:
            others: those that it names, in their order. Of a trial that is in several of them the last one counts: it
                has run again in between.
        """
        together = [*others, self]
        trials: dict[str, Any] = {}
        for one in together:
            trials.update(zip(one.positions, json.loads(one.files[STATE])[TRIALS], strict=True))
        state = json.dumps({**json.loads(self.files[STATE]), TRIALS: list(trials.values())}).encode()
        positions = {trial: position for one in together for trial, position in one.positions.items()}
        return self._replace(positions=positions, files={**self.files, STATE: state})


@dataclass(frozen=True)
class FoundSnapshots:
    """Facts about the sealed snapshots that Tune has saved of one study, as they lie on the storage.

    Args:
        folder: the study's, as users see it.
        newest: the name of the newest snapshot that is whole; None: there is none.
        taken: when that one was taken, in seconds since 1970 (UTC).
        positions: the number of recorded events that it knows, by the id of each trial in it.
        damaged: for each newer snapshot, its path and what is wrong with it.
        begun: True if Tune has written files of its own, so that the study has begun.
        missing: what the newest needs of tunefleet and is not here: another version has made it; see `missing_names`.
    """

    folder: str = ""
    newest: str | None = None
    taken: float = 0.0
    positions: Mapping[str, int] = field(default_factory=dict)
    damaged: tuple[str, ...] = ()
    begun: bool = False
    missing: tuple[str, ...] = ()


def find_snapshots(storage: Storage, study: str) -> FoundSnapshots:
    """Look at the snapshots of the study in `study`, the newest first, until one is whole. Changes nothing.

    Raises:
        OSError: the storage cannot be read.
    """
    begun = bool(storage.files(study, "experiment_state-*.json"))
    damaged: list[str] = []
    for path in reversed(storage.files(f"{study}/{FOLDER}", f"{NAME}*")):
        try:
            found = _whole(storage, posixpath.dirname(path), Snapshot.parse(storage.read(path)))
        except DamagedSnapshot as error:
            damaged.append(f"{storage.scheme}{path} is damaged ({error})")
            continue
        shown, name = f"{storage.scheme}{study}", posixpath.basename(path)
        missing = missing_names(found.files)
        return FoundSnapshots(shown, name, found.taken, found.positions, tuple(damaged), begun, missing)
    return FoundSnapshots(f"{storage.scheme}{study}", damaged=tuple(damaged), begun=begun)


def _whole(storage: Storage, folder: str, snapshot: Snapshot) -> Snapshot:
    """Returns a snapshot with all trials of its study.

    Raises:
        DamagedSnapshot: a file that it names is not what was written.
        OSError: the storage cannot be read.
    """
    return snapshot.with_ended(_ended(storage, folder, name) for name in snapshot.ended) if snapshot.ended else snapshot


def _ended(storage: Storage, folder: str, name: str) -> Snapshot:
    if f"{folder}/{name}" not in storage.files(folder, name):
        raise DamagedSnapshot(f"{name}, which it needs, is missing")
    try:
        return Snapshot.parse(storage.read(f"{folder}/{name}"))
    except DamagedSnapshot as error:
        raise DamagedSnapshot(f"of {name}, which it needs, the {error}") from error


class Snapshots:
    """Writes the snapshots of one study, and puts one of an earlier run where Tune looks for it.

    Args:
        storage: of the study.
        study: Tune's folder of it.
    """

    def __init__(self, storage: Storage, study: str) -> None:
        self._storage, self._study = storage, study
        self._folder = f"{study}/{FOLDER}"
        self._whole: list[str] = []  # paths of the whole ones that stay, the newest last
        self._number = 0  # of the newest, whole or not
        self._ended: list[str] = []  # names of the files with trials that have ended
        self._new: list[tuple[str, Snapshot]] = []  # those of them that are still to be written, with their paths
        self._apart: set[str] = set()
        self._writer = ThreadPoolExecutor(1, "snapshots")
        self._writing: Future[None] | None = None

    @property
    def apart(self) -> Set[str]:
        """The ids of the trials that `set_apart` has taken, in this run or before."""
        return self._apart

    def restore(self, name: str) -> None:
        """Put the files of the snapshot `name`, and no others, where Tune looks for them.

        Raises:
            DamagedSnapshot: it is not what was written.
            OSError: the storage cannot be read or written.
        """
        paths = self._storage.files(self._folder, f"{NAME}*")
        chosen = f"{self._folder}/{name}"
        own = Snapshot.parse(self._storage.read(chosen))
        snapshot = _whole(self._storage, self._folder, own)
        self._number = max(int(path.rpartition("-")[2]) for path in paths)
        self._whole = [path for path in paths if path <= chosen][-KEPT:]
        self._ended, self._apart = list(own.ended), set(snapshot.positions.keys() - own.positions.keys())
        for path in self._storage.files(self._folder, f"{ENDED}*"):
            if posixpath.basename(path) not in own.ended:  # of a later snapshot
                self._storage.remove(path)
        for file in snapshot.files:
            for old in self._storage.files(self._study, file.format("*")):
                self._storage.remove(old)
        for file, data in snapshot.files.items():
            self._storage.write(f"{self._study}/{file.format(RESTORED)}", data)

    def set_apart(self, trials: Sequence[Any], positions: Mapping[str, int]) -> None:
        """Seal trials that have ended, with the next snapshot; none of the later ones needs to hold them.

        Args:
            trials: as Tune saves them.
            positions: by trial, in the same order: how many of its recorded events are in that.
        """
        number = int(self._ended[-1].removeprefix(ENDED)) + 1 if self._ended else 1
        name, files = f"{ENDED}{number:06d}", {STATE: json.dumps({TRIALS: trials}).encode()}
        self._new.append((f"{self._folder}/{name}", Snapshot(clock.time(), positions, files)))
        self._ended.append(name)
        self._apart |= positions.keys()

    def seal(self, staged: Path, session: str, positions: Mapping[str, int]) -> None:
        """Seal what Tune has just written. It is on the storage when `settle` returns.

        Args:
            staged: the folder that Tune writes to.
            session: in the names of its files.
            positions: by trial, in Tune's order: how many of its recorded events the snapshot knows.

        Raises:
            StorageError: the first cannot be written. It is waited for: Tune may publish its files once there is one.
        """
        files = {path.name.replace(session, "{}"): path.read_bytes() for path in sorted(staged.glob(f"*-{session}.*"))}
        self._number += 1
        path = f"{self._folder}/{NAME}{self._number:06d}"
        new, self._new = self._new, []
        sealed = Snapshot(clock.time(), positions, files, tuple(self._ended))
        self._writing = self._writer.submit(self._write, [*new, (path, sealed)])
        if not self._whole:
            self.settle()

    def settle(self) -> None:
        """Wait until the last snapshot is on the storage.

        Raises:
            StorageError: it cannot be written; the ones before it are there.
        """
        writing, self._writing = self._writing, None
        if writing is None:
            return
        try:
            writing.result()
        except OSError as error:
            raise StorageError(
                f"cluster.storage: a snapshot cannot be written to {self._storage.scheme}{self._folder}: {error}. "
                "Make room or mend the storage, then go on with `tunefleet resume`."
            ) from error

    def close(self) -> None:
        """Wait as `settle` does, and stop: nothing can be sealed any more."""
        try:
            self.settle()
        finally:
            self._writer.shutdown()

    def _write(self, sealed: list[tuple[str, Snapshot]]) -> None:
        """Write files with ended trials, and at last the snapshot that names them."""
        for path, content in sealed:
            self._storage.write(path, content.seal())
        self._whole = [*self._whole, path][-KEPT:]
        for old in self._storage.files(self._folder, f"{NAME}*"):
            if old not in self._whole:
                self._storage.remove(old)


def forget_restored(staged: Path) -> None:
    """Removes what `Snapshots.restore` has put in place, once Tune has read it.

    Tune would upload it again with every snapshot.
    """
    for file in staged.glob(f"*-{RESTORED}.*"):
        file.unlink()
