"""Builds the summary of an experiment's data (`trainables.tasks.summary.DataSummary`) from rows and tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from trainables.spec import FineTuneSpec
from trainables.tasks import TaskError
from trainables.tasks.summary import DataSummary, TokenizerSummary, TokenSummary

if TYPE_CHECKING:
    from datasets import Dataset

    from trainables.tasks import Task, TaskData


def summarise_data(spec: FineTuneSpec, max_length: int, *, most: int) -> DataSummary:
    """Reads the rows of `spec`, tokenises some of each split in memory, and summarises both; writes nothing to disk.

    Args:
        spec: its task, data and model.
        max_length: tokens per row at most.
        most: number of rows of each split that are tokenised, from its beginning.

    Raises:
        TaskError: the data cannot be read or are not what the task needs.
        ModelError: the model's tokenizer cannot be loaded.
    """
    from trainables.models.encoders import load_tokenizer
    from trainables.tasks import find_task

    task, tokenizer = find_task(spec.task), load_tokenizer(spec)
    rows = task.load(spec.data)
    splits = {name: getattr(rows, name) for name in ("train", "validation", "test")}
    some = {name: split.select(range(min(len(split), most))) for name, split in splits.items()}
    tokens = {name: tokenize_split(task, split, tokenizer, max_length) for name, split in some.items()}
    return with_tokens(rows, tokens, tokenizer, max_length)


def tokenize_split(task: Task, split: Dataset, tokenizer: Any, max_length: int) -> Dataset:
    """Tokenises a split (see `Task.tokenize`).

    Raises:
        TaskError: a text has no token at all, which models cannot process.
    """
    tokens = task.tokenize(split, tokenizer, max_length)
    if empty := [row for row, length in enumerate(tokens["length"]) if not length]:
        rule = f"{len(empty)} of {len(split)} texts, of which this is the first, become no token with this model"
        step = "remove them, or name a model whose tokenizer knows their words"
        raise TaskError("data.text", split[empty[0]]["text"], rule, step)
    return tokens


def with_tokens(rows: TaskData, tokens: Mapping[str, Dataset], tokenizer: Any, max_length: int) -> DataSummary:
    """Adds token counts to the summary of `rows`; `tokens` has the splits as `Task.tokenize` returns them, by name."""
    counted = {name: token_summary(split, tokenizer, max_length) for name, split in tokens.items()}
    how = tokenizer_summary(tokenizer, max_length)
    return rows.summary.model_copy(update={"tokens": counted, "tokenizer": how})


def tokenizer_summary(tokenizer: Any, max_length: int) -> TokenizerSummary:
    """Describes how `tokenizer` turns texts into a model's input."""
    return TokenizerSummary(
        vocabulary=len(tokenizer),
        max_length=max_length,
        limit=int(tokenizer.model_max_length),
        pad_token=str(tokenizer.pad_token),
        pad_id=int(tokenizer.pad_token_id),
        padding_side=str(tokenizer.padding_side),
    )


def token_summary(split: Dataset, tokenizer: Any, max_length: int) -> TokenSummary:
    """Counts the tokens of one split.

    Args:
        split: as `Task.tokenize` returns it, with the columns `input_ids`, `length` and `full_length`.
    """
    full = np.asarray(split.with_format("numpy")["full_length"], dtype=np.int64)
    kept = np.asarray(split.with_format("numpy")["length"], dtype=np.int64)
    ids = np.concatenate([chunk.flatten().to_numpy() for chunk in split.data.column("input_ids").chunks])
    unknown = 0 if tokenizer.unk_token_id is None else int((ids == tokenizer.unk_token_id).sum())
    return TokenSummary(
        rows=len(split),
        median=int(np.median(full)),
        longest=int(full.max()),
        cut_rows=int((full > max_length).sum()),
        lost_share=float((full - kept).sum() / full.sum()),
        unknown_share=unknown / max(len(ids), 1),
    )
