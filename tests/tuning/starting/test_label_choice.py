"""The label that `tunefleet init` chooses among the columns of a file, and whether it holds classes or numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.user_files import language, rows_of, sentence, started, write
from trainables.errors import InputError
from tuning.cli import main
from tuning.starting.columns import Column, TrainingRows, read_rows
from tuning.starting.data_choices import choose_columns

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


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


def test_numbers_that_count_the_rows_are_no_label_and_unique_prices_are(here: Path) -> None:
    counted = write("counted.jsonl", rows_of(n=lambda i: i, text=sentence, tag=lambda i: "ab"[i % 2]))
    assert choose_columns(read_rows(counted)).label.name == "tag"
    unique = write("unique.jsonl", rows_of(text=sentence, price=lambda i: 10 * i * i))
    assert choose_columns(read_rows(unique)).label.name == "price"


def test_several_columns_of_flags_are_named_for_a_row_has_one_label(capsys: pytest.CaptureFixture[str]) -> None:
    flags = {"toxic": lambda i: i % 2, "threat": lambda i: i % 3 // 2, "insult": lambda i: i % 5 // 4}
    write("comments.csv", rows_of(comment_text=sentence, **flags))
    assert main(["init", "--data", "comments.csv"]) == 0
    assert "unsure: threat, insult hold 0 and 1, too: a row has one label here" in capsys.readouterr().out
