"""Sequence classification: one text or a pair, 2..n classes.

Labels may be class ids, whole numbers of any kind (star ratings), or texts; numbers and texts become ids in sorted
order. Where the class names are known (a ClassLabel column, or the preset), a label outside them is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from trainables.errors import nearest
from trainables.spec import DataSpec, Objective
from trainables.tasks import TaskError
from trainables.tasks.sources import RawSplit
from trainables.tasks.splits import Rows
from trainables.tasks.text import TextTask

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class TextClassification(TextTask):
    """Scores: accuracy; f1 of class 1 (with more than two, the unweighted mean over classes); Matthews correlation."""

    class_names: tuple[str, ...] = ()  # by id, where the preset knows them

    kind: ClassVar[Literal["classification"]] = "classification"
    metric_names: ClassVar[tuple[str, ...]] = ("accuracy", "f1", "matthews_correlation")

    def encode(self, splits: Mapping[str, RawSplit]) -> tuple[dict[str, Rows], tuple[str, ...]]:
        """See `TextTask.encode`."""
        plain = {
            name: [_plain(label, split.origin, i) for i, label in enumerate(split.labels or ())]
            for name, split in splits.items()
        }
        names: Sequence[str] = splits["train"].class_names or self.class_names
        if names:
            ids: dict[int | str, int] = dict(enumerate(range(len(names)))) | {n: i for i, n in enumerate(names)}
        else:
            values = _classes(plain["train"])
            ids, names = {value: i for i, value in enumerate(values)}, [str(value) for value in values]
        if len(set(plain["train"])) < 2:
            step = "give the training split rows of at least two classes"
            raise TaskError("data.label", plain["train"][0], "is the only class of the training split", step)
        rows = {}
        for name, split in splits.items():
            for label in plain[name]:
                if label not in ids:
                    step = f"correct the row, or the training split; {nearest(str(label), names)}"
                    raise TaskError("data.label", label, f"{split.origin}: is none of {len(names)} classes", step)
            rows[name] = Rows(split.texts, [ids[label] for label in plain[name]])
        return rows, tuple(names)

    def label_feature(self, class_names: tuple[str, ...]) -> Any:
        """See `TextTask.label_feature`."""
        from datasets import ClassLabel

        return ClassLabel(names=list(class_names))

    def metrics(self, predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """See `Task.metrics`; predictions are logits or probabilities."""
        import numpy as np

        if not np.isfinite(predictions).all():
            return dict.fromkeys(self.metric_names, math.nan)
        counts = np.zeros((predictions.shape[-1],) * 2)  # rows by label and by prediction
        np.add.at(counts, (labels, predictions.argmax(axis=-1)), 1)
        return {
            "accuracy": float(counts.trace() / counts.sum()),
            "f1": _f1(counts),
            "matthews_correlation": _matthews(counts),
        }


def _f1(counts: np.ndarray) -> float:
    """Of class 1 where there are two, else the mean over the classes that occur, as label or as prediction."""
    occurrences = counts.sum(axis=0) + counts.sum(axis=1)
    scores = [2 * counts[i, i] / n if (n := occurrences[i]) else 0.0 for i in range(len(counts))]
    if len(counts) == 2:
        return float(scores[1])
    return float(sum(scores) / (occurrences > 0).sum())


def _matthews(counts: np.ndarray) -> float:
    """Gorodkin, 2004, for any number of classes; 0 where labels or predictions are all one class."""
    labels, predictions, rows = counts.sum(axis=1), counts.sum(axis=0), counts.sum()
    spread = (rows**2 - labels @ labels) * (rows**2 - predictions @ predictions)
    return float((counts.trace() * rows - labels @ predictions) / math.sqrt(spread)) if spread else 0.0


def _plain(label: Any, origin: str, row: int) -> int | str:
    """A label as a whole number if it is one in any notation, else as a text."""
    if label is None:
        raise TaskError("data.label", None, f"row {row} of {origin} has no label", "fill it in or remove the row")
    if isinstance(label, bool):
        return str(label).lower()
    if isinstance(label, float) and not label.is_integer():
        step = "use whole numbers or texts for classes; numbers to predict are task=text_regression"
        raise TaskError("data.label", label, f"row {row} of {origin}: is no class id", step)
    if isinstance(label, int | float):
        return int(label)
    if isinstance(label, str):
        return int(float(label)) if re.fullmatch(r"-?\d{1,9}(\.0+)?", label) else label
    raise TaskError("data.label", label, f"row {row} of {origin}: is no class id or text", "choose another column")


def _classes(labels: Sequence[int | str]) -> list[int | str]:
    """The distinct labels in sorted order: numbers by value, texts by code point."""
    distinct = set(labels)
    numbers = sorted(label for label in distinct if isinstance(label, int))
    if numbers and numbers[0] < 0:
        step = "remove the rows without a label, or number the classes from 0"
        raise TaskError("data.label", numbers[0], "a class id must be 0 or more", step)
    if numbers and len(numbers) < len(distinct):
        return sorted(distinct, key=str)
    return list(numbers) or sorted(distinct, key=str)


ACCURACY = Objective(metric="accuracy", mode="max")
GLUE: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {  # text columns, class names, metric
    "cola": (("sentence",), ("unacceptable", "acceptable"), "matthews_correlation"),
    "sst2": (("sentence",), ("negative", "positive"), "accuracy"),
    "mrpc": (("sentence1", "sentence2"), ("not_equivalent", "equivalent"), "accuracy"),
    "qqp": (("question1", "question2"), ("not_duplicate", "duplicate"), "accuracy"),
    "mnli": (("premise", "hypothesis"), ("entailment", "neutral", "contradiction"), "accuracy"),
    "qnli": (("question", "sentence"), ("entailment", "not_entailment"), "accuracy"),
    "rte": (("sentence1", "sentence2"), ("entailment", "not_entailment"), "accuracy"),
    "wnli": (("sentence1", "sentence2"), ("not_entailment", "entailment"), "accuracy"),
}


def _glue(name: str, config: str) -> TextClassification:
    text, class_names, metric = GLUE[config]
    return TextClassification(
        name=name,
        summary=f"GLUE {config}: {' / '.join(class_names)}",
        data=DataSpec(hub="nyu-mll/glue", config=config, text=text, label="label"),
        objective=Objective(metric=metric, mode="max"),
        class_names=class_names,
    )


TASKS = (
    TextClassification(
        name="reviews",
        summary="movie reviews from the package index: negative / positive (data.source: rotten_tomatoes or imdb)",
        data=DataSpec(source="rotten_tomatoes", text=("text",), label="label"),
        objective=ACCURACY,
        class_names=("negative", "positive"),
    ),
    TextClassification(
        name="imdb",
        summary="IMDB movie reviews: neg / pos",
        data=DataSpec(hub="stanfordnlp/imdb", text=("text",), label="label"),
        objective=ACCURACY,
        class_names=("neg", "pos"),
    ),
    _glue("rte", "rte"),
    *(_glue(f"glue/{config}", config) for config in GLUE),
    TextClassification(
        name="text_classification",
        summary="your own texts and classes: data.path or data.hub, data.text, data.label",
        data=DataSpec(),
        objective=ACCURACY,
    ),
)
