"""`tunefleet init`: a spec that runs, after the user's own data; and names that would hide a preset, or data."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainables.errors import InputError
from trainables.tasks import find_task
from tuning import load_spec
from tuning.cli import main
from tuning.spec.models import ExperimentSpec
from tuning.starting.columns import Column, TrainingRows, read_rows
from tuning.starting.data_choices import choose_columns

pytestmark = pytest.mark.unit

WORDS = ("the", "film", "was", "good", "bad", "terrible", "great", "acting", "plot", "story", "long", "short", "funny")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sentence(row: int, words: int = 8) -> str:
    drawn = random.Random(row)
    return " ".join(drawn.choice(WORDS) for _ in range(words)) + f" {row}"


def rows_of(count: int = 60, **columns: Callable[[int], Any]) -> list[dict[str, Any]]:
    return [{name.replace("__", " "): cell(row) for name, cell in columns.items()} for row in range(count)]


def language(row: int) -> str:
    return ("en", "de")[row % 2]


def write(name: str, rows: Sequence[Mapping[str, Any]], separator: str = ",", encoding: str = "utf-8") -> Path:
    """Write rows in the format of the suffix of `name`."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".json":  # as pandas writes it
        path.write_text(json.dumps({name: {str(i): row[name] for i, row in enumerate(rows)} for name in rows[0]}))
    else:
        lines = [separator.join(rows[0]), *(separator.join(f'"{cell}"' for cell in row.values()) for row in rows)]
        path.write_bytes("\n".join([*lines, ""]).encode(encoding))
    return path


def started(data: Path | str, *more: str, target: str = "out.yaml") -> ExperimentSpec:
    """The spec that is written; it is valid, and its data can be loaded."""
    assert main(["init", target, "--data", str(data), *more]) == 0
    spec = load_spec(target)
    loaded = find_task(spec.task).load(spec.data)
    assert all(len(split) > 0 for split in loaded[:3])
    return spec


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


def test_many_distinct_numbers_are_predicted_as_numbers_and_few_are_classes() -> None:
    prices = rows_of(description=sentence, price=lambda i: 1.5 * i)
    assert started(write("prices.csv", prices)).task == "text_regression"
    stars = rows_of(body=sentence, stars=lambda i: 1 + i % 5)
    assert started(write("stars.csv", stars), target="stars.yaml").task == "text_classification"
    assert "to predict them as numbers set task: text_regression" in Path("stars.yaml").read_text()


@pytest.mark.parametrize("first", [0, 1])
def test_whole_numbers_without_a_gap_that_repeat_are_class_ids_however_many(first: int) -> None:
    spec = started(write("bank77.csv", rows_of(770, text=sentence, label=lambda i: first + i % 77)))
    assert spec.task == "text_classification"
    written = Path("out.yaml").read_text()
    assert "# 77 classes" in written
    assert "The label holds whole numbers; to predict them as numbers set task: text_regression." in written


def test_whole_numbers_with_a_name_beside_them_are_classes_and_nothing_is_unsure() -> None:
    ids = [7 * (i % 30) for i in range(300)]
    named = rows_of(300, text=sentence, label=lambda i: ids[i], label_text=lambda i: f"intent {ids[i]}")
    spec = started(write("named.csv", named))
    assert (spec.task, spec.data.label) == ("text_classification", "label")
    assert "Unsure" not in Path("out.yaml").read_text()


def test_other_whole_numbers_that_repeat_are_predicted_as_numbers_and_that_is_unsure() -> None:
    spec = started(write("gaps.csv", rows_of(300, text=sentence, score=lambda i: 7 * (i % 30))))
    assert spec.task == "text_regression"
    unsure = "The label holds whole numbers; to predict them as classes set task: text_classification."
    assert unsure in Path("out.yaml").read_text()
    prices = rows_of(description=sentence, price=lambda i: 10 * i * i)
    assert started(write("prices.jsonl", prices), target="prices.yaml").task == "text_regression"
    assert unsure not in Path("prices.yaml").read_text()  # each stands once: no classes


def airline(row: int) -> str:
    return ("negative", "neutral", "positive")[row % 3]


TWEETS = {
    "sentiment": airline,
    "airline_sentiment": airline,
    "airline_sentiment_confidence": lambda i: round(0.3 + (i * 37 % 101) / 150, 4),
    "airline_sentiment_gold": lambda i: airline(i) if i % 25 == 0 else "",
    "text": sentence,
}


def test_among_columns_that_share_a_word_the_filled_one_with_classes_and_the_shorter_name_is_the_label() -> None:
    columns = {name: cell for name, cell in TWEETS.items() if name != "sentiment"}
    choices = choose_columns(read_rows(write("airline.csv", rows_of(150, **columns))))
    assert (choices.label.name, choices.task) == ("airline_sentiment", "text_classification")
    others = "airline_sentiment_confidence, airline_sentiment_gold (144 of 150 rows without a value)"
    assert f"The label could also be {others}: --label names another column." in choices.unsure


def test_a_column_that_is_nearly_empty_is_not_chosen_for_its_name_and_is_named() -> None:
    columns = {"label": TWEETS["airline_sentiment_gold"], "sentiment": airline, "text": sentence}
    choices = choose_columns(read_rows(write("gold.csv", rows_of(150, **columns))))
    assert choices.label.name == "sentiment"
    assert "could also be label (144 of 150 rows without a value): --label names" in " ".join(choices.unsure)
    clear = {"sentiment": airline, "airline_sentiment": airline, "text": sentence}
    choices = choose_columns(read_rows(write("clear.csv", rows_of(150, **clear))))
    assert (choices.label.name, choices.unsure) == ("sentiment", ())


def test_of_the_beginning_of_a_large_file_that_is_said_where_a_label_is_missed() -> None:
    text, label = Column("text", [sentence(i) for i in range(60)]), Column("label", ["neg"] * 60)
    other = Column("place", [language(i) for i in range(60)])

    def rows(*columns: Column, complete: bool) -> TrainingRows:
        return TrainingRows(Path("sorted.csv"), columns, {"train": ("sorted.csv",)}, complete)

    with pytest.raises(InputError, match="no column that looks like a label") as refused:
        choose_columns(rows(text, label, complete=True))
    assert "MB" not in str(refused.value)
    with pytest.raises(InputError, match="only the first 64 MB of the file were looked at; name it with --label"):
        choose_columns(rows(text, label, complete=False))
    choices = choose_columns(rows(text, label, other, complete=False))
    assert choices.label is other
    assert "label: one value in the first 64 MB, and may hold more after them" in " ".join(choices.unsure)
    assert choose_columns(rows(text, label, complete=False), label="label").why["task"] == "1 class"


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


def test_numbers_that_count_the_rows_are_no_label_and_unique_prices_are(here: Path) -> None:
    counted = write("counted.jsonl", rows_of(n=lambda i: i, text=sentence, tag=lambda i: "ab"[i % 2]))
    assert choose_columns(read_rows(counted)).label.name == "tag"
    unique = write("unique.jsonl", rows_of(text=sentence, price=lambda i: 10 * i * i))
    assert choose_columns(read_rows(unique)).label.name == "price"


REFUSED = {
    "a preset": (["csv"], "'csv': is the name of a preset, which a file of that name would hide; `tunefleet run csv`"),
    "both ways": (["csv"], "`tunefleet init --data YOUR.csv` one for your data"),
    "another preset": (["imdb"], "`tunefleet init imdb.yaml` writes a spec of your own"),
    "a kind of data": (["parquet"], "is a kind of data; `tunefleet init --data YOUR.parquet`"),
    "data for FILE": (["my.csv"], "is a file of data by its name; `tunefleet init --data my.csv` writes a spec for it"),
    "no data": (["--data", "nothing.csv"], "--data: 'nothing.csv': no such file or folder; check the path"),
    "columns without data": (["--label", "stars"], "--label: 'stars': describes your data; give --data"),
    "no such label": (["--data", "ok.csv", "--label", "stars"], "--label: 'stars': no such column; known: label, text"),
    "no such text": (["--data", "ok.csv", "--text", "texts"], "--text: 'texts': no such column; did you mean text?"),
    "no label": (["--data", "bare.csv"], "has no column that looks like a label: text (60 distinct, 9 words each)"),
    "several labels per row": (
        ["--data", "lists.jsonl"],
        "tags (lists or objects: one label per row is what a task has)",
    ),
    "no text": (["--data", "numbers.csv"], "has no column that looks like a text"),
    "no names": (["--data", "headless.csv"], "its first line looks like a row"),
    "no names, a class first": (["--data", "spam.tsv"], "its first line looks like a row"),
    "no names, one column": (["--data", "lines.txt"], "its first line looks like a row"),
    "no ending": (["--data", "Collection"], "has no suffix that tells how to read it; rename it; endings: .csv, .tsv,"),
    "lists of one": (["--data", "ones.jsonl"], "label (lists of one element: write the element alone, and it can be"),
    "a folder per class": (["--data", "aclImdb"], "holds a folder of texts per class: write one table with a row per"),
    "a class folder": (["--data", "aclImdb/train"], "holds a folder of texts per class: write one table"),
    "save_to_disk": (["--data", "saved"], "it is what save_to_disk writes: load_from_disk it"),
    "another encoding": (
        ["--data", "german.csv", "--encoding", "cp1252"],
        "--encoding: 'cp1252': german.csv is UTF-8: ",
    ),
    "no rows": (["--data", "empty.csv"], "is empty; write a line of column names and at least one row"),
    "only names": (["--data", "names.csv"], "has no rows"),
    "a sheet": (["--data", "table.xlsx"], "cannot be read; export the sheet as CSV"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_meant_is_refused_with_the_ways_out_and_writes_nothing(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, printed = REFUSED[name]
    write("ok.csv", rows_of(text=sentence, label=lambda i: i % 2))
    write("bare.csv", rows_of(text=sentence))
    write("numbers.csv", rows_of(a=lambda i: i * 0.5, b=lambda i: i % 2))
    Path("headless.csv").write_text("".join(f"{sentence(i, 20)},{i % 2}\n" for i in range(20)))
    write("lists.jsonl", rows_of(text=sentence, tags=lambda i: ["a", "b"][: 1 + i % 2]))
    spam = "".join(f"{'ham' if i % 5 else 'spam'}\t{sentence(i)}\n" for i in range(1, 60))
    Path("spam.tsv").write_text(spam)
    Path("Collection").write_text(spam)
    Path("lines.txt").write_text("".join(f"__label__{i % 2} {sentence(i)}\n" for i in range(60)))
    write("ones.jsonl", rows_of(text=sentence, label=lambda i: ["ab"[i % 2]]))
    write("aclImdb/train/pos/0_9.txt", [{"text": "good"}])
    for name in ("dataset_info.json", "state.json"):
        write(f"saved/{name}", [{"features": 1}])
    write("german.csv", rows_of(text=lambda i: f"sch\u00f6n {sentence(i)}", label=lambda i: i % 2))
    Path("empty.csv").write_text("")
    Path("names.csv").write_text("text,label\n")
    Path("table.xlsx").write_text("")
    before = sorted(here.iterdir())
    assert main(["init", *words]) == 2
    assert printed in capsys.readouterr().err
    assert sorted(here.iterdir()) == before


def test_a_column_called_like_one_of_its_classes_is_no_row(capsys: pytest.CaptureFixture[str]) -> None:
    write("mail.csv", rows_of(text=sentence, spam=lambda i: ("ham", "spam")[i % 2]))
    assert main(["init", "--data", "mail.csv"]) == 0
    assert "label 'spam' (2 classes)" in capsys.readouterr().out


def test_several_columns_of_flags_are_named_for_a_row_has_one_label(capsys: pytest.CaptureFixture[str]) -> None:
    flags = {"toxic": lambda i: i % 2, "threat": lambda i: i % 3 // 2, "insult": lambda i: i % 5 // 4}
    write("comments.csv", rows_of(comment_text=sentence, **flags))
    assert main(["init", "--data", "comments.csv"]) == 0
    assert "unsure: threat, insult hold 0 and 1, too: a row has one label here" in capsys.readouterr().out


def test_a_file_without_yaml_in_its_name_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "mine"]) == 0
    assert "note: mine has no suffix .yaml" in capsys.readouterr().out
    assert main(["init", "mine.yml"]) == 0
    assert "note:" not in capsys.readouterr().out
