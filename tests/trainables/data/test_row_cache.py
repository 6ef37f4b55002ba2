"""Within a block rows are read once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.data_files import generic, write_csv
from trainables.spec import DataSpec
from trainables.tasks import find_task
from trainables.tasks.row_cache import rows_cached

pytestmark = pytest.mark.unit


def with_rows(path: Path, count: int) -> DataSpec:
    columns = {"text": [f"text {i}" for i in range(count)], "label": [i % 2 for i in range(count)]}
    return generic(write_csv(path, columns))


def rows(options: DataSpec) -> int:
    return sum(file.rows for file in find_task("text_classification").load(options).summary.files)


def test_rows_that_a_check_has_read_are_loaded_from_memory_and_only_within_the_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    relative = with_rows(Path("mine.csv"), 40)
    with rows_cached():
        assert find_task("text_classification").check(relative) == []
        options = with_rows(tmp_path / "mine.csv", 60)  # the same file by its full path, with more rows by now
        assert rows(options) == 40
        assert rows(options.model_copy(update={"drop_empty": True})) == 60  # read in another way, so read anew
    assert rows(options) == 60


def test_without_a_block_every_load_reads(tmp_path: Path) -> None:
    assert rows(with_rows(tmp_path / "mine.csv", 40)) == 40
    assert rows(with_rows(tmp_path / "mine.csv", 60)) == 60
