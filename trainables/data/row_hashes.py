"""64-bit hashes of rows: equal texts have equal hashes, whatever the label, order, options or machine.

The study store uses them to recognise test rows that another experiment has evaluated. A hash does not reveal its text,
but it shows whether a known text is among the rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from trainables.tasks import TaskData

Hashes = npt.NDArray[np.uint64]
KIND = np.dtype("<u8")


class RowHashes(NamedTuple):
    """The hashes of an experiment's rows; sorted and distinct."""

    test: Hashes
    trained: Hashes  # of training and validation rows: the search uses both


def hashes_of(texts: Iterable[tuple[str, ...]]) -> Hashes:
    """Hashes rows of one or two texts; returns the distinct hashes, sorted."""
    digests = (
        hashlib.blake2b("\0".join(text).encode("utf-8", "surrogatepass"), digest_size=KIND.itemsize).digest()
        for text in texts
    )
    return np.unique(np.frombuffer(b"".join(digests), dtype=KIND))


def row_hashes(rows: TaskData) -> RowHashes:
    """Hashes the rows of all three splits."""
    trained = np.concatenate([hashes_of(_texts(split)) for split in (rows.train, rows.validation)])
    return RowHashes(hashes_of(_texts(rows.test)), np.unique(trained))


def _texts(split: Any) -> Iterable[tuple[str, ...]]:
    columns = [split[name][:] for name in ("text", "text_pair") if name in split.column_names]
    return zip(*columns, strict=True)
