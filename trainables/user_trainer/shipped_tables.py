"""Stores the tables behind `datasets.Dataset` as files: each content is written once, and pickles refer to its file.

A table holds the rows of a data set. Its format, its selection (a small table of its own) and its fingerprint are in
the pickle. A loaded table is memory-mapped, and shared within a process.
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

NAME = re.compile(rb"[0-9a-f]{32}\.arrow")  # as `put_table` returns it
ROWS = 1000  # rows per record batch at most, as datasets writes them


def is_table(obj: object) -> bool:
    """True for the table behind a `datasets.Dataset`. Does not import datasets: whoever has a table has done so."""
    loaded = sys.modules.get("datasets.table")
    return loaded is not None and isinstance(obj, loaded.Table)


def put_table(table: Any, files: ShippedFiles) -> str:
    """Writes a table, unless a file with its content exists; returns the name of the file.

    A table that is mapped from files which have not changed since an earlier call is not read.

    Raises:
        OSError: the file cannot be written.
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
    """Memory-maps the table in a file.

    Raises:
        InputError: the file does not exist, or is another account's.
        OSError: it cannot be read.
    """
    return _mapped(str(files.local(name)))


def names_within(pickled: bytes) -> set[str]:
    """The names of the table files that a pickle of `ship` refers to; loads nothing."""
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
    """A hash of the bytes that `_stream` writes: the schema, with the features, and all rows."""
    sink = _Digest()
    _stream(table, sink)  # type: ignore[arg-type]
    return sink.hash.hexdigest()


class _Digest:
    """A file object that only hashes what is written to it."""

    closed = False

    def __init__(self) -> None:
        self.hash = xxhash.xxh3_128()

    def write(self, data: Any) -> int:
        self.hash.update(data)
        return len(data)

    def flush(self) -> None:
        """Does nothing; required of a file."""

    def close(self) -> None:
        """Does nothing; required of a file."""


def _identity(table: Any) -> str | None:
    """A hash of the status of a mapped table's files and of the operations on them; None if a part is in memory."""
    from datasets.table import MemoryMappedTable

    blocks = [block for row in getattr(table, "blocks", [[table]]) for block in row]
    if not all(isinstance(block, MemoryMappedTable) for block in blocks):
        return None
    hashed = xxhash.xxh3_128()
    for block in blocks:
        found = _status(block.path)
        if found is None:  # removed meanwhile, but still mapped
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
