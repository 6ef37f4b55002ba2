"""Tasks: where the rows are, how they are read and split, what their labels mean, how predictions are scored.

A task has one label or one number for each text or pair of texts; for other outputs there are Trainers of the user's
own. To add a kind of task, add a file to this folder that defines `TASKS`, a tuple of `Task` objects; there is no
second list. The other files are shared by all kinds: `sources` and `files` read rows, `splits` draws the three splits,
`text` turns them into data sets.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from trainables.errors import InputError, nearest
from trainables.spec import DataSpec, Objective
from trainables.tasks.summary import DataSummary

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

__all__ = ["Task", "TaskData", "TaskError", "find_task", "find_tasks", "task_names"]

# Kinds of tasks that are not supported. Their names are similar to supported ones, and mean something else.
UNSUPPORTED = frozenset(
    [
        *("token_classification", "ner", "pos", "pos_tagging", "tagging", "sequence_labeling", "sequence_labelling"),
        *("question_answering", "qa", "squad", "summarization", "translation", "seq2seq", "text2text_generation"),
        *("text_generation", "causal_lm", "language_modeling", "masked_lm", "fill_mask", "multiple_choice", "swag"),
        *("multi_label_classification", "multilabel_classification", "multilabel", "zero_shot_classification"),
        *("feature_extraction", "sentence_similarity", "sentence_embedding", "reward_modeling", "dpo", "sft"),
    ]
)
UNSUPPORTED_MODALITIES = ("image_classification", "audio_classification", "video_classification", "speech_recognition")
ALIASES = {
    **dict.fromkeys(("classification", "sequence_classification", "classify", "csv"), "text_classification"),
    **dict.fromkeys(("sentiment", "sentiment_analysis", "nli", "text_pair_classification"), "text_classification"),
    **dict.fromkeys(("regression", "sequence_regression", "scoring"), "text_regression"),
    **{name: f"glue/{name}" for name in ("cola", "sst2", "mrpc", "qqp", "mnli", "qnli", "wnli", "stsb")},
    **{"sst_2": "glue/sst2", "sts_b": "glue/stsb"},
}


class TaskError(InputError):
    """The task or its data cannot be used: which option, its value, the rule, the next step."""


class TaskData(NamedTuple):
    """Three disjoint splits with the columns `text`, `text_pair` (tasks of two texts) and `label`.

    The search sees train and validation; test is for the final evaluation only.
    """

    train: Dataset
    validation: Dataset
    test: Dataset
    num_labels: int  # 1 for regression
    label_names: tuple[str, ...]  # by class id; empty for regression
    fingerprint: str  # hex digest of rows and label names: equal on every machine for equal data and options
    summary: DataSummary  # files, rows and classes by split, rows that were left out; without token counts


@dataclass(frozen=True)
class Task(ABC):
    """One named task. `check` is called when a spec is validated, all other methods on a worker.

    No method may keep state between calls, write files, or use a global random generator.
    """

    name: str
    summary: str  # one line for listings
    data: DataSpec  # the preset's values; those that the user sets override them, field by field
    objective: Objective  # what a strategy optimises unless the spec sets another

    kind: ClassVar[Literal["classification", "regression"]]
    metric_names: ClassVar[tuple[str, ...]]  # what `metrics` returns; the trial adds `loss`

    @abstractmethod
    def options(self, data: DataSpec) -> DataSpec:
        """Completes `data` with the preset's values; another source (`path`, `hub`) replaces the preset's entirely."""

    @abstractmethod
    def check(self, data: DataSpec) -> list[tuple[str, str]]:
        """Returns all mistakes in `data`, as pairs of (dotted path such as `data.path`, message).

        Reads local files, only the beginning of large ones (see `unchecked`). Must not import torch or datasets, nor
        use the network.
        """

    def unchecked(self, data: DataSpec) -> str | None:
        """A sentence about what `check` cannot verify because local files are large; None if it verifies everything."""
        return None

    @abstractmethod
    def source(self, data: DataSpec) -> str:
        """Returns a hex digest of the content that `load` reads, without parsing rows; independent of its location.

        Raises:
            TaskError: there is nothing to read.
        """

    @abstractmethod
    def load(self, data: DataSpec) -> TaskData:
        """Reads the rows and draws the splits; a pure function of rows, options and seed.

        Raises:
            TaskError: the rows cannot be read, or are not what this task needs.
        """

    @abstractmethod
    def tokenize(self, split: Dataset, tokenizer: Any, max_length: int) -> Dataset:
        """Tokenises `split`; rows are truncated to `max_length` tokens and not padded.

        Returns:
            A data set with the columns `input_ids`, `attention_mask`, `token_type_ids` (if the tokenizer makes them),
            `labels` (int, or float for regression), `length` (tokens) and `full_length` (tokens before truncation).

        Raises:
            TaskError: `max_length` exceeds the model's limit.
        """

    @abstractmethod
    def metrics(self, predictions: np.ndarray, labels: np.ndarray, positive: int | None = None) -> dict[str, float]:
        """Scores predictions against labels.

        Args:
            predictions: floats of shape (n, num_labels). If one is NaN or infinite, every score is NaN, so that a
                diverged model does not look like one that guesses.
            labels: of shape (n,): class ids, or numbers for regression.
            positive: of two classes, the id of the one whose F1 is the score `f1` (`DataSummary.positive` is its
                name); None: the second.
        """


@cache
def find_tasks() -> Mapping[str, Task]:
    """All tasks by name.

    Raises:
        ValueError: two files define the same name.
    """
    found: dict[str, Task] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        for task in getattr(importlib.import_module(f"{__name__}.{module}"), "TASKS", ()):
            if task.name in found:
                raise ValueError(f"task {task.name!r} in {module}.py stands in another file already; rename one")
            found[task.name] = task
    return found


def task_names() -> tuple[str, ...]:
    """The names of all tasks, sorted."""
    return tuple(sorted(find_tasks()))


def find_task(name: str | None) -> Task:
    """Returns the task of that name.

    Raises:
        TaskError: there is none (the error names the most similar one), or `name` is None.
    """
    known = find_tasks()
    if name is None:
        raise TaskError("task", name, "is missing", f"add one of {', '.join(task_names())}")
    if name in known:
        return known[name]
    plain = name.lower().replace("-", "_").replace(" ", "_")
    if plain in UNSUPPORTED or plain.endswith(UNSUPPORTED_MODALITIES):
        step = f"known kinds are classes and numbers for a text or a pair of texts: {', '.join(task_names())}"
        raise TaskError("task", name, "is not supported", step)
    meant = ALIASES.get(plain, plain)
    step = f"did you mean {meant}?" if meant in known else nearest(name, known)
    raise TaskError("task", name, "is no known task", f"{step} (`tunefleet ls` shows all)")
