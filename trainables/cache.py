"""What a worker process keeps from trial to trial: the splits, raw and tokenised, which no trial changes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from datasets import Dataset

from trainables.models import load_tokenizer
from trainables.spec import DataSpec, FineTuneSpec
from trainables.tasks import Task, TaskData, find_task

DEFAULT_MAX_LENGTH = 128


@dataclass(frozen=True)
class PreparedTask:
    """A task's splits as a model takes them. Validation and test are in order of length: less padding, equal scores."""

    task: Task
    tokenizer: Any
    max_length: int  # tokens
    rows: TaskData  # as read, with label names and fingerprint
    train: Dataset
    validation: Dataset
    lengths: tuple[int, ...]  # tokens per training row

    @cached_property
    def test(self) -> Dataset:
        """Tokenised when it is asked for; a search never asks."""
        return _by_length(self.task.tokenize(self.rows.test, self.tokenizer, self.max_length))

    @property
    def regression(self) -> bool:
        """Whether the label is a number."""
        return self.task.kind == "regression"


def prepare(spec: FineTuneSpec, max_length: int | None) -> PreparedTask:
    """The tokenised splits of `spec`; `max_length` (tokens) goes before `spec.data.max_length`.

    Raises:
        TaskError: the data cannot be read or are not what the task needs.
    """
    data = spec.data.model_copy(update={"max_length": max_length or spec.data.max_length or DEFAULT_MAX_LENGTH})
    # Only what the splits depend on, so that trials with other values find them.
    alike = {"data": data, "fixed": {}, "seed": 0, "objective": None, "epochs": 1, "report_every_epochs": 1}
    return _prepare(spec.model_copy(update=alike).model_dump_json())


@lru_cache(maxsize=1)
def _rows(task: str, data: DataSpec) -> TaskData:
    return find_task(task).load(data)


@lru_cache(maxsize=4)  # a search over data.max_length has a few of them
def _prepare(key: str) -> PreparedTask:
    spec = FineTuneSpec.model_validate_json(key)
    task, tokenizer = find_task(spec.task), load_tokenizer(spec)
    rows = _rows(spec.task, spec.data.model_copy(update={"max_length": None}))
    assert spec.data.max_length is not None
    train, validation = (
        task.tokenize(split, tokenizer, spec.data.max_length) for split in (rows.train, rows.validation)
    )
    return PreparedTask(
        task=task,
        tokenizer=tokenizer,
        max_length=spec.data.max_length,
        rows=rows,
        train=train,
        validation=_by_length(validation),
        lengths=tuple(train["length"]),
    )


def _by_length(split: Dataset) -> Dataset:
    return split.select(np.argsort(split["length"], kind="stable"))
