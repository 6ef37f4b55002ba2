"""A bucket whose writer is cut off: by Ctrl-C, a kill, or a network that goes, at any of the things that it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyarrow.fs import FileSystem

CHANGES = ("open_output_stream", "copy_file", "delete_file")


class CutOff(Exception):
    """Raised when the writer is gone."""


class CutOffBucket:
    """A file system that makes `survived` changes, half of the next one, and nothing after it.

    Attributes:
        survived: changes that it does in all.
        done: changes so far.
    """

    def __init__(self, filesystem: FileSystem, survived: int) -> None:
        self._filesystem, self.survived = filesystem, survived
        self.done = 0

    def __getattr__(self, name: str) -> Any:
        return self._counted(name) if name in CHANGES else getattr(self._filesystem, name)

    def _counted(self, name: str) -> Callable[..., Any]:
        def change(*arguments: Any) -> Any:
            self.done += 1
            if self.done <= self.survived:
                return getattr(self._filesystem, name)(*arguments)
            if self.done == self.survived + 1 and name == "open_output_stream":
                return HalfStream(self._filesystem.open_output_stream(*arguments))
            raise CutOff(name)

        return change


class HalfStream:
    """Writes half of the data, as an object: some clients end an interrupted upload so."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __enter__(self) -> HalfStream:
        return self

    def write(self, data: bytes) -> None:
        self._stream.write(bytes(data)[: len(data) // 2])
        raise CutOff("write")

    def __exit__(self, *error: object) -> None:
        self._stream.close()
