"""Builds the section on the data: a table of the splits, and other facts."""

from __future__ import annotations

from trainables.tasks.summary import DataSummary
from trainables.wording import percent
from tuning.report.data_summary import (
    SHOWN_FILES,
    file_in_words,
    labels_in_words,
    left_out,
    shared_in_words,
    tokenizer_in_words,
)
from tuning.report.page.figure import DataTable


def data_table(summary: DataSummary) -> DataTable:
    """Returns a row per split: rows, labels, and lengths of texts in tokens."""
    columns = (
        "split",
        "rows",
        "labels",
        "tokens, median",
        "tokens, longest",
        "rows cut",
        "tokens lost",
        "unknown tokens",
    )
    rows = []
    for name, split in summary.splits.items():
        tokens = summary.tokens.get(name)
        counted = (
            (None,) * 5
            if tokens is None
            else (
                *(tokens.median, tokens.longest, tokens.cut_rows),
                *(percent(tokens.lost_share), percent(tokens.unknown_share)),
            )
        )
        rows.append((name, split.rows, labels_in_words(split), *counted))
    return DataTable(columns, tuple(rows))


def data_facts(summary: DataSummary) -> list[str]:
    """Returns other facts about the data, a sentence each: source, rows that were left out, tokenizer."""
    facts = [f"rows from {summary.source}", *map(file_in_words, summary.files[:SHOWN_FILES])]
    if len(summary.files) > SHOWN_FILES:
        facts.append(f"and {len(summary.files) - SHOWN_FILES} more files")
    if out := left_out(summary):
        facts.append(f"left out: {out}")
    facts += shared_in_words(summary)
    if summary.positive is not None:
        facts.append(f"f1 is that of the class {summary.positive!r}")
    return [*facts, *filter(None, [tokenizer_in_words(summary)])]
