"""Formats the summary of an experiment's data as lines, for `tunefleet validate` and the header of a run."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator
from pathlib import Path

from trainables.data.warnings import warnings_of
from trainables.models.files import resolve_model
from trainables.tasks import find_task
from trainables.tasks.delimited import SEPARATORS
from trainables.tasks.summary import DataSummary, FileRead, SplitSummary, TokenSummary
from trainables.wording import counted, percent
from tuning.spec.models import ExperimentSpec

SHOWN_CLASSES, SHOWN_FILES = 8, 6
WIDTH = 118  # characters of a line
MOST_ROWS = 2000  # rows of each split that `validate` tokenises, which takes a second


def local_summary(spec: ExperimentSpec) -> DataSummary | None:
    """Summarises the data as far as this machine can read them without a network.

    It covers the rows if they are local, and their tokens if the model is, too. None if the rows are not local, or the
    trainable reads its own data.

    Raises:
        TaskError: the rows cannot be used.
        ModelError: the model's tokenizer cannot be used.
    """
    if spec.trainable != "finetune" or find_task(spec.task).options(spec.data).hub is not None:
        return None
    from trainables.data.encoding import DEFAULT_MAX_LENGTH
    from trainables.data.summarising import summarise_data

    if not Path(resolve_model(spec.model)).is_dir():
        return find_task(spec.task).load(spec.data).summary
    return summarise_data(spec, smallest_max_length(spec) or DEFAULT_MAX_LENGTH, most=MOST_ROWS)


def smallest_max_length(spec: ExperimentSpec) -> int | None:
    """Returns the smallest `data.max_length` that a trial may have, in tokens; None: the default."""
    fixed = spec.fixed.get("data.max_length", spec.data.max_length)
    spaces = (spec.space_of(strategy).root.get("data.max_length") for strategy in spec.strategies)
    stated = [value for space in spaces if space is not None for _, value in space.stated()]
    lengths = [int(value) for value in (*stated, *([] if fixed is None else [fixed])) if isinstance(value, int | float)]
    return min(lengths, default=None)


def data_lines(summary: DataSummary, metric: str) -> Iterator[str]:
    """Yields lines about the data: source, splits, rows that were left out, tokenizer, warnings.

    Args:
        summary: of the data.
        metric: of the objective; for f1 a line names its class.
    """
    source, files = _short(summary.source), [_short_file(file, summary.source) for file in summary.files]
    if [file.path for file in files] == [source]:
        yield f"data: {file_in_words(files.pop())}"
    else:
        yield f"data: {source}"
    for file in files[:SHOWN_FILES]:
        yield f"  {file_in_words(file)}"
    if len(summary.files) > SHOWN_FILES:
        yield f"  and {len(summary.files) - SHOWN_FILES} more files"
    for name, split in summary.splits.items():
        yield f"  {name:10} {counted(split.rows, 'row')}: {labels_in_words(split)}"
        if name in summary.tokens:
            yield f"  {'':10} {tokens_in_words(summary.tokens[name], split.rows)}"
    for out in _left_out(summary):
        yield f"  left out: {out}"
    for line in shared_in_words(summary):
        yield f"  {line}"
    if summary.positive is not None and metric == "f1":
        yield f"  f1 is that of the class {summary.positive!r}; set data.positive for another"
    if how := tokenizer_in_words(summary):
        yield f"  {how}"
    for warning in warnings_of(summary):
        yield from textwrap.wrap(f"  WARNING {warning}", WIDTH, subsequent_indent=" " * 10, break_long_words=False)


def labels_in_words(split: SplitSummary) -> str:
    """Formats the classes with their numbers of rows, or the range of the values."""
    if split.value_range is not None:
        low, mean, high = split.value_range
        return f"{low:g} to {high:g}, mean {mean:.4g}"
    shown = [f"{name} {rows:,}" for name, rows in list(split.classes.items())[:SHOWN_CLASSES]]
    more = len(split.classes) - len(shown)
    return ", ".join([*shown, *([f"and {more} more classes"] if more else [])])


def tokens_in_words(tokens: TokenSummary, rows: int) -> str:
    """Formats the lengths of texts in tokens, and how many are cut.

    Args:
        tokens: of one split.
        rows: number of rows of the split.
    """
    of = "" if tokens.rows == rows else f" (of its first {tokens.rows:,} rows)"
    length = f"median {tokens.median:,} tokens, longest {tokens.longest:,}{of}"
    if not tokens.cut_rows:
        return f"{length}; none is cut"
    share = tokens.cut_rows / tokens.rows
    lost = f"{percent(tokens.lost_share)} of tokens lost"
    return f"{length}; {counted(tokens.cut_rows, 'row')} cut ({percent(share)}), {lost}"


def left_out(summary: DataSummary) -> str:
    """Formats which rows are in no split, and why; empty if all are."""
    return "; ".join(_left_out(summary))


def _left_out(summary: DataSummary) -> list[str]:
    counts = ((summary.duplicates, "with a text that is a duplicate"), (summary.empty, "without a text"))
    found = [f"{counted(rows, 'row')} {why}" for rows, why in counts if rows]
    for split, rows in summary.unlabelled.items():
        instead = f": test rows are from {summary.instead}" if split == "test" else ""
        found.append(f"{counted(rows, 'row')} of {split} without labels{instead}")
    return found


def shared_in_words(summary: DataSummary) -> Iterator[str]:
    """Yields lines about near-duplicates and groups in two splits, and about splits that differ between seeds."""
    if summary.cuts > 1:
        cut = "its own cut into train and validation (shown: the first)"
        yield f"each of {summary.cuts} search seeds has {cut}, and all have this test split"
    if near := summary.near_duplicates:
        where = " and ".join(f"{counted(rows, 'row')} of {name}" for name, rows in near.items())
        yield f"near-duplicates: {where} as in another split but for case, punctuation or white space (kept)"
    if summary.group is not None:
        shared = f"{summary.shared_groups:,} in two splits" if summary.shared_groups else "none in two splits"
        yield f"groups: {summary.groups:,} of {summary.group}, {shared}"


def tokenizer_in_words(summary: DataSummary) -> str | None:
    """Formats vocabulary and padding of the tokenizer; None if it is not known yet."""
    how = summary.tokenizer
    if how is None:
        return None
    return (
        f"tokenizer: {how.vocabulary:,} tokens, at most {how.max_length:,} per row; {how.padding_side} padding with "
        f"{how.pad_token} ({how.pad_id})"
    )


def file_in_words(file: FileRead) -> str:
    """Formats a file and how it was read."""
    quotes = {True: "quoted", False: "without quoting", None: None}[file.quoted]
    separator = None if file.separator is None else f"separator {SEPARATORS.get(file.separator, file.separator)}"
    how = ", ".join(part for part in (file.encoding, separator, quotes, file.shape) if part)
    several = f" on {file.lines:,} lines" if file.lines not in (None, file.rows) else ""
    return f"{file.path} ({file.split}): {counted(file.rows, 'row')}{several}{f'; {how}' if how else ''}"


def _short_file(file: FileRead, source: str) -> FileRead:
    """Returns the file with a path relative to the source folder, if it is inside."""
    below = os.path.relpath(file.path, source) if os.path.isdir(source) else ".."
    return file.model_copy(update={"path": _short(file.path) if below.startswith("..") else below})


def _short(place: str) -> str:
    """Returns the shortest form of a path: without `..`, and relative to the working directory if that is shorter."""
    if not Path(place).is_absolute():
        return place
    plain = os.path.normpath(place)
    here = os.path.relpath(plain)
    return here if len(here) < len(plain) else plain
