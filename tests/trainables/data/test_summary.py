"""The summary of a task's data: files, rows and classes, and what was left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.data_files import generic, texts, two_columns, unusable, write_csv
from trainables.spec import DataSpec
from trainables.tasks import find_task
from trainables.tasks.summary import DataSummary
from tuning.report.data_summary import left_out
from tuning.testing.task_data import local_copy

pytestmark = pytest.mark.unit


def summary(options: DataSpec, task: str = "text_classification") -> DataSummary:
    return find_task(task).load(options).summary


def test_files_and_splits_are_reported(tmp_path: Path) -> None:
    options = two_columns(tmp_path, label=["no", "yes", "yes", "yes"] * 10)
    write_csv(tmp_path / "dev.csv", {"text": texts(4, 100), "label": ["no", "yes"] * 2})
    (tmp_path / "README.md").write_text("")
    (tmp_path / "more.jsonl").write_text("")
    told = summary(options)
    assert told.source == str(tmp_path)
    assert [(Path(f.path).name, f.split, f.rows, f.encoding) for f in told.files] == [
        ("train.csv", "train", 40, "utf-8"),
        ("dev.csv", "validation", 4, "utf-8"),
    ]
    assert told.ignored == ("more.jsonl",)
    assert {name: split.classes for name, split in told.splits.items()} == {
        "train": {"no": 8, "yes": 24},
        "validation": {"no": 2, "yes": 2},
        "test": {"no": 2, "yes": 6},
    }
    assert DataSummary.model_validate_json(told.model_dump_json()) == told


def test_a_split_without_labels_is_reported_with_where_the_test_rows_are_from(tmp_path: Path) -> None:
    options = two_columns(tmp_path, label=["no", "yes"] * 20)
    assert summary(options).unlabelled == {}
    write_csv(tmp_path / "test.csv", {"text": texts(9, 100)})  # as a competition publishes it
    told = summary(options)
    assert (told.unlabelled, told.instead) == ({"test": 9}, "train")
    assert "9 rows of test without labels: test rows are from train" in left_out(told)
    write_csv(tmp_path / "dev.csv", {"text": texts(4, 200), "label": ["no", "yes"] * 2})
    told = summary(options)
    assert (told.unlabelled, told.instead) == ({"test": 9}, "validation")
    assert told.splits["test"].rows == 4


def test_the_range_of_a_regressions_numbers_is_reported(tmp_path: Path) -> None:
    told = summary(two_columns(tmp_path, label=[0.0, 1.0, 2.0, 5.0] * 10), "text_regression")
    assert told.splits["train"].value_range is not None
    low, mean, high = told.splits["train"].value_range
    assert (low, high) == (0, 5)
    assert 1 < mean < 3
    assert told.positive is None


def test_duplicates_and_contradictions_are_counted_over_all_splits(tmp_path: Path) -> None:
    words = texts(60)
    write_csv(
        tmp_path / "train.csv",
        {
            "text": [*words, *words[:10], words[0], *texts(4, 100)],
            "label": [*(i % 2 for i in range(60)), *(i % 2 for i in range(6)), 1, 0, 1, 0, 1, 0, 0, 0, 0],
        },
    )
    write_csv(tmp_path / "test.csv", {"text": texts(4, 100), "label": [1, 0, 1, 0]})
    told = summary(generic(tmp_path))
    assert told.duplicates == 10 + 1 + 4
    # Texts 6 to 9 stand twice with two labels, text 0 three times; two texts of the test are otherwise in training.
    assert told.contradictions == 4 + 1 + 2


def test_texts_that_are_numbers_are_counted(tmp_path: Path) -> None:
    words = [*map(str, range(30)), "-1.5", " 7 ", *texts(8)]
    told = summary(two_columns(tmp_path, text=words))
    assert sum(split.numeric_texts for split in told.splits.values()) == 32


def test_a_contradictory_text_keeps_its_first_label(tmp_path: Path) -> None:
    words = texts(40)
    options = two_columns(tmp_path, text=[*words, *words], label=[*[0, 1] * 20, *[1, 0] * 20])
    told = summary(options)
    assert (told.duplicates, told.contradictions) == (40, 40)
    kept = find_task("imdb").load(options).train
    expected = {text: i % 2 for i, text in enumerate(words)}
    assert all(expected[text] == label for text, label in zip(kept["text"], kept["label"], strict=True))


def test_empty_texts_are_refused_with_their_lines_or_dropped_and_counted(tmp_path: Path) -> None:
    words = ["", "  ", *texts(38), " "]
    options = two_columns(tmp_path, text=words, label=[0, 1] * 20 + [0])
    rule = r"3 rows have no text: lines 2, 3 and 42 of .*train\.csv; .*data\.drop_empty: true"
    unusable("data.text", rule, "imdb", options)
    told = summary(options.model_copy(update={"drop_empty": True}))
    assert (told.empty, sum(split.rows for split in told.splits.values())) == (3, 38)


def test_a_pair_is_empty_when_both_are_or_one_is_missing(tmp_path: Path) -> None:
    task = find_task("rte")
    options = local_copy(task, tmp_path / "data")
    from tuning.testing.task_data import columns, write_columns

    rows = columns(task, "train", 60, 0)
    first, second = task.data.text or ()
    rows[first][:3] = ["", "", "only one"]
    rows[second][:3] = ["", None, ""]
    write_columns(tmp_path / "data" / "train.parquet", rows)
    unusable("data.text", "2 rows have no text: rows 1 and 2 of", "rte", options)
    assert summary(options.model_copy(update={"drop_empty": True}), "rte").empty == 2


def test_rows_of_shards_are_reported_by_their_own_file(tmp_path: Path) -> None:
    for shard in range(2):
        rows = {"text": texts(20, 20 * shard), "label": ["a", "b"] * 10}
        if shard:
            rows["text"][7] = None
        write_csv(tmp_path / f"train-{shard:05}-of-00002.csv", rows)
    rule = r"a row has no text: line 9 of .*train-00001-of-00002\.csv"
    unusable("data.text", rule, "text_classification", generic(tmp_path))


def test_rows_without_words_in_a_hidden_test_do_no_harm(tmp_path: Path) -> None:
    options = two_columns(tmp_path)
    write_csv(tmp_path / "test.csv", {"text": ["a", None], "label": [-1, -1]})
    assert summary(options).splits["train"].rows > 0
