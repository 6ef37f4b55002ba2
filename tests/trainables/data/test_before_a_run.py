"""Local rows are checked before a run: all mistakes in one message, and a note about what was not checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.data_files import generic, texts, two_columns, unusable, write_csv
from tests.support.specs import GOOD
from trainables.spec import DataSpec, Subset
from trainables.tasks import find_task
from tuning.cli import main

pytestmark = pytest.mark.unit


def problems(options: DataSpec, task: str = "text_classification") -> list[tuple[str, str]]:
    return find_task(task).check(options)


def test_rows_subsets_and_labels_are_reported_at_once(tmp_path: Path) -> None:
    words: list[Any] = texts(40)
    words[3] = words[9] = None
    options = two_columns(tmp_path, text=words, label=["cat", "dog"] * 19 + [None, "dog"])
    write_csv(tmp_path / "validation.csv", {"text": texts(4, 100), "label": ["cat", "dgo", "dog", "cow"]})
    write_csv(tmp_path / "test.csv", {"text": texts(4, 200), "label": ["cat", "dog"] * 2})
    found = problems(options.model_copy(update={"positive": "dgo", "subset": Subset(train=100, test=5)}))
    assert [path for path, _ in found] == ["data.text", "data.label", "data.label", "data.label", "data.positive"]
    for (_, message), words_of_it in zip(
        found,
        (
            ("2 rows have no text: lines 5 and 11 of",),
            ("a row has no label: line 40 of",),
            ("'dgo'", "line 3 of", "did you mean dog?"),
            ("'cow'", "line 5 of"),
            ("'dgo'", "did you mean dog?"),
        ),
        strict=True,
    ):
        assert all(part in message for part in words_of_it), message


def test_what_check_reports_is_reported_by_a_run_too(tmp_path: Path) -> None:
    """Only a run reads the rows of a Hub data set."""
    options = two_columns(tmp_path).model_copy(update={"subset": Subset(train=100, validation=80)})
    told = "100: the train split has 28 rows; .* Also: data.subset.validation: 80: the validation split has 4 rows"
    unusable("data.subset.train", told, "text_classification", options)


def test_every_subset_that_is_too_large_is_reported(tmp_path: Path) -> None:
    options = two_columns(tmp_path).model_copy(update={"subset": Subset(train=100, validation=80, test=8)})
    assert problems(options) == [
        ("data.subset.train", "100: the train split has 28 rows; ask for fewer, or null for all"),
        ("data.subset.validation", "80: the validation split has 4 rows; ask for fewer, or null for all"),
    ]


def test_every_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_bytes("text,label\ncaf\u00e9,1\n".encode("cp1252"))
    (tmp_path / "test.jsonl").write_text('{"text": \n')
    found = problems(generic(tmp_path))
    assert [path for path, _ in found] == ["data.path", "data.path"]
    assert "cp1252" in found[0][1]
    assert "line 1 is no JSON" in found[1][1]


def test_a_missing_column_is_reported_once_with_the_number_of_files(tmp_path: Path) -> None:
    options = two_columns(tmp_path)
    write_csv(tmp_path / "test.csv", {"text": texts(4, 100), "label": [0, 1, 0, 1]})
    found = problems(options.model_copy(update={"text": ("words",), "label": "lable"}))
    assert [path for path, _ in found] == ["data.text", "data.label"]
    assert "(and 1 more) has no such column" in found[0][1]


def test_classes_with_too_few_rows_are_reported_together(tmp_path: Path) -> None:
    options = two_columns(tmp_path, label=["a", "b"] * 18 + ["one", "two", "three", "four"])
    [(path, message)] = problems(options)
    assert path == "data.label"
    assert "'four': has 1 row left to cut from" in message
    assert "(so have one, three and two)" in message


def test_rows_that_repeat_each_other_are_reported_with_what_they_leave(tmp_path: Path) -> None:
    options = two_columns(tmp_path, text=texts(2) * 20)
    assert all("(38 rows are left out, whose text stands there already)" in message for _, message in problems(options))
    assert problems(options)


def test_no_row_with_a_text_is_reported_as_that(tmp_path: Path) -> None:
    options = two_columns(tmp_path, text=[None] * 40).model_copy(update={"drop_empty": True})
    assert problems(options) == [
        ("data.train", f"'{tmp_path}/train.csv': has no row with a text; choose another column")
    ]


def test_a_free_text_column_as_label_is_reported_shortly(tmp_path: Path) -> None:
    [*found] = problems(two_columns(tmp_path, label=texts(40, 500)))
    assert {path for path, _ in found} == {"data.label", "data.test_fraction"}
    assert all(len(message) < 400 for _, message in found)


def test_validate_names_them_all_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "rows.csv", {"text": texts(300), "label": [i / 7 for i in range(300)]})
    spec = {**GOOD, "task": "text_classification", "data": {"path": "rows.csv", "text": ["text"], "label": "label"}}
    (tmp_path / "spec.yaml").write_text(json.dumps({**spec, "trainable": "finetune"}))
    assert main(["validate", "spec.yaml", "data.subset.train=5000"]) != 0
    told = capsys.readouterr().err
    assert "distinct numbers with fractions" in told
    assert "task=text_regression" in told
    assert main(["validate", "spec.yaml", "task=text_regression", "data.subset.train=5000", "epochz=1"]) != 0
    told = capsys.readouterr().err
    assert "the train split has 210 rows" in told
    assert "did you mean epochs?" in told


def test_reviews_are_counted_where_more_are_asked_for_than_there_surely_are() -> None:
    options = DataSpec(subset=Subset(validation=5000))
    assert problems(options, "reviews") == [
        ("data.subset.validation", "5000: the validation split has 853 rows; ask for fewer, or null for all")
    ]
    assert problems(DataSpec(subset=Subset(train=5904)), "reviews") == []


def test_of_large_files_the_beginning_is_read_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    row = json.dumps({"text": "word " * 20_000, "label": "a"}) + "\n"
    with path.open("w") as file:
        file.write(json.dumps({"text": "", "label": "a"}) + "\n" + json.dumps({"text": "b", "label": None}) + "\n")
        file.writelines(row for _ in range(2200))
        file.write("no JSON at all\n")
    try:
        options = generic(path)
        found, told = problems(options), find_task("text_classification").unchecked(options)
    finally:
        path.unlink()
    assert [message.partition(":")[0] for _, message in found] == ["None", "None"]
    assert told is not None
    assert "the first 50 MB of each were looked at" in told


def test_small_files_are_read_whole(tmp_path: Path) -> None:
    assert find_task("imdb").unchecked(two_columns(tmp_path)) is None
    assert find_task("imdb").unchecked(DataSpec()) is None
