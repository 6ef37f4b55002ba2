"""Tests the summary of the data as lines of text, in `tunefleet validate` and before the first trial."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.data_files import write_csv
from tests.support.page_outcomes import DATA, everything
from trainables.tasks.summary import DataSummary, FileRead, SplitSummary
from tuning.cli import main
from tuning.report.data_summary import data_lines, file_in_words, smallest_max_length, tokens_in_words
from tuning.report.results import results_json
from tuning.spec.loading import load_spec

pytestmark = pytest.mark.unit


def test_the_block_tells_files_splits_tokens_what_was_left_out_and_what_is_suspicious() -> None:
    lines = list(data_lines(DATA, "f1"))
    assert lines[0] == "data: reviews.csv (train): 10,090 rows; cp1252, separator semicolon, quoted"
    assert lines[1].startswith("  train      7,000 rows: neg 6,300, ")
    assert lines[2].strip() == "median 180 tokens, longest 2,100; 3,500 rows cut (50 %), 42 % of tokens lost"
    assert "  left out: 90 rows with a text that is a duplicate" in lines
    assert any(line.startswith("  f1 is that of the class ") for line in lines)
    assert not any("f1 is that" in line for line in data_lines(DATA, "accuracy"))  # nobody has asked
    assert "  tokenizer: 30,522 tokens, at most 128 per row; right padding with [PAD] (0)" in lines
    assert [line for line in lines if line.startswith("  WARNING 4 texts stand in the data with more than one label")]


def test_a_file_is_reported_with_all_that_was_found_out_about_it() -> None:
    plain = FileRead(path="a.parquet", split="test", rows=5)
    assert file_in_words(plain) == "a.parquet (test): 5 rows"
    long = FileRead(path="a.tsv", split="train", rows=5, encoding="utf-8", separator="\t", quoted=False, lines=9)
    assert file_in_words(long) == "a.tsv (train): 5 rows on 9 lines; utf-8, separator tab, without quoting"
    shaped = FileRead(path="a.json", split="train", rows=5, encoding="utf-8", shape="one list below data")
    assert file_in_words(shaped) == "a.json (train): 5 rows; utf-8, one list below data"


def test_one_row_is_no_rows_and_paths_are_those_that_a_person_would_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    around = str(tmp_path / "here" / ".." / "a.csv")
    one = FileRead(path=around, split="train", rows=1)
    split = SplitSummary(rows=1, classes={"a": 1})
    summary = DataSummary(source=around, files=(one,), splits={"train": split, "validation": split, "test": split})
    lines = list(data_lines(summary, "accuracy"))
    assert lines[0] == f"data: {Path('..') / 'a.csv'} (train): 1 row"
    assert lines[1] == "  train      1 row: a 1"
    cut = DATA.tokens["train"].model_copy(update={"cut_rows": 1})
    assert "; 1 row cut (" in tokens_in_words(cut, 7000)


def test_no_line_is_wider_than_a_terminal_and_files_below_the_source_are_called_as_there(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("")
    file = FileRead(path=str(tmp_path / "train.csv"), split="train", rows=5)
    split = SplitSummary(rows=5, classes={"a": 2, "b": 3})
    splits = dict.fromkeys(("train", "validation", "test"), split)
    summary = DataSummary(
        source=str(tmp_path), files=(file,), splits=splits, duplicates=2, unlabelled={"test": 9}, instead="train"
    )
    lines = list(data_lines(summary, "accuracy"))
    assert lines[1] == "  train.csv (train): 5 rows"
    assert [line for line in lines if line.startswith("  left out")] == [
        "  left out: 2 rows with a text that is a duplicate",
        "  left out: 9 rows of test without labels: test rows are from train",
    ]
    assert sum(line.startswith("  WARNING ") for line in lines) < len(lines)
    assert max(len(line) for line in lines[1:]) <= 118


def test_figures_of_a_part_of_a_split_say_so() -> None:
    part = DATA.tokens["train"].model_copy(update={"rows": 2000, "cut_rows": 500})
    assert tokens_in_words(part, 7000) == (
        "median 180 tokens, longest 2,100 (of its first 2,000 rows); 500 rows cut (25 %), 42 % of tokens lost"
    )


def test_many_classes_and_a_range_of_numbers_take_one_line() -> None:
    many = SplitSummary(rows=300, classes={f"c{i}": 10 for i in range(30)})
    numbers = SplitSummary(rows=90, value_range=(0.0, 2.5, 5.0))
    splits = {"train": many, "validation": many, "test": numbers}
    lines = list(data_lines(DataSummary(source="a", splits=splits), "accuracy"))
    assert "c7 10, and 22 more classes" in lines[1]
    assert lines[3].endswith("90 rows: 0 to 5, mean 2.5")


def test_results_as_json_hold_the_data_once_with_the_warnings() -> None:
    plain = json.loads(results_json(everything()))
    assert plain["data"]["splits"]["train"]["classes"]["neg"] == 6300
    assert any(one.startswith("4 texts stand in the data") for one in plain["data"]["warnings"])
    assert DataSummary.model_validate({k: v for k, v in plain["data"].items() if k != "warnings"}) == DATA
    assert all("data" not in study for study in plain["studies"])


def test_validate_tells_what_local_data_come_to_without_a_run(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    texts = [f"a plot of {i} good scenes " * 40 for i in range(300)]
    labels = ["neg" if i % 3 else "pos" for i in range(300)]
    # One contradiction, and three texts that are there already.
    write_csv(tmp_path / "mine.csv", {"text": texts + texts[:3], "label": [*labels, "neg", *labels[1:3]]})
    words = ["task=text_classification", "data.path=mine.csv", "data.text=text", "data.label=label", "data.subset={}"]
    assert main(["validate", "quickstart", f"model={tiny_model}", "data.source=null", *words]) == 0
    output = capsys.readouterr().out
    assert "data: mine.csv (train): 303 rows; utf-8, separator comma, quoted" in output
    assert str(tmp_path / "mine.csv") not in output
    assert "left out: 3 rows with a text that is a duplicate" in output
    assert "WARNING 1 text stands in the data with more than one label" in output
    assert "tokenizer: " in output
    assert "rows of more than" in output  # forty sentences are longer than the preset's rows
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]


def test_rows_are_looked_at_as_the_shortest_trials_cut_them() -> None:
    assert smallest_max_length(load_spec("quickstart", ["data.max_length=64"])) == 64
    searched = ["data.max_length=null", "space.data.max_length={choice: [96, 32]}", "strategies=[{kind: grid}]"]
    assert smallest_max_length(load_spec("quickstart", searched)) == 32
