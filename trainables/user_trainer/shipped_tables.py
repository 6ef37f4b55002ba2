"""The tables behind `datasets.Dataset`: each is written once per content, and travels as the name of its file.

A table is where a data set has its rows; its format, its selection (a small table of its own) and its fingerprint stay
in the pickle of the data set. What is loaded is mapped into memory, and is one object per process.
"""

from __future__ import annotations

import functools
import os
import pickle
import re
import sys
from typing import TYPE_CHECKING, Any, BinaryIO

import xxhash

from trainables.user_trainer.shipped_files import ShippedFiles

if TYPE_CHECKING:
    import pyarrow as pa

NAME = re.compile(rb"[0-9a-f]{32}\.arrow")  # as `put_table` gives it
ROWS = 1000  # of a record batch at most, as datasets writes them


def is_table(obj: object) -> bool:
    """True for the table behind a `datasets.Dataset`. Imports nothing: who has one has imported datasets."""
    loaded = sys.modules.get("datasets.table")
    return loaded is not None and isinstance(obj, loaded.Table)


def put_table(table: Any, files: ShippedFiles) -> str:
    """Write a table, unless a file of its content is there; returns the name of the file.

    A table that is mapped from files that are as they were at an earlier call is not even read.

    Raises:
        OSError: it cannot be written.
    """
    known = None if (identity := _identity(table)) is None else f"known-{identity}"
    if known is not None and files.has(known):
        name = files.local(known).read_text()
        if files.renew(name):
            return name
    name = f"{_digest(table.table)}.arrow"
    if not files.renew(name):
        files.write(name, lambda file: _stream(table.table, file))
    if known is not None:
        files.write(known, lambda file: _say(name, file))
    return name


def load_table(name: str, files: ShippedFiles) -> Any:
    """The table in a file, mapped into memory.

    Raises:
        InputError, OSError: it cannot be had.
    """
    return _mapped(str(files.local(name)))


def names_within(pickled: bytes) -> set[str]:
    """The files of the tables in what `ship` has pickled, of which nothing is loaded."""
    return {name.decode() for name in NAME.findall(pickled)}


@functools.cache
def _mapped(path: str) -> Any:
    from datasets.table import MemoryMappedTable

    return MemoryMappedTable.from_file(path)


def _stream(table: pa.Table, file: BinaryIO) -> None:
    import pyarrow as pa

    with pa.ipc.new_stream(pa.PythonFile(file, mode="w"), table.schema) as writer:
        writer.write_table(table, max_chunksize=ROWS)


def _digest(table: pa.Table) -> str:
    """A hash of the bytes that `_stream` writes: of the schema with the features in it, and of every row."""
    sink = _Digest()
    _stream(table, sink)  # type: ignore[arg-type]
    return sink.hash.hexdigest()


class _Digest:
    """A file that keeps only the hash of what is written to it."""

    closed = False

    def __init__(self) -> None:
        self.hash = xxhash.xxh3_128()

    def write(self, data: Any) -> int:
        self.hash.update(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """There is nothing to close."""


def _identity(table: Any) -> str | None:
    """A hash of the files that a table is mapped from and of what was done to them; None if a part is in memory."""
    from datasets.table import MemoryMappedTable

    blocks = [block for row in getattr(table, "blocks", [[table]]) for block in row]
    if not all(isinstance(block, MemoryMappedTable) for block in blocks):
        return None
    hashed = xxhash.xxh3_128()
    for block in blocks:
        found = _status(block.path)
        if found is None:  # removed since, but still mapped
            return None
        hashed.update(repr((block.path, found, block.num_rows)).encode())
        hashed.update(pickle.dumps(block.replays))
    hashed.update(table.schema.serialize())
    return hashed.hexdigest()


def _status(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _say(text: str, file: BinaryIO) -> None:
    file.write(text.encode())
