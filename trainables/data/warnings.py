"""Warnings about suspicious data: each sentence names the finding and what to do about it.

Pure: a `DataSummary` in, texts out. Warnings do not stop a run; data that cannot be used are refused when they are
read.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from trainables.tasks.summary import DataSummary
from trainables.wording import counted, percent, some

MANY_DUPLICATES = 0.1  # share of the rows
MANY_NEAR = 0.01  # share of a split's rows that equal one of another split but for case, punctuation, white space
MANY_CUT, MUCH_LOST = 0.05, 0.01  # share of a split's rows, and of its tokens
MANY_UNKNOWN = 0.05  # share of a split's tokens
MANY_NUMBERS = 0.5  # share of a split's texts that are a number and nothing else
FEW_ROWS = 5  # of a class in a split that scores
FEW_TO_SCORE = 200  # rows of the validation split
LOPSIDED = 0.8  # share of the most frequent class from which on accuracy is uninformative
NO_VALUE = {"", "na", "n/a", "nan", "null", "none", "nil", "-", "?", "unknown", "missing"}


def warnings_of(summary: DataSummary) -> tuple[str, ...]:
    """The warnings, the most serious first; empty if nothing is suspicious."""
    found = (
        _unknown,
        _numbers,
        _contradictions,
        _duplicates,
        _near_duplicates,
        _shared_groups,
        _alike,
        _no_values,
        _lopsided,
        _few,
        _cut,
        _small,
        _unread,
        _left_over,
    )
    return tuple(warning for look in found for warning in look(summary))


def _unknown(summary: DataSummary) -> Iterator[str]:
    for name, tokens in summary.tokens.items():
        if tokens.unknown_share > MANY_UNKNOWN:
            yield (
                f"{percent(tokens.unknown_share)} of the {name} tokens are unknown to the model's tokenizer: is it "
                "the right one for the model, and the model right for the language?"
            )


def _numbers(summary: DataSummary) -> Iterator[str]:
    for name, split in summary.splits.items():
        if split.numeric_texts > MANY_NUMBERS * split.rows:
            yield (
                f"{split.numeric_texts:,} of {split.rows:,} {name} texts are a number and nothing else: is data.text "
                "the column that the model should read?"
            )
            return


def _contradictions(summary: DataSummary) -> Iterator[str]:
    if summary.contradictions:
        stand = "stands" if summary.contradictions == 1 else "stand"
        yield (
            f"{counted(summary.contradictions, 'text')} {stand} in the data with more than one label, and one of them "
            "is used: correct the labels, or remove these rows"
        )


def _duplicates(summary: DataSummary) -> Iterator[str]:
    rows = summary.duplicates + sum(split.rows for split in summary.splits.values())
    if summary.duplicates > MANY_DUPLICATES * rows:
        yield (
            f"{summary.duplicates:,} of {rows:,} rows repeat a text that stands in the data already, and are left out: "
            "check how the data were put together"
        )


def _near_duplicates(summary: DataSummary) -> Iterator[str]:
    many = {
        name: rows for name, rows in summary.near_duplicates.items() if rows > MANY_NEAR * summary.splits[name].rows
    }
    for name, rows in many.items():
        yield (
            f"{rows:,} of {summary.splits[name].rows:,} {name} rows differ from a row of another split in case, "
            "punctuation or white space alone: scores on them are too good. Write such texts in one way, and one of "
            "each pair is left out"
        )


def _shared_groups(summary: DataSummary) -> Iterator[str]:
    if summary.shared_rows:
        parts = [f"{rows:,} of {summary.splits[name].rows:,} {name} rows" for name, rows in summary.shared_rows.items()]
        yield (
            f"{' and '.join(parts)} share their {summary.group} with training rows, as these splits were published: "
            "scores on them may be too good for a new one. Splits that are cut here (leave out data.validation, "
            "data.test) share none"
        )


def _alike(summary: DataSummary) -> Iterator[str]:
    by_look: dict[str, list[str]] = {}
    for name in _classes(summary):
        by_look.setdefault(_look(name), []).append(name)
    for names in by_look.values():
        if len(names) > 1:
            yield (
                f"the classes {', '.join(map(repr, names))} look alike, and are different classes: if they are one, "
                "write them in one way"
            )


def _no_values(summary: DataSummary) -> Iterator[str]:
    for name in _classes(summary):
        if name.strip().casefold() in NO_VALUE:
            yield f"{name!r} is a class here: if it stands for a label that is missing, remove these rows"


def _lopsided(summary: DataSummary) -> Iterator[str]:
    validation = summary.splits["validation"]
    if len(validation.classes) < 2:
        return
    name, most = max(validation.classes.items(), key=lambda item: item[1])
    if most >= LOPSIDED * validation.rows:
        yield (
            f"{percent(most / validation.rows)} of the validation rows are {name!r}: a constant prediction has that "
            "accuracy. Optimise matthews_correlation or f1 (objective)"
        )


def _few(summary: DataSummary) -> Iterator[str]:
    for split in ("validation", "test"):
        counts = {name: summary.splits[split].classes.get(name, 0) for name in _classes(summary)}
        if few := [f"{name} {count}" for name, count in counts.items() if count < FEW_ROWS]:
            yield (
                f"{split}: {counted(len(few), 'class', 'classes')} with fewer than {FEW_ROWS} rows "
                f"({some(few, 5)}), whose scores are chance: {more_rows(summary, split)}"
            )


def _cut(summary: DataSummary) -> Iterator[str]:
    how = summary.tokenizer
    cut = {}
    for name, tokens in summary.tokens.items():
        share = tokens.cut_rows / tokens.rows
        if share > MANY_CUT or tokens.lost_share > MUCH_LOST:
            cut[name] = f"{name} {percent(share)}"
    if how is not None and cut:
        longest = max(tokens.longest for tokens in summary.tokens.values())
        step = "Raise data.max_length where it is set: there, or by that name below fixed or space"
        if how.max_length >= how.limit:
            step = "The model takes no more: choose one for longer texts, or shorten them"
        yield (
            f"rows of more than {how.max_length} tokens are cut ({', '.join(cut.values())}; the longest has "
            f"{longest:,}). {step}"
        )


def _small(summary: DataSummary) -> Iterator[str]:
    rows = summary.splits["validation"].rows
    if rows < FEW_TO_SCORE and _classes(summary):
        yield (
            f"{rows} validation rows: one row is worth {1 / rows:.3g} of accuracy, so that many configurations will "
            f"tie: {more_rows(summary, 'validation')}"
        )


def more_rows(summary: DataSummary, name: str) -> str:
    """Names what gives a split more rows: a larger subset, a larger cut, or more rows in the file that holds it."""
    split = summary.splits[name]
    if split.cut is None or split.available is None:
        return f"give the {name} split more rows"
    if split.cut:
        step = f"raise data.{name}_fraction, or add rows"
    elif summary.files:
        step = f"add rows to {split.origin}"
    else:
        step = f"{split.origin} has no more; name a larger split by data.{name}"
    if split.rows == split.available:
        return step
    beyond = f"; beyond these, {step}" if split.available < FEW_TO_SCORE else ""
    return f"raise data.subset.{name} (the split has {split.available:,} rows){beyond}"


def _unread(summary: DataSummary) -> Iterator[str]:
    for name, fraction in summary.unread_fractions.items():
        yield (
            f"data.{name}_fraction={fraction:g} has no effect: the {name} split is published "
            f"({summary.splits[name].origin}), and stays as it is. Remove the key; or leave that split out "
            f"(data.{name}), so that one is cut from train"
        )


def _left_over(summary: DataSummary) -> Iterator[str]:
    if summary.ignored:
        yield (
            f"not read: {some(summary.ignored, 5)}. If they belong to the data, name them "
            "(data.train, data.validation, data.test)"
        )


def _classes(summary: DataSummary) -> list[str]:
    return list(dict.fromkeys(name for split in summary.splits.values() for name in split.classes))


def _look(name: str) -> str:
    """Normalises a class name; equal for names that look the same: case, blanks, Unicode forms, 01 and 1 and 1.0."""
    plain = " ".join(unicodedata.normalize("NFKC", name).casefold().replace("_", " ").replace("-", " ").split())
    return f"{float(plain):g}" if re.fullmatch(r"\d+(\.\d+)?", plain) else plain
