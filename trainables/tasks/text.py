"""What every kind of task over one text or a pair of texts shares: from raw rows to splits, from splits to tokens."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from trainables.data_summary import DataSummary, SplitSummary
from trainables.spec import DataSpec
from trainables.tasks import Task, TaskData, TaskError
from trainables.tasks.sources import RawSplit, digest, file_errors, is_local, option_errors, read, where
from trainables.tasks.splits import Rows, draw_splits

if TYPE_CHECKING:
    from datasets import Dataset

TEXT_COLUMNS = ("text", "text_pair")
SOURCE_FIELDS = ("path", "train", "validation", "test", "hub", "config", "revision", "source")


@dataclass(frozen=True)
class TextTask(Task):
    """A kind of task says how labels are encoded and scored; the rest is here."""

    @abstractmethod
    def encode(self, splits: Mapping[str, RawSplit]) -> tuple[dict[str, Rows], tuple[str, ...]]:
        """The rows with numbers for labels, and the class names by id (empty for regression).

        Raises:
            TaskError: a label is null or of the wrong kind, or the training labels do not vary.
        """

    @abstractmethod
    def label_feature(self, class_names: tuple[str, ...]) -> Any:
        """The `datasets` feature of the label column."""

    def options(self, data: DataSpec) -> DataSpec:
        """See `Task.options`."""
        given = {name: value for name, value in data if value is not None}
        moved = is_local(data) or (data.hub is not None and data.hub != self.data.hub)
        preset = {name: value for name, value in self.data if not (moved and name in SOURCE_FIELDS)}
        return DataSpec.model_construct(**(preset | given))

    def check(self, data: DataSpec) -> list[tuple[str, str]]:
        """See `Task.check`."""
        options = self.options(data)
        errors = self._option_errors(data, options) or file_errors(options)
        return [(error.name, error.message) for error in errors]

    def _option_errors(self, data: DataSpec, options: DataSpec) -> list[TaskError]:
        found = option_errors(options)
        if data.source is not None and self.data.source is None:
            step = "remove it, or set task=reviews"
            found.append(TaskError("data.source", data.source, f"the task {self.name} has no sources", step))
        if data.path is not None and data.hub is not None:
            found.append(TaskError("data.hub", data.hub, "data.path is set as well", "remove one of them"))
        return found

    def source(self, data: DataSpec) -> str:
        """See `Task.source`."""
        options = self.options(data)
        for error in self._option_errors(data, options):
            raise error
        return digest(options)

    def load(self, data: DataSpec) -> TaskData:
        """See `Task.load`."""
        options = self.options(data)
        for error in self._option_errors(data, options):
            raise error
        published, class_names = self.encode(_with_labels(read(options)))
        drawn = draw_splits(published, options, class_names)
        splits = drawn.splits
        train, validation, test = (self._dataset(splits[name], class_names) for name in ("train", "validation", "test"))
        digest = fingerprint(self.kind, class_names, splits)
        summary = DataSummary(
            source=where(options),
            splits={name: split_summary(splits[name], class_names) for name in ("train", "validation", "test")},
            duplicates=drawn.duplicates,
            contradictions=drawn.contradictions,
        )
        return TaskData(train, validation, test, len(class_names) or 1, class_names, digest, summary)

    def _dataset(self, rows: Rows, class_names: tuple[str, ...]) -> Dataset:
        from datasets import Dataset, Features, Value

        columns = dict(zip(TEXT_COLUMNS, map(list, zip(*rows.texts, strict=True)), strict=False))
        features = Features({**dict.fromkeys(columns, Value("string")), "label": self.label_feature(class_names)})
        return Dataset.from_dict({**columns, "label": rows.labels}, features=features)

    def tokenize(self, split: Dataset, tokenizer: Any, max_length: int) -> Dataset:
        """See `Task.tokenize`."""
        from datasets import Dataset, concatenate_datasets

        if max_length > tokenizer.model_max_length:
            rule = f"the model takes at most {tokenizer.model_max_length} tokens"
            raise TaskError("data.max_length", max_length, rule, "lower it")
        names = [name for name in TEXT_COLUMNS if name in split.column_names]
        chunks = []
        for rows in split.iter(batch_size=4096):
            tokens = dict(tokenizer(*(rows[name] for name in names), truncation=True, max_length=max_length))
            tokens |= {"labels": rows["label"], "length": [len(ids) for ids in tokens["input_ids"]]}
            chunks.append(Dataset.from_dict(tokens))
        return concatenate_datasets(chunks)


def _with_labels(splits: Mapping[str, RawSplit]) -> dict[str, RawSplit]:
    """The splits that can be scored. Where the test labels are hidden, the public validation split is the test."""
    shown = {name: split for name, split in splits.items() if not _hidden(split)}
    if "train" not in shown:
        raise TaskError("data.train", splits["train"].origin, "has no labels", "give it a label in every row")
    if "test" in splits and "test" not in shown and "validation" in shown:
        shown["test"] = shown.pop("validation")
    return shown


def _hidden(split: RawSplit) -> bool:
    """No label column, or nothing but nulls and -1, the public data sets' sign for a label that is withheld."""
    return split.labels is None or all(label is None or str(label) in ("-1", "-1.0") for label in split.labels)


def split_summary(rows: Rows, class_names: tuple[str, ...]) -> SplitSummary:
    """How many rows there are, of which class; or between which numbers their labels lie."""
    if not class_names:
        span = (min(rows.labels), fmean(rows.labels), max(rows.labels))
        return SplitSummary(rows=len(rows.labels), value_range=span)
    counts = Counter(rows.labels)
    return SplitSummary(rows=len(rows.labels), classes={name: counts[i] for i, name in enumerate(class_names)})


def fingerprint(kind: str, class_names: tuple[str, ...], splits: Mapping[str, Rows]) -> str:
    """A hex digest of the splits' rows in their order."""
    digest = hashlib.sha256(json.dumps([kind, class_names]).encode())
    for name in ("train", "validation", "test"):
        digest.update(json.dumps([name, len(splits[name].texts)]).encode())
        for text, label in zip(*splits[name], strict=True):
            digest.update(json.dumps([text, label]).encode())
    return digest.hexdigest()
