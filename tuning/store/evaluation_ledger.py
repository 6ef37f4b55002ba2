"""The memory of the test split: which rows models have looked at, over all experiments of one account in one storage.

    STORAGE/.test-looks-UID.jsonl     a line per look, and one per set of rows; added to, never rewritten

A file of lines beside the run folders, and not a table of the study store: each experiment may have a store of its own,
which goes when the experiment is removed, and the looks must not. A line is added in one write under a lock, so several
processes may write; one that was cut off by a kill is no line, and its look has not happened: a look is written before
its score is computed. Rows are hashes (`trainables.data.row_hashes`), so a subset, another seed or another order of the
same rows is known again. What an account has looked at is its own affair: another one's file is never read.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

import numpy as np

from trainables.data.row_hashes import KIND, Hashes
from trainables.machine.disk import make_parents, sync
from tuning.outcome.earlier_evaluations import EarlierEvaluations
from tuning.spec.store_url import StoreError

MOST = 20_000  # hashes that are kept of a set of rows; of a larger one the smallest, which are a random sample of it


@dataclass(frozen=True)
class TestRows:
    """A set of rows, whole or (of a large one) its smallest hashes."""

    count: int
    hashes: Hashes  # sorted

    __test__ = False  # not a test class, whatever pytest thinks of its name

    @classmethod
    def of(cls, hashes: Hashes) -> TestRows:
        """All of them, or `MOST`."""
        return cls(len(hashes), hashes[:MOST])

    @classmethod
    def whole(cls, hashes: Hashes) -> TestRows:
        """All of them, for a set that is not written down."""
        return cls(len(hashes), hashes)

    def shared_with(self, others: Iterable[TestRows]) -> int:
        """How many of these rows stand in any of the other sets; an estimate where one of the sets is a sample."""
        seen, known = np.zeros(len(self.hashes), dtype=bool), len(self.hashes)
        for other in others:
            seen |= np.isin(self.hashes, other.hashes, assume_unique=True)
            if other.count > len(other.hashes):  # of its larger hashes nothing is known
                known = min(known, int(np.searchsorted(self.hashes, other.hashes[-1], side="right")))
        return 0 if not known else round(int(seen[:known].sum()) * self.count / known)

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        packed = zlib.compress(self.hashes.astype(KIND).tobytes(), 1)
        return {"count": self.count, "hashes": base64.b64encode(packed).decode()}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> TestRows:
        """Raises:
        StoreError: it is none.
        """
        try:
            content = zlib.decompress(base64.b64decode(plain["hashes"], validate=True))
            return cls(int(plain["count"]), np.frombuffer(content, dtype=KIND))
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            raise StoreError(f"a record of test rows is damaged: {error!r}") from error

    @cached_property
    def digest(self) -> str:
        """32 hex digits, equal for equal sets."""
        return hashlib.blake2b(self.hashes.astype(KIND).tobytes(), digest_size=16).hexdigest()


class LedgerEntry(NamedTuple):
    """One model's look at its test rows."""

    id: str  # the same whenever it is told again
    experiment: str
    rows: str  # digest of the set


class LedgerContent(NamedTuple):
    """All that a ledger holds."""

    looks: dict[str, LedgerEntry]  # by id
    sets: dict[str, TestRows]  # by digest


class EvaluationLedger:
    """This account's ledger of the experiments whose run folders lie in `storage`."""

    def __init__(self, storage: Path) -> None:
        self.file = storage / f".test-looks-{os.getuid()}.jsonl"

    def read(self) -> LedgerContent:
        """What is recorded; nothing where no look was.

        Raises:
            StoreError: the file is another account's, or cannot be read.
        """
        try:
            with self._usable("read"), os.fdopen(self._open(os.O_RDONLY), "rb") as file:
                return _records(file.read())
        except FileNotFoundError:
            return LedgerContent({}, {})

    def record(self, experiment: str, rows: TestRows, ids: Sequence[str]) -> None:
        """Write that models look at `rows`; on disk when this returns. One that is recorded already is not again.

        Args:
            ids: what each model is called, the same whenever it is told again.

        Raises:
            StoreError: the file is another account's, or cannot be written.
        """
        with self._usable("written"):
            make_parents(self.file)
            new = not self.file.exists()
            with os.fdopen(self._open(os.O_RDWR | os.O_CREAT | os.O_APPEND), "r+b", buffering=0) as file:
                with contextlib.suppress(OSError):  # a disk without locks: a line is then one write, which is appended
                    fcntl.flock(file, fcntl.LOCK_EX)
                before = file.read()
                known = _records(before)
                lines = [] if rows.digest in known.sets else [{"rows": rows.digest, **rows.to_json()}]
                lines += [
                    {"id": id_, "experiment": experiment, "rows": rows.digest} for id_ in ids if id_ not in known.looks
                ]
                if not lines:
                    return
                text = "".join(json.dumps(line) + "\n" for line in lines)
                if before and not before.endswith(b"\n"):  # a line that a kill has cut off stays one that is none
                    text = "\n" + text
                _write_all(file.fileno(), text.encode())
                os.fsync(file.fileno())
            if new:
                sync(self.file.parent)

    def memory(self, test: TestRows, trained: TestRows | None = None, own: Iterable[str] = ()) -> EarlierEvaluations:
        """What earlier experiments have to do with an experiment's test rows, and with those that it trains on.

        Args:
            own: looks of the experiment itself. One of its name that was removed before is another.

        Raises:
            StoreError: see `read`.
        """
        ours = set(own)
        looks, sets = self.read()
        others = [look for look in looks.values() if look.id not in ours and look.rows in sets]
        trained = trained or TestRows(0, test.hashes[:0])
        met = {digest for digest in {look.rows for look in others} if test.shared_with([sets[digest]])}
        fed = {digest for digest in {look.rows for look in others} if trained.shared_with([sets[digest]])}
        return EarlierEvaluations(
            rows=test.count,
            models=sum(look.rows in met for look in others),
            seen=test.shared_with(sets[digest] for digest in met),
            experiments=_experiments(others, met),
            train_rows=trained.count,
            trained=trained.shared_with(sets[digest] for digest in fed),
            trained_from=_experiments(others, fed),
        )

    def _open(self, flags: int) -> int:
        """The file's descriptor. No link is followed, and what another account has put there is refused."""
        descriptor = os.open(self.file, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        if (owner := os.fstat(descriptor).st_uid) != os.getuid() and owner != self._own():
            os.close(descriptor)
            raise StoreError(
                f"{self.file}: belongs to another account (uid {owner}), and is not read. Move it away, or choose "
                "another place (cluster.storage)"
            )
        return descriptor

    def _own(self) -> int:
        """The account that a file of this one belongs to here: a network disk may call root another."""
        with TemporaryFile(dir=self.file.parent) as file:
            return os.fstat(file.fileno()).st_uid

    @contextlib.contextmanager
    def _usable(self, action: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            step = "It remembers who has looked at test rows; without it no score on them is shown."
            raise StoreError(f"{self.file}: cannot be {action}: {error.strerror}. {step}") from error


def _experiments(looks: Iterable[LedgerEntry], sets: set[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(look.experiment for look in looks if look.rows in sets))


def _records(content: bytes) -> LedgerContent:
    found = LedgerContent({}, {})
    for line in content.split(b"\n"):
        try:
            plain = json.loads(line)
        except ValueError:  # the empty end; or a writer was killed in it, before it had looked
            continue
        if "id" in plain:
            look = LedgerEntry(plain["id"], plain["experiment"], plain["rows"])
            found.looks.setdefault(look.id, look)
        else:
            found.sets[plain["rows"]] = TestRows.from_json(plain)
    return found


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
