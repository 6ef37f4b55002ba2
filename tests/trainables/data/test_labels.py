"""Labels of every file format become classes, and one of two classes is the positive one."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.support.data_files import generic, labels_by_text, read_as, texts, two_columns, unusable, write_parquet
from trainables.spec import DataSpec
from trainables.tasks import find_task
from tuning.testing.task_data import write_columns

pytestmark = pytest.mark.unit


def classes(options: DataSpec) -> tuple[str, ...]:
    return find_task("text_classification").load(options).label_names


def csv(folder: Path, *labels: str, rows: int = 60) -> DataSpec:
    """Writes a CSV with these labels in turn."""
    lines = [f"{text},{labels[i % len(labels)]}" for i, text in enumerate(texts(rows))]
    (folder / "train.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    return generic(folder)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("0", "1"), ("0", "1")),
        (("10", "2", "1"), ("1", "2", "10")),
        (("-1", "0", "1"), ("-1", "0", "1")),
        (("-10", "-9"), ("-10", "-9")),
        (("01", "1"), ("01", "1")),
        (("01", "02", "10"), ("01", "02", "10")),
        (("1", "2", "ten"), ("1", "2", "ten")),
        (("10", "9", "x"), ("10", "9", "x")),
        (("1.0", "0.0"), ("0", "1")),  # a column of floats, as pandas writes it
        (("1.0", "1", "0"), ("0", "1", "1.0")),
        (("neg", "neg ", "NA", "pos"), ("NA", "neg", "neg ", "pos")),
        (("Positive", "positive"), ("Positive", "positive")),
        (("12345678901234567890", "3"), ("3", "12345678901234567890")),
        (("1" * 5000, "3"), ("1" * 5000, "3")),  # too long for a number
        (("1.5", "2.5", "3.0"), ("1.5", "2.5", "3.0")),
        (("e\u0301", "\u00e9"), ("e\u0301", "\u00e9")),  # two spellings of one letter: told, not merged
    ],
)
def test_a_label_is_a_text_unless_all_are_plain_numbers(
    labels: tuple[str, ...], expected: tuple[str, ...], tmp_path: Path
) -> None:
    options = csv(tmp_path, *labels)
    assert classes(options) == expected
    counts = find_task("text_classification").load(options).summary.splits["train"].classes
    assert tuple(counts) == expected


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([1.0, 0.0], ("0", "1")),
        ([True, False], ("false", "true")),
        ([3, -2, 0], ("-2", "0", "3")),
        (["1", "01"], ("01", "1")),
    ],
)
@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_typed_labels_mean_the_same_in_every_format(
    suffix: str, labels: list[Any], expected: tuple[str, ...], tmp_path: Path
) -> None:
    rows = {"text": texts(60), "label": [labels[i % len(labels)] for i in range(60)]}
    if suffix == ".parquet":
        write_columns(tmp_path / "train.parquet", rows)
    else:
        objects = [dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)]
        (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, objects)))
    assert classes(generic(tmp_path)) == expected


def test_an_id_goes_before_a_class_name_that_is_a_number_too(tmp_path: Path) -> None:
    columns = {"text": texts(40), "label": [i % 2 for i in range(40)]}
    write_parquet(tmp_path / "train.parquet", columns, class_names=["1", "2"])
    loaded = find_task("text_classification").load(generic(tmp_path))
    assert labels_by_text(loaded) == {text: ("1", "2")[i % 2] for i, text in enumerate(texts(40))}


def test_numbers_in_one_split_and_texts_in_another_are_all_texts(tmp_path: Path) -> None:
    options = csv(tmp_path, "01", "02")
    (tmp_path / "test.csv").write_text("text,label\nnew,1\n")
    unusable("data.label", r"'1': .*test\.csv: is none of 2 classes \(line 2 of", "text_classification", options)


@pytest.mark.parametrize("missing", [math.nan, None, "  "])
def test_a_missing_label_is_reported_with_its_rows(missing: float | str | None, tmp_path: Path) -> None:
    labels = ["x", "y", missing] if isinstance(missing, str) else [0.0, 1.0, missing]
    write_columns(tmp_path / "train.parquet", {"text": texts(60), "label": labels * 20})
    rule = r"20 rows have no label: rows 3, 6, 9 and 17 more of .*train\.parquet"
    unusable("data.label", rule, "text_classification", generic(tmp_path))


def test_three_hundred_numbers_with_fractions_are_no_classes(tmp_path: Path) -> None:
    options = csv(tmp_path, *(f"{i / 7:.4f}" for i in range(300)), rows=300)
    rule = "one of 300 distinct numbers with fractions: .*task=text_regression"
    unusable("data.label", rule, "text_classification", options)


@pytest.mark.parametrize("wrong", [[["a"]], [{"a": 1}], [0.5, "x"]])
def test_labels_of_another_kind_are_refused(wrong: list[Any], tmp_path: Path) -> None:
    rows = [{"text": text, "label": wrong[i] if i < len(wrong) else i % 2} for i, text in enumerate(texts(40))]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    unusable("data.label", "a row has what is no class id.*: line 1 of", "text_classification", generic(tmp_path))


# Withheld labels


def test_minus_one_is_withheld_only_where_a_whole_split_says_so(tmp_path: Path) -> None:
    options = csv(tmp_path, "-1", "0", "1")
    (tmp_path / "validation.csv").write_text("text,label\nnew,-1\nother,0\n")
    (tmp_path / "test.csv").write_text("text,label\nhidden,-1\nhidden too,-1\n")
    loaded = find_task("text_classification").load(options)
    assert loaded.label_names == ("-1", "0", "1")
    assert loaded.test["text"][:] == ["new", "other"]
    assert labels_by_text(loaded)["new"] == "-1"


def test_training_rows_that_all_say_minus_one_are_of_one_class(tmp_path: Path) -> None:
    unusable("data.label", "'-1': is the only class", "text_classification", csv(tmp_path, "-1"))


def test_one_class_is_not_reported_as_many_unknown_ones(tmp_path: Path) -> None:
    options = csv(tmp_path, "1")
    (tmp_path / "validation.csv").write_text("text,label\nnew,0\n")
    assert [path for path, _ in find_task("text_classification").check(options)] == ["data.label"]


# The positive class


@pytest.mark.parametrize(
    ("labels", "positive"),
    [
        (["fraud", *["legit"] * 9], "fraud"),
        (["fraud", *["alright"] * 9], "fraud"),
        (["no", "yes"], "yes"),
        ([*["yes"] * 9, "no"], "no"),
        ([0, *[1] * 4], "0"),
    ],
)
def test_the_rarer_class_is_the_positive_one(labels: list[Any], positive: str, tmp_path: Path) -> None:
    options = csv(tmp_path, *map(str, labels), rows=100)
    assert find_task("text_classification").load(options).summary.positive == positive
    other = next(str(label) for label in labels if str(label) != positive)
    asked = options.model_copy(update={"positive": other})
    assert find_task("text_classification").load(asked).summary.positive == other


def test_where_classes_are_known_by_id_the_second_is_positive(tmp_path: Path) -> None:
    columns = {"text": texts(50), "label": [int(i % 5 > 0) for i in range(50)]}
    write_parquet(tmp_path / "train.parquet", columns, class_names=["rare", "frequent"])
    assert find_task("text_classification").load(generic(tmp_path)).summary.positive == "frequent"
    assert find_task("imdb").load(generic(tmp_path)).summary.positive == "frequent"
    write_columns(tmp_path / "train.parquet", columns)
    assert find_task("imdb").load(generic(tmp_path)).summary.positive == "pos"


def test_the_positive_class_must_be_one_of_two(tmp_path: Path) -> None:
    two = csv(tmp_path, "fraud", "legit").model_copy(update={"positive": "frod"})
    unusable("data.positive", r"'frod': is none of the classes; did you mean fraud\?", "text_classification", two)
    three = csv(tmp_path, "a", "b", "c").model_copy(update={"positive": "a"})
    unusable("data.positive", "there are 3 classes, and `f1` is the mean over all", "text_classification", three)
    assert find_task("text_classification").load(csv(tmp_path, "a", "b", "c")).summary.positive is None
    numbers = csv(tmp_path, "1.5", "2").model_copy(update={"positive": "2"})
    unusable("data.positive", "predicts numbers, not classes", "text_regression", numbers)


@pytest.mark.parametrize(("given", "positive"), [(1, "1"), (True, "true"), ("x", "x"), (None, None)])
def test_a_class_is_named_as_yaml_writes_it(given: object, positive: str | None) -> None:
    assert DataSpec.model_validate({"positive": given}).positive == positive


def test_a_decimal_comma_is_reported(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text;label\n" + "".join(f"{text};{i},5\n" for i, text in enumerate(texts(40))))
    rule = r"'0,5': 40 rows have a label that is no finite number: lines 2, 3, 4 .*write a decimal point"
    unusable("data.label", rule, "text_regression", generic(tmp_path))


def test_classes_do_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    first = classes(csv(tmp_path, "b", "10", "a"))
    assert first == classes(csv(tmp_path, "a", "b", "10"))
    assert read_as(two_columns(tmp_path, label=["b", "a"] * 20)).keys() == set(texts(40))
