"""Suspicious data are warned about, and sound data are not."""

from __future__ import annotations

import pytest

from trainables.data.warnings import warnings_of
from trainables.tasks.summary import DataSummary, FileRead, SplitSummary, TokenizerSummary, TokenSummary

pytestmark = pytest.mark.unit

HOW = TokenizerSummary(vocabulary=30522, max_length=128, limit=512, pad_token="[PAD]", pad_id=0, padding_side="right")


def summary(**changed: object) -> DataSummary:
    """Summarises sound data with these changes."""
    splits = {
        "train": SplitSummary(rows=7000, classes={"neg": 3500, "pos": 3500}),
        "validation": SplitSummary(rows=1000, classes={"neg": 500, "pos": 500}),
        "test": SplitSummary(rows=2000, classes={"neg": 1000, "pos": 1000}),
    }
    return DataSummary.model_validate({"source": "reviews.csv", "splits": splits, "tokenizer": HOW, **changed})


def with_classes(**classes: int) -> DataSummary:
    split = SplitSummary(rows=sum(classes.values()), classes=classes)
    return summary(splits=dict.fromkeys(("train", "validation", "test"), split))


def tokens(**changed: float) -> dict[str, TokenSummary]:
    plain = {"rows": 7000, "median": 23, "longest": 120, "cut_rows": 0, "lost_share": 0.0, "unknown_share": 0.001}
    return {"train": TokenSummary.model_validate(plain | changed)}


def test_nothing_is_said_of_data_that_are_in_order() -> None:
    assert warnings_of(summary(tokens=tokens(cut_rows=20, lost_share=0.001), duplicates=12, empty=3)) == ()
    numbers = SplitSummary(rows=900, value_range=(0.0, 2.5, 5.0))
    assert warnings_of(summary(splits=dict.fromkeys(("train", "validation", "test"), numbers))) == ()


def test_contradictory_labels_are_reported_however_few() -> None:
    (one,) = warnings_of(summary(contradictions=1))
    assert one.startswith("1 text stands in the data with more than one label, and one of them is used")
    (many,) = warnings_of(summary(contradictions=1040))
    assert many.startswith("1,040 texts stand in the data")


def test_many_duplicates_are_reported_with_their_number_and_that_of_all_rows() -> None:
    (told,) = warnings_of(summary(duplicates=90_000))
    assert told.startswith("90,000 of 100,000 rows repeat a text")


@pytest.mark.parametrize(
    ("first", "second"),
    [("neg", "neg "), ("Positive", "positive"), ("1", "01"), ("1", "1.0"), ("not_spam", "not spam"), ("ﬁt", "fit")],
)
def test_class_names_that_look_alike_are_reported(first: str, second: str) -> None:
    (told,) = warnings_of(with_classes(**{first: 500, second: 500, "other": 500}))
    assert f"{first!r}, {second!r} look alike" in told


@pytest.mark.parametrize("name", ["NA", "nan", "null", "None", "n/a", "?", "unknown"])
def test_a_class_that_may_stand_for_a_missing_label_is_reported(name: str) -> None:
    (told,) = warnings_of(with_classes(**{name: 500, "pos": 500}))
    assert told.startswith(f"{name!r} is a class here")


def test_accuracy_of_a_lopsided_split_is_put_into_proportion() -> None:
    (told,) = warnings_of(with_classes(fraud=160, legit=1440))
    assert told.startswith("90 % of the validation rows are 'legit'")
    assert "matthews_correlation" in told


def test_classes_with_too_few_rows_to_score_are_named_by_split() -> None:
    told = warnings_of(with_classes(a=400, b=400, rare=3))
    assert [one.partition(":")[0] for one in told] == ["validation", "test"]
    assert "1 class with fewer than 5 rows (rare 3)" in told[0]
    assert told[0].endswith("whose scores are chance: give the validation split more rows")


def test_cut_rows_and_lost_tokens_are_reported_with_the_longest_text() -> None:
    (told,) = warnings_of(summary(tokens=tokens(cut_rows=3500, lost_share=0.42, longest=2100, median=180)))
    assert told == (
        "rows of more than 128 tokens are cut (train 50 %; the longest has 2,100). Raise data.max_length where it is "
        "set: there, or by that name below fixed or space"
    )
    (huge,) = warnings_of(summary(tokens=tokens(cut_rows=1, lost_share=0.7, longest=400_000)))
    assert "(train 0.014 %; the longest has 400,000)" in huge  # one row, and 70 % of the tokens
    at_most = HOW.model_copy(update={"limit": 128})
    (told,) = warnings_of(summary(tokens=tokens(cut_rows=3500, lost_share=0.42), tokenizer=at_most))
    assert "The model takes no more: choose one for longer texts" in told


def test_words_that_the_tokenizer_does_not_know_are_reported_first() -> None:
    told = warnings_of(summary(tokens=tokens(unknown_share=0.93), contradictions=2))
    assert told[0].startswith("93 % of the train tokens are unknown to the model's tokenizer")


def test_a_column_of_numbers_for_texts_is_reported_once() -> None:
    ids = SplitSummary(rows=1000, classes={"a": 500, "b": 500}, numeric_texts=998)
    (told,) = warnings_of(summary(splits=dict.fromkeys(("train", "validation", "test"), ids)))
    assert told.startswith("998 of 1,000 train texts are a number and nothing else: is data.text the column")


def test_a_small_validation_split_is_reported_with_the_worth_of_a_row() -> None:
    splits = {name: SplitSummary(rows=30, classes={"a": 15, "b": 15}) for name in ("train", "validation", "test")}
    (told,) = warnings_of(summary(splits=splits))
    assert told.startswith("30 validation rows: one row is worth 0.0333 of accuracy")


def small(origin: str = "", available: int = 30, files: bool = True) -> str:
    """Returns the step of the warning about 30 validation rows; `origin` publishes them, else they are cut here."""
    facts = {"cut": not origin, "origin": origin, "available": available}
    split = SplitSummary(rows=30, classes={"a": 15, "b": 15}, **facts)
    read = [FileRead(path="/here/texts.csv", split="train", rows=400)] if files else []
    (told,) = warnings_of(summary(splits=dict.fromkeys(("train", "validation", "test"), split), files=read))
    return told.partition("tie: ")[2]


def test_a_small_split_is_reported_with_what_limits_it_and_nothing_else() -> None:
    assert small() == "raise data.validation_fraction, or add rows"
    assert small("val2.csv") == "add rows to val2.csv"
    hub = "nyu-mll/glue (validation)"
    assert small(hub, files=False) == f"{hub} has no more; name a larger split by data.validation"
    assert small(available=1000) == "raise data.subset.validation (the split has 1,000 rows)"
    assert small("val2.csv", available=1000) == small(available=1000)
    both = "raise data.subset.validation (the split has 80 rows); beyond these, "
    assert small(available=80) == both + "raise data.validation_fraction, or add rows"
    assert small("val2.csv", available=80) == both + "add rows to val2.csv"


def test_rare_classes_are_reported_with_what_limits_their_split() -> None:
    cut = SplitSummary(rows=803, classes={"a": 400, "b": 400, "rare": 3}, cut=True, available=803)
    published = cut.model_copy(update={"cut": False, "origin": "test.csv"})
    train = SplitSummary(rows=3000, classes={"a": 1500, "b": 1400, "rare": 100})
    read = [FileRead(path="/here/train.csv", split="train", rows=3803)]
    told = warnings_of(summary(splits={"train": train, "validation": cut, "test": published}, files=read))
    assert [one.rpartition("chance: ")[2] for one in told] == [
        "raise data.validation_fraction, or add rows",
        "add rows to test.csv",
    ]


def test_a_fraction_of_a_published_split_is_reported_to_have_no_effect() -> None:
    published = SplitSummary(rows=1000, classes={"neg": 500, "pos": 500}, cut=False, origin="val2.csv")
    splits = dict.fromkeys(("train", "validation", "test"), published)
    (told,) = warnings_of(summary(splits=splits, unread_fractions={"validation": 0.5}))
    assert told == (
        "data.validation_fraction=0.5 has no effect: the validation split is published (val2.csv), and stays as it is. "
        "Remove the key; or leave that split out (data.validation), so that one is cut from train"
    )


def test_files_that_were_not_read_are_named() -> None:
    (told,) = warnings_of(summary(ignored=[f"part{i}.csv" for i in range(7)]))
    assert told.startswith("not read: part0.csv, part1.csv, part2.csv, part3.csv, part4.csv and 2 more")
