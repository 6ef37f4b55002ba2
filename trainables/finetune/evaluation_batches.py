"""Divides rows into the batches of an evaluation: about as many tokens in each, padding included.

Rows of short texts fill large batches and those of long texts small ones, so each batch costs the device about the same
time and memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class EvaluationBatches(NamedTuple):
    """A rule that divides rows which are sorted by length."""

    tokens: int  # of a batch at most, unless one row has more
    multiple: int = 1  # rows are padded to the longest of their batch, and on to a multiple of this
    length: int | None = None  # to which every row is padded, for models whose scores depend on padding; None: as above
    rows: int | None = None  # of a batch, whatever their tokens; None: as many as the tokens allow

    def of(self, lengths: Sequence[int]) -> list[range]:
        """Returns the rows of each batch, the longest rows first: if the device has no memory for them, it shows then.

        Args:
            lengths: tokens of each row, in ascending order.
        """
        if self.rows is not None:
            starts = range(0, len(lengths), self.rows)
            return [range(start, min(start + self.rows, len(lengths))) for start in reversed(starts)]
        batches, end = [], len(lengths)
        while end:
            start = max(0, end - max(1, self.tokens // self._padded(lengths[end - 1])))
            batches.append(range(start, end))
            end = start
        return batches

    def tokens_of(self, batch: range, lengths: Sequence[int]) -> int:
        """Returns the tokens of a batch, padding included."""
        return len(batch) * self._padded(lengths[batch[-1]])

    def _padded(self, length: int) -> int:
        longest = length if self.length is None else self.length
        return -(-longest // self.multiple) * self.multiple
