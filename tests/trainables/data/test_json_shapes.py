"""JSON in the shapes that tools write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.data_files import generic, labels_by_text, texts, unusable
from trainables.tasks import find_task

pytestmark = pytest.mark.unit

ROWS = [{"text": text, "label": ("neg", "pos")[i % 2], "more": i} for i, text in enumerate(texts(40))]
COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}


@pytest.mark.parametrize(
    ("content", "shape"),
    [
        (ROWS, "a list of objects"),
        ({"data": ROWS}, "a list of objects under 'data'"),
        ({"version": "1", "examples": ROWS, "tags": ["a"]}, "a list of objects under 'examples'"),
        (COLUMNS, "a list per column"),
        ({name: {str(i): cell for i, cell in enumerate(cells)} for name, cells in COLUMNS.items()}, "columns by row"),
        ({"columns": list(COLUMNS), "index": [0], "data": [list(row.values()) for row in ROWS]}, "columns and rows"),
        ({str(i): row for i, row in enumerate(ROWS)}, "an object per row number"),
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", ["train.json", "train.jsonl"])
def test_the_shapes_that_tools_write_are_read_and_reported(
    name: str, indent: int | None, content: Any, shape: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(json.dumps(content, indent=indent))
    loaded = find_task("text_classification").load(generic(tmp_path))
    assert labels_by_text(loaded) == {row["text"]: row["label"] for row in ROWS}
    [file] = loaded.summary.files
    assert str(file.shape).startswith(shape)
    assert file.rows == 40


def test_an_object_per_line_may_end_its_lines_in_any_way(tmp_path: Path) -> None:
    for end in ("\n", "\r\n", "\r", "\n\n"):
        (tmp_path / "train.json").write_bytes(end.join(map(json.dumps, ROWS)).encode())
        loaded = find_task("text_classification").load(generic(tmp_path))
        assert loaded.summary.files[0].shape == "an object per line"
        assert len(labels_by_text(loaded)) == 40


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (
            {"train": ROWS, "test": ROWS},
            r"keys 'train' and 'test', of which several hold rows; write one file per split",
        ),
        (
            {"title": "x", "body": "y"},
            r"is an object with the keys 'title' and 'body'; write a list of objects such as",
        ),
        ("only words", 'holds "only words"; write a list of objects such as'),
        ({"text": ["a", "b"], "label": [1]}, "its columns differ in length: text has 2, label has 1"),
        ([["a", 1], ["b", 0]], r'holds \["a", 1\] where an object is expected'),
    ],
)
def test_another_shape_is_refused_with_the_one_that_is_wanted(content: Any, rule: str, tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text(json.dumps(content))
    unusable("data.path", rule, "text_classification", generic(tmp_path))


def test_a_misspelt_column_of_columns_is_reported_with_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text(json.dumps(COLUMNS))
    options = generic(tmp_path).model_copy(update={"label": "lable"})
    unusable("data.label", r"no such column; set data\.label; did you mean label", "text_classification", options)


def test_half_a_character_is_no_text(tmp_path: Path) -> None:
    rows = [*ROWS, {"text": "cut \ud83d", "label": "pos"}]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    unusable(
        "data.text",
        r"a row has half a character .*: line 41 of .*train\.jsonl",
        "text_classification",
        generic(tmp_path),
    )


@pytest.mark.parametrize("name", ["train.json", "train.jsonl"])
def test_json_that_nests_without_end_is_reported(name: str, tmp_path: Path) -> None:
    deep = '{"text": ' + "[" * 100_000 + "]" * 100_000 + "}"
    (tmp_path / name).write_text("\n".join([*map(json.dumps, ROWS[:3]), deep]))
    unusable("data.path", r"line 4 is no JSON \(it nests too deeply", "text_classification", generic(tmp_path))
    (tmp_path / name).write_text(f"[{deep}]")
    unusable("data.path", "nests too deeply", "text_classification", generic(tmp_path))
