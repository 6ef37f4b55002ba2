"""The ledger of test-set evaluations: which test rows models were evaluated on, over all experiments of one account.

    STORAGE/.test-looks-UID.jsonl     a line per evaluation, and one per set of rows; append-only

The ledger is a file beside the run folders, not a table of the study store: a store is removed with its experiment, and
the evaluations must not be. A line is appended in one write under a lock, so several processes may write. A line that a
kill cut off counts as not written; its score was not computed either, since the line is written first. Rows are stored
as hashes (`trainables.data.row_hashes`), so subsets and other orders of the same rows are recognised. The file of
another account is never read.
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

MAX_HASHES = 20_000  # hashes kept of a set of rows; the smallest of a larger set, which are a random sample of it


@dataclass(frozen=True)
class TestRows:
    """A set of rows as hashes: all of them, or the smallest ones of a large set."""

    count: int
    hashes: Hashes  # sorted; at most `count` of them

    __test__ = False  # not a test class, whatever pytest thinks of its name

    @classmethod
    def of(cls, hashes: Hashes) -> TestRows:
        """Returns the set with at most MAX_HASHES hashes, for a record."""
        return cls(len(hashes), hashes[:MAX_HASHES])

    @classmethod
    def whole(cls, hashes: Hashes) -> TestRows:
        """Returns the set with all hashes, for a set that is not recorded."""
        return cls(len(hashes), hashes)

    def shared_with(self, others: Iterable[TestRows]) -> int:
        """Returns how many of these rows are in any other set; an estimate if a set is a sample."""
        seen, known = np.zeros(len(self.hashes), dtype=bool), len(self.hashes)
        for other in others:
            seen |= np.isin(self.hashes, other.hashes, assume_unique=True)
            if other.count > len(other.hashes):  # nothing is known of its larger hashes
                known = min(known, int(np.searchsorted(self.hashes, other.hashes[-1], side="right")))
        return 0 if not known else round(int(seen[:known].sum()) * self.count / known)

    def to_json(self) -> dict[str, Any]:
        """Returns the set as JSON; `from_json` reads it back."""
        packed = zlib.compress(self.hashes.astype(KIND).tobytes(), 1)
        return {"count": self.count, "hashes": base64.b64encode(packed).decode()}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> TestRows:
        """Reads a set of rows from JSON.

        Raises:
            StoreError: the record is damaged.
        """
        try:
            content = zlib.decompress(base64.b64decode(plain["hashes"], validate=True))
            return cls(int(plain["count"]), np.frombuffer(content, dtype=KIND))
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            raise StoreError(f"a record of test rows is damaged: {error!r}") from error

    @cached_property
    def digest(self) -> str:
        """The fingerprint: 32 hex digits, equal for equal sets."""
        return hashlib.blake2b(self.hashes.astype(KIND).tobytes(), digest_size=16).hexdigest()


class LedgerEntry(NamedTuple):
    """One evaluation of a model on its test rows."""

    id: str  # of the model; the same when the evaluation is recorded again
    experiment: str
    rows: str  # digest of the set of rows


class LedgerContent(NamedTuple):
    """The content of a ledger."""

    entries: dict[str, LedgerEntry]  # by id
    sets: dict[str, TestRows]  # by digest


class EvaluationLedger:
    """The ledger of this account for the experiments whose run folders are in `storage`."""

    def __init__(self, storage: Path) -> None:
        self.file = storage / f".test-looks-{os.getuid()}.jsonl"

    def read(self) -> LedgerContent:
        """Returns the content of the ledger, empty if there is no file.

        Raises:
            StoreError: the file is another account's, or cannot be read.
        """
        try:
            with self._usable("read"), os.fdopen(self._open(os.O_RDONLY), "rb") as file:
                return _records(file.read())
        except FileNotFoundError:
            return LedgerContent({}, {})

    def record(self, experiment: str, rows: TestRows, ids: Sequence[str]) -> None:
        """Records that models are evaluated on `rows`, durably; entries that exist are not repeated.

        Args:
            experiment: its name.
            rows: the test rows.
            ids: one per model, the same whenever its evaluation is recorded again.

        Raises:
            StoreError: the file is another account's, or cannot be written.
        """
        with self._usable("written"):
            make_parents(self.file)
            new = not self.file.exists()
            with os.fdopen(self._open(os.O_RDWR | os.O_CREAT | os.O_APPEND), "r+b", buffering=0) as file:
                with contextlib.suppress(OSError):  # a disk without locks: each record is still one appended write
                    fcntl.flock(file, fcntl.LOCK_EX)
                before = file.read()
                known = _records(before)
                lines = [] if rows.digest in known.sets else [{"rows": rows.digest, **rows.to_json()}]
                lines += [
                    {"id": id_, "experiment": experiment, "rows": rows.digest}
                    for id_ in ids
                    if id_ not in known.entries
                ]
                if not lines:
                    return
                text = "".join(json.dumps(line) + "\n" for line in lines)
                if before and not before.endswith(b"\n"):  # keeps a line that a kill cut off apart from the new one
                    text = "\n" + text
                _write_all(file.fileno(), text.encode())
                os.fsync(file.fileno())
            if new:
                sync(self.file.parent)

    def find_overlap(
        self, test: TestRows, trained: TestRows | None = None, own: Iterable[str] = ()
    ) -> EarlierEvaluations:
        """Returns how an experiment's rows overlap with the test rows of other experiments.

        Args:
            test: its test rows.
            trained: its training and validation rows; None if unknown.
            own: ids of its own entries. An experiment of the same name that was removed counts as another one.

        Raises:
            StoreError: see `read`.
        """
        ours = set(own)
        entries, sets = self.read()
        others = [entry for entry in entries.values() if entry.id not in ours and entry.rows in sets]
        trained = trained or TestRows(0, test.hashes[:0])
        in_test = {digest for digest in {entry.rows for entry in others} if test.shared_with([sets[digest]])}
        in_training = {digest for digest in {entry.rows for entry in others} if trained.shared_with([sets[digest]])}
        return EarlierEvaluations(
            rows=test.count,
            models=sum(entry.rows in in_test for entry in others),
            seen=test.shared_with(sets[digest] for digest in in_test),
            experiments=_experiments(others, in_test),
            train_rows=trained.count,
            trained=trained.shared_with(sets[digest] for digest in in_training),
            trained_from=_experiments(others, in_training),
        )

    def _open(self, flags: int) -> int:
        """Opens the file and returns its descriptor. Links and files of other accounts are refused."""
        descriptor = os.open(self.file, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        if (owner := os.fstat(descriptor).st_uid) != os.getuid() and owner != self._own():
            os.close(descriptor)
            raise StoreError(
                f"{self.file}: belongs to another account (uid {owner}), and is not read. Move it away, or choose "
                "another place (cluster.storage)"
            )
        return descriptor

    def _own(self) -> int:
        """Returns the owner that this disk gives our files: a network disk may map root to another account."""
        with TemporaryFile(dir=self.file.parent) as file:
            return os.fstat(file.fileno()).st_uid

    @contextlib.contextmanager
    def _usable(self, action: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            step = "It records which models were evaluated on test; without it no test score is shown."
            raise StoreError(f"{self.file}: cannot be {action}: {error.strerror}. {step}") from error


def _experiments(entries: Iterable[LedgerEntry], sets: set[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(entry.experiment for entry in entries if entry.rows in sets))


def _records(content: bytes) -> LedgerContent:
    found = LedgerContent({}, {})
    for line in content.split(b"\n"):
        try:
            plain = json.loads(line)
        except ValueError:  # the empty end, or a line that a kill cut off
            continue
        if "id" in plain:
            entry = LedgerEntry(plain["id"], plain["experiment"], plain["rows"])
            found.entries.setdefault(entry.id, entry)
        else:
            found.sets[plain["rows"]] = TestRows.from_json(plain)
    return found


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
