"""The choices of a first spec: text and label columns, task, lengths; each with its reason, and with what is unsure.

In: profiles of columns. Out: `DataChoices`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

from trainables.errors import InputError, nearest
from trainables.wording import counted, percent
from tuning.starting.columns import LIMIT, Column, TrainingRows, pieces

LABELS = (
    *("label", "labels", "class", "target", "category", "sentiment", "gold_label", "y", "stars", "rating", "score"),
    *("intent", "topic", "polarity", "emotion", "stance", "spam", "toxic", "toxicity", "is_spam", "similarity"),
)
TEXTS = (
    *("text", "sentence", "review", "reviews", "review_text", "content", "body", "comment", "comment_text", "message"),
    *("tweet", "document", "question", "query", "utterance", "headline", "abstract", "description", "input"),
)
PAIRS = (
    *(("sentence1", "sentence2"), ("question1", "question2"), ("premise", "hypothesis"), ("text_a", "text_b")),
    *(("text1", "text2"), ("text", "text_pair"), ("sentence_a", "sentence_b"), ("question", "sentence")),
    *(("question", "answer"), ("query", "passage"), ("query", "document"), ("claim", "evidence")),
)
LENGTHS = (32, 64, 128, 256, 512)  # tokens; `max_length` is one of these
COVERED = 0.95  # share of the rows that `max_length` holds whole
FEW_ROWS = 1000  # of fewer, more is cut off for validation
CUT = (0.1, 0.2)  # validation's share: of many rows, of few
TEST_CUT = 0.2
FEWEST_OF_CLASS = 3  # rows, for each of three splits to have one
FOREIGN = 0.2  # share of letters beyond ASCII from which on a note about the English model is added


class DataChoices(NamedTuple):
    """The choices of a first spec about the data."""

    task: str  # text_classification or text_regression
    text: tuple[Column, ...]  # one or two
    label: Column
    max_length: int  # tokens
    cut_rows: float  # share of the rows that are longer, estimated
    validation_fraction: float  # of the training rows, where there is no validation file
    test_fraction: float
    drop_empty: bool
    why: dict[str, str]  # key of the spec -> the reason, on one line
    unsure: tuple[str, ...]  # sentences


def choose_columns(rows: TrainingRows, text: Sequence[str] = (), label: str | None = None) -> DataChoices:
    """Choose the text columns, the label and everything else that a first spec says about the data.

    Args:
        text, label: names of columns that the user has named.

    Raises:
        InputError: there is no such column, or none that could be it.
    """
    unsure: list[str] = []
    known = {column.name: column for column in rows.columns}
    for option, names in (("--text", text), ("--label", [label] if label else [])):
        for name in names:
            if name not in known:
                raise InputError(option, name, "no such column", nearest(name, known))
    texts = tuple(known[name] for name in text) or None
    chosen = known[label] if label else None
    if chosen is None:
        chosen = _label(rows, texts or (), unsure)
    why = {"label": "named by --label" if label else _why_label(chosen)}
    if texts is None:
        texts = _texts(rows, chosen, unsure)
    why["text"] = "named by --text" if text else _why_texts(texts)
    task = "text_regression" if chosen.holds == "numbers" else "text_classification"
    why["task"] = _why_task(chosen, task, unsure)
    max_length, cut = _length(texts, why)
    total = len(chosen.cells)
    validation = CUT[0] if total >= FEW_ROWS else CUT[1]
    empty = {row for row in range(total) if _has_no_text(texts, row)}
    if empty:
        why["drop_empty"] = f"{counted(len(empty), 'row')} without a text"
    _doubts(rows, chosen, texts, task, empty, unsure)
    return DataChoices(task, texts, chosen, max_length, cut, validation, TEST_CUT, bool(empty), why, tuple(unsure))


def _label(rows: TrainingRows, texts: Sequence[Column], unsure: list[str]) -> Column:
    candidates = [column for column in rows.columns if column.holds and column not in texts]
    if not candidates:
        raise _none_found(rows, "label")
    candidates.sort(key=lambda column: _label_order(column, rows.columns.index(column)))
    best, *others = candidates
    rank = _rank(best.name, LABELS)
    if alike := [column for column in others if _rank(column.name, LABELS) <= rank]:
        names = ", ".join(map(_with_missing, alike))
        unsure.append(f"The label could also be {names}: --label names another column.")
    elif best.counts.keys() <= {"0", "1"}:
        flags = [c.name for c in rows.columns if c in others and c.counts.keys() <= {"0", "1"}]
        if flags:
            names = ", ".join(flags)
            unsure.append(f"{names} hold 0 and 1, too: a row has one label here; --label names another column.")
    constant = [c.name for c in rows.columns if len(c.counts) == 1 and _rank(c.name, LABELS) < len(LABELS)]
    if constant and not rows.complete:
        beginning = f"one value in the first {LIMIT >> 20} MB, and may hold more after them"
        unsure.append(f"{', '.join(constant)}: {beginning}; --label names another column.")
    return best


def _label_order(column: Column, index: int) -> tuple[bool, bool, int, bool, int]:
    """The key by which columns are sorted, the likeliest label first.

    Columns that are called like a label are first; of these the filled ones, the names most like a label's, classes,
    and the shorter names: a column derived from another has a longer one. Of other columns the last of a file is the
    likeliest.
    """
    rank = _rank(column.name, LABELS)
    known = rank < len(LABELS)
    return not known, column.is_sparse, rank, column.holds != "classes", len(column.name) if known else -index


def _with_missing(column: Column) -> str:
    lacks = f" ({column.missing:,} of {len(column.cells):,} rows without a value)"
    return column.name + (lacks if column.missing else "")


def _none_found(rows: TrainingRows, what: str) -> InputError:
    """The error that no column looks like a `what`: a label or a text."""
    held = ", ".join(column.describe() for column in rows.columns)
    rule, step = f"has no column that looks like a {what}: {held}", f"name it with --{what}, or add one"
    if not rows.complete:
        rule += f"; only the first {LIMIT >> 20} MB of the file were looked at"
        step += "; a file that is sorted by its classes is known once its rows are shuffled"
    return InputError("--data", str(rows.path), rule, step)


def _has_no_text(texts: Sequence[Column], row: int) -> bool:
    """True if `drop_empty` leaves out this row: it has no text at all, or of a pair one is null."""
    missing = [column for column in texts if column.is_missing(row)]
    return len(missing) == len(texts) or any(not isinstance(column.cells[row], str) for column in missing)


def _texts(rows: TrainingRows, label: Column, unsure: list[str]) -> tuple[Column, ...]:
    held = {column.name.lower(): column for column in rows.columns if column is not label}
    for first, second in PAIRS:
        if first in held and second in held and held[first].holds_text and held[second].holds_text:
            return held[first], held[second]
    candidates = [column for column in held.values() if column.holds_text]
    if not candidates:  # short ones, such as product names or search words
        candidates = [c for c in held.values() if c.texts and c.is_plain and c.numbers is None and not c.names_rows]
    if not candidates:
        raise _none_found(rows, "text")
    candidates.sort(key=lambda column: (_rank(column.name, TEXTS), column.is_sparse, -column.words))
    best, *others = candidates
    if others:
        names = ", ".join(column.name for column in others)
        unsure.append(f"The model is not shown {names}; for a pair of texts give --text twice.")
    return (best,)


def _rank(name: str, known: Sequence[str]) -> int:
    """The position of the known name that `name` is most like; `len(known)`: like none of them."""
    plain = name.strip().lower().replace(" ", "_").replace("-", "_")
    if plain in known:
        return known.index(plain)
    return len(known) - 1 if any(word in plain.split("_") for word in known[:6]) else len(known)


def _why_label(column: Column) -> str:
    return (
        "called like one" if _rank(column.name, LABELS) < len(LABELS) else f"few distinct values: {len(column.counts)}"
    )


def _why_texts(columns: Sequence[Column]) -> str:
    return ", ".join(f"about {column.words:.3g} words each" for column in columns)


def _why_task(label: Column, task: str, unsure: list[str]) -> str:
    names = label.class_names or tuple(sorted(label.counts))
    if task == "text_regression":
        numbers = label.numbers or [0.0]
        if not label.has_fractions and label.repeats:
            unsure.append("The label holds whole numbers; to predict them as classes set task: text_classification.")
        return f"{len(label.counts)} distinct numbers from {min(numbers):g} to {max(numbers):g}"
    if label.numbers is not None and not label.class_names and not label.named:
        if label.has_fractions:
            unsure.append(
                "The label holds numbers with fractions; to predict them as numbers set task: text_regression."
            )
        elif len(names) > 2:
            unsure.append("The label holds whole numbers; to predict them as numbers set task: text_regression.")
    return counted(len(names), "class", "classes")


def _length(texts: Sequence[Column], why: dict[str, str]) -> tuple[int, float]:
    """The smallest length that holds most rows whole, in tokens, and the share of the rows that are longer."""
    columns = zip(*(column.cells for column in texts), strict=True)
    extra = 1 + len(texts)  # [CLS], and [SEP] after each text
    lengths = sorted(math.ceil(sum(pieces(str(cell or "")) for cell in cells)) + extra for cells in columns)
    covered = lengths[min(len(lengths) - 1, int(COVERED * len(lengths)))]
    best = next((length for length in LENGTHS if length >= covered), LENGTHS[-1])
    cut = sum(length > best for length in lengths) / len(lengths)
    longest = f"half of the rows have about {lengths[len(lengths) // 2]} tokens or fewer, the longest {lengths[-1]}"
    why["max_length"] = f"{longest}; {percent(cut)} of them are cut" if cut else longest
    return best, cut


def _doubts(
    rows: TrainingRows, label: Column, texts: Sequence[Column], task: str, empty: Collection[int], unsure: list[str]
) -> None:
    """Add to `unsure` what the data leaves open, or what will not work; `empty` rows are left out."""
    if not rows.complete:
        unsure.append("Only the beginning of a large file was looked at.")
    if missing := sum(label.is_missing(row) for row in range(len(label.cells)) if row not in empty):
        unsure.append(f"{counted(missing, 'row')} without a label: fill it in or remove them, or the run is refused.")
    if task == "text_classification":
        rare = [name for name, count in label.counts.items() if count < FEWEST_OF_CLASS]
        if rare and not {"validation", "test"} <= rows.splits.keys():
            unsure.append(
                f"{counted(len(rare), 'class', 'classes')} with fewer than {FEWEST_OF_CLASS} rows, one for each split."
            )
        alike = _alike(label)
        if alike:
            unsure.append(f"Classes that differ in blanks or capitals alone: {alike}.")
    letters = [letter for column in texts for text in column.texts[:1000] for letter in text[:200] if letter.isalpha()]
    if letters and sum(not letter.isascii() for letter in letters) > FOREIGN * len(letters):
        unsure.append("The texts are not all English, which minilm was made for; xlm-roberta-base knows 100 languages.")


def _alike(label: Column) -> str:
    seen: dict[str, list[str]] = {}
    for name in label.counts:
        seen.setdefault(" ".join(name.lower().split()), []).append(name)
    return "; ".join(" / ".join(map(repr, sorted(names))) for names in list(seen.values()) if len(names) > 1)
