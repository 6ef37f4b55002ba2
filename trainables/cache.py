"""What a worker process keeps from trial to trial: the splits, raw and tokenised, which no trial changes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
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
    train: Dataset
    validation: Dataset
    test: Dataset
    lengths: tuple[int, ...]  # tokens per training row
    num_labels: int
    label_names: tuple[str, ...]
    regression: bool
    fingerprint: str


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
    data = _rows(spec.task, spec.data.model_copy(update={"max_length": None}))
    assert spec.data.max_length is not None
    train, validation, test = (task.tokenize(split, tokenizer, spec.data.max_length) for split in data[:3])
    return PreparedTask(
        task=task,
        tokenizer=tokenizer,
        train=train,
        validation=_by_length(validation),
        test=_by_length(test),
        lengths=tuple(train["length"]),
        num_labels=data.num_labels,
        label_names=data.label_names,
        regression=task.kind == "regression",
        fingerprint=data.fingerprint,
    )


def _by_length(split: Dataset) -> Dataset:
    return split.select(np.argsort(split["length"], kind="stable"))
