"""The benchmark of a large data set's start measures what it says: rows of that size, and what was written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets import Dataset

from benchmarks.data_start import RESULT, TOKENS, make

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("rows", [1, 1000, 2500])
def test_a_data_set_has_the_size_that_was_asked_for(rows: int, tmp_path: Path) -> None:
    make(tmp_path / "data.arrow", rows * 8 * TOKENS)
    data = Dataset.from_file(str(tmp_path / "data.arrow"))
    assert len(data) == rows
    assert all(len(data[place]["input_ids"]) == TOKENS for place in (0, rows - 1))


def test_in_the_committed_result_only_the_first_search_of_each_size_writes() -> None:
    for size, (first, *others) in json.loads(RESULT.read_text())["megabytes"].items():
        assert first["written_mb"] == pytest.approx(float(size), rel=0.05)
        assert [search["written_mb"] for search in others] == [0.0, 0.0]
