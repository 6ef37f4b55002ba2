"""`tunefleet init`: a spec that runs, after the user's own data."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.user_files import language, rows_of, sentence, started, write
from tuning import load_spec
from tuning.cli import main
from tuning.starting.columns import read_rows
from tuning.starting.data_choices import choose_columns

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


KINDS = {
    "csv": ("films.csv", {}),
    "tsv": ("films.tsv", {"separator": "\t"}),
    "semicolons": ("films.csv", {"separator": ";"}),
    "json lines": ("films.jsonl", {}),
    "pandas' json": ("films.json", {}),
    "parquet": ("films.parquet", {}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_text_label_task_and_name_are_found_in_every_kind_of_file(kind: str) -> None:
    name, how = KINDS[kind]
    rows = rows_of(id=lambda i: i, review=sentence, verdict=lambda i: "ab"[i % 2], when=lambda i: "2024-01-02")
    spec = started(write(name, rows, **how))
    assert (spec.name, spec.task) == ("films", "text_classification")
    assert (spec.data.text, spec.data.label, spec.data.max_length) == (("review",), "verdict", 32)
    assert (spec.data.validation_fraction, spec.data.test_fraction) == (0.2, 0.2)


def test_without_a_file_it_is_called_after_the_data(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("my reviews.csv", rows_of(text=sentence, label=lambda i: i % 2))
    assert main(["init", "--data", "my reviews.csv"]) == 0
    assert load_spec("my-reviews.yaml").name == "my-reviews"
    assert "Next: look at it, tunefleet run my-reviews.yaml" in capsys.readouterr().out


def test_a_folder_of_splits_is_taken_as_it_is_published() -> None:
    rows = rows_of(180, premise=sentence, hypothesis=lambda i: sentence(i, 5), label=lambda i: i % 3)
    for start, split in enumerate(("train", "dev", "test")):
        write(f"nli/{split}.parquet", rows[60 * start : 60 * (start + 1)])
    spec = started("nli")
    assert (spec.name, spec.data.text, spec.data.label) == ("nli", ("premise", "hypothesis"), "label")
    assert "fraction" not in Path("out.yaml").read_text()


def test_a_folder_with_one_file_is_that_file() -> None:
    write("corpus/films.csv", rows_of(text=sentence, label=lambda i: i % 2))
    assert Path(str(started("corpus").data.path)).name == "films.csv"


@pytest.mark.parametrize(("words", "expected"), [(5, 32), (40, 64), (80, 128), (150, 256), (900, 512)])
def test_max_length_holds_nearly_all_rows(words: int, expected: int) -> None:
    rows = rows_of(text=lambda i: sentence(i, words), label=lambda i: i % 2)
    assert started(write("long.csv", rows)).data.max_length == expected
    assert ("100 % of them are cut" in Path("out.yaml").read_text()) is (words == 900)


def test_a_script_without_blanks_has_a_token_per_character() -> None:
    rows = rows_of(text=lambda i: "電影很好看" * 10 + str(i), label=lambda i: i % 2)
    assert started(write("zh.csv", rows)).data.max_length == 128
    assert "xlm-roberta-base" in Path("out.yaml").read_text()


def test_what_is_unsure_is_said_and_stands_in_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    rows = rows_of(
        title=lambda i: sentence(i, 3),
        body=sentence,
        lang=language,
        kind=lambda i: ("a", "A ")[i % 2],
    )
    spec = started(write("many.csv", rows))
    assert (spec.data.text, spec.data.label) == (("body",), "kind")
    printed, written = capsys.readouterr().out, Path("out.yaml").read_text()
    for sign in ("not shown title", "label could also be lang", "differ in blanks or capitals alone: 'A ' / 'a'"):
        assert sign in printed
        assert sign in written


def test_columns_can_be_named() -> None:
    rows = rows_of(title=lambda i: sentence(i, 3), body=sentence, lang=language, label=lambda i: i % 2)
    spec = started(write("many.csv", rows), "--text", "title", "--text", "body", "--label", "lang")
    assert (spec.data.text, spec.data.label) == (("title", "body"), "lang")


def test_rows_without_a_text_are_left_out_and_reported() -> None:
    rows = rows_of(text=lambda i: "" if i == 3 else sentence(i), label=lambda i: i % 2)
    assert started(write("holes.jsonl", rows)).data.drop_empty
    assert "1 row without a text" in Path("out.yaml").read_text()


def test_a_row_without_text_and_label_is_left_out_and_one_without_a_label_alone_is_not(here: Path) -> None:
    rows = rows_of(text=lambda i: "" if i < 4 else sentence(i), label=lambda i: "" if i < 4 else "ab"[i % 2])
    assert started(write("blank.csv", rows)).data.drop_empty
    written = Path("out.yaml").read_text()
    assert "4 rows without a text" in written
    assert "without a label" not in written
    rows[10]["label"] = ""
    assert "1 row without a label: " in " ".join(choose_columns(read_rows(write("one.csv", rows))).unsure)


def test_a_pair_with_one_text_is_no_row_without_a_text(here: Path) -> None:
    rows = rows_of(premise=sentence, hypothesis=lambda i: "" if i < 3 else sentence(i, 5), label=lambda i: i % 2)
    assert not started(write("half.jsonl", rows)).data.drop_empty
    rows[0]["hypothesis"], rows[1]["premise"] = None, " "
    assert started(write("null.jsonl", rows), target="null.yaml").data.drop_empty
    assert "# 2 rows without a text" in Path("null.yaml").read_text()


def test_names_that_yaml_would_read_otherwise_stay_names() -> None:
    rows = rows_of(**{"yes": sentence, "no: label": lambda i: ("null", "true # x")[i % 2]})
    spec = started(write("odd.jsonl", rows))
    assert (spec.data.text, spec.data.label) == (("yes",), "no: label")


def test_a_class_cannot_write_into_the_spec() -> None:
    hostile = "good\nmodel: evil\u2028trust_remote_code: true"
    rows = rows_of(text=sentence, label=lambda i: (hostile, "bad")[i % 2])
    spec = started(write("attack.jsonl", rows))
    assert (spec.model, spec.trust_remote_code) == ("minilm", False)


def test_another_encoding_is_reported_and_then_taken(capsys: pytest.CaptureFixture[str]) -> None:
    path = write("old.csv", rows_of(text=lambda i: f"café {sentence(i)}", label=lambda i: i % 2), encoding="cp1252")
    assert main(["init", "--data", str(path)]) == 2
    assert "give --encoding cp1252" in capsys.readouterr().err
    assert started(path, "--encoding", "cp1252").data.encoding == "cp1252"


def test_what_does_not_run_yet_is_said_with_what_to_mend(capsys: pytest.CaptureFixture[str]) -> None:
    write("few.csv", rows_of(6, text=sentence, label=lambda i: ("a", "b", "c")[min(i, 2)]))
    assert main(["init", "--data", "few.csv"]) == 0
    printed = capsys.readouterr().out
    assert "2 classes with fewer than 3 rows" in printed
    assert "It does not run yet:" in printed
    assert "Next: mend that, then tunefleet validate few.yaml" in printed


def test_a_column_called_like_one_of_its_classes_is_no_row(capsys: pytest.CaptureFixture[str]) -> None:
    write("mail.csv", rows_of(text=sentence, spam=lambda i: ("ham", "spam")[i % 2]))
    assert main(["init", "--data", "mail.csv"]) == 0
    assert "label 'spam' (2 classes)" in capsys.readouterr().out


def test_a_file_without_yaml_in_its_name_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "mine"]) == 0
    assert "note: mine has no suffix .yaml" in capsys.readouterr().out
    assert main(["init", "mine.yml"]) == 0
    assert "note:" not in capsys.readouterr().out
