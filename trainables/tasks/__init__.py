"""Tasks: what a text goes in and what label comes out, where the rows are, how predictions are scored.

One file per kind of task in this folder. A file that defines `TASKS`, a tuple of `Task` objects, adds them all: there
is no second list. The other files are what the kinds share: `files` and `sources` read rows, `splits` draws the three
splits, `text` turns both into data sets.
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

# Kinds of tasks that there are elsewhere and not here. Their names are near to those of ours, and mean something else.
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
    """The data cannot be used: which option, its value, the rule, the next step."""


class TaskData(NamedTuple):
    """Three disjoint splits with the columns `text`, `text_pair` (tasks of two texts) and `label`.

    The search sees train and validation; test is for the final evaluation only.
    """

    train: Dataset
    validation: Dataset
    test: Dataset
    num_labels: int  # 1 for regression
    label_names: tuple[str, ...]  # by class id; empty for regression
    fingerprint: str  # hex digest of the rows and label names: equal on every machine for equal data and options
    summary: DataSummary  # files, rows and classes by split, what was left out; without tokens


@dataclass(frozen=True)
class Task(ABC):
    """One named task. `check` is called while a spec is read, everything else on a worker.

    No method may keep state between calls, write a file, or use a global random state.
    """

    name: str
    summary: str  # one line for listings
    data: DataSpec  # the preset's own values; a DataSpec of the user goes before them, field by field
    objective: Objective  # what a strategy optimises unless the spec says otherwise

    kind: ClassVar[Literal["classification", "regression"]]
    metric_names: ClassVar[tuple[str, ...]]  # what `metrics` returns; the trial adds `loss`

    @abstractmethod
    def options(self, data: DataSpec) -> DataSpec:
        """`data`, completed by the preset. Another source (`path`, `hub`) replaces the preset's source altogether."""

    @abstractmethod
    def check(self, data: DataSpec) -> list[tuple[str, str]]:
        """Returns all mistakes in `data` at once, as pairs of (dotted path such as `data.path`, message).

        Reads local files, of large ones the beginning (see `unchecked`); imports neither torch nor datasets, and never
        uses the network.
        """

    def unchecked(self, data: DataSpec) -> str | None:
        """A sentence about what `check` leaves for a run to find out, as local files are large; None: nothing."""
        return None

    @abstractmethod
    def source(self, data: DataSpec) -> str:
        """A hex digest of what `load` reads, found without reading rows: equal content, equal digest, wherever it is.

        Raises:
            TaskError: there is nothing to read.
        """

    @abstractmethod
    def load(self, data: DataSpec) -> TaskData:
        """Read the rows and draw the splits: the same for the same rows, options and seed.

        Raises:
            TaskError: the rows cannot be read, or are not what this task needs.
        """

    @abstractmethod
    def tokenize(self, split: Dataset, tokenizer: Any, max_length: int) -> Dataset:
        """`split` as a model takes it: `input_ids`, `attention_mask`, `token_type_ids` where the tokenizer makes them,
        `labels` (int, or float for regression), `length` (tokens) and `full_length` (tokens before truncation).
        Truncated to `max_length`, not padded.

        Raises:
            TaskError: `max_length` is more than the model can take.
        """

    @abstractmethod
    def metrics(self, predictions: np.ndarray, labels: np.ndarray, positive: int | None = None) -> dict[str, float]:
        """The scores of float predictions (n, num_labels) against labels (n,). A prediction that is NaN or infinite
        makes every score NaN: a diverged model must not look like a guessing one.

        Args:
            positive: of two classes, the id of the one whose F1 is the score `f1` (`DataSummary.positive` is its
                name); None: the second.
        """


@cache
def find_tasks() -> Mapping[str, Task]:
    """Every task by name.

    Raises:
        ValueError: two files claim one name.
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
    """The task of that name.

    Raises:
        TaskError: there is none; names the nearest known one. Or no task is named.
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
