"""Rows as numbers of 64 bits: equal texts, equal numbers, whatever the label, the order, the options or the machine.

By them the study store knows test rows again that another experiment has looked at. No text can be read from one; that
a text which is known already stands among the rows can be told.
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
    """Of an experiment's rows; sorted, each once."""

    test: Hashes
    trained: Hashes  # of training and validation rows: the search has seen both


def hashes_of(texts: Iterable[tuple[str, ...]]) -> Hashes:
    """The hash of each row, of one or two texts; sorted, each once."""
    digests = (
        hashlib.blake2b("\0".join(text).encode("utf-8", "surrogatepass"), digest_size=KIND.itemsize).digest()
        for text in texts
    )
    return np.unique(np.frombuffer(b"".join(digests), dtype=KIND))


def row_hashes(rows: TaskData) -> RowHashes:
    """The hashes of all three splits."""
    trained = np.concatenate([hashes_of(_texts(split)) for split in (rows.train, rows.validation)])
    return RowHashes(hashes_of(_texts(rows.test)), np.unique(trained))


def _texts(split: Any) -> Iterable[tuple[str, ...]]:
    columns = [split[name][:] for name in ("text", "text_pair") if name in split.column_names]
    return zip(*columns, strict=True)
