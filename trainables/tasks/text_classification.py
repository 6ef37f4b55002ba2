"""Sequence classification: one text or a pair, 2..n classes.

Labels may be class ids, whole numbers of any kind (star ratings; -1, 0, 1), or texts; they become ids in sorted order.
Where the class names are known (a ClassLabel column, or the preset), a label outside them is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from trainables.errors import nearest
from trainables.spec import DataSpec, Objective
from trainables.tasks import TaskError
from trainables.tasks.labels import plain_labels, sorted_classes
from trainables.tasks.sources import RawSplit
from trainables.tasks.splits import LabelledRows
from trainables.tasks.text import EncodedRows, TextTask

if TYPE_CHECKING:
    import numpy as np

PREMISE = "premise"  # value of `data.group` that stands for the first text column of a pair
SHOWN = 3  # unknown labels of one split that are listed


@dataclass(frozen=True)
class TextClassification(TextTask):
    """Classification of a text or a pair of texts.

    Scores: accuracy; f1 of the positive class (equal to macro_f1 with more than two classes); macro_f1, the unweighted
    mean of the classes' F1; Matthews correlation.
    """

    class_names: tuple[str, ...] = ()  # by id, if the preset defines them
    premise: bool = False  # the first text is a premise, so `data.group: premise` is allowed

    kind: ClassVar[Literal["classification"]] = "classification"
    metric_names: ClassVar[tuple[str, ...]] = ("accuracy", "f1", "macro_f1", "matthews_correlation")

    def options(self, data: DataSpec) -> DataSpec:
        """See `Task.options`."""
        options = super().options(data)
        if self.premise and options.group == PREMISE and options.text:
            return options.model_copy(update={"group": options.text[0]})
        return options

    def encode(self, splits: Mapping[str, RawSplit]) -> EncodedRows:
        """See `TextTask.encode`."""
        plain, errors = plain_labels(splits)
        known = splits["train"].class_names or self.class_names
        names = known or tuple(sorted_classes(label for label in plain["train"] if label is not None))
        ids = {name: i for i, name in enumerate(names)}
        if known:  # an id goes before a name that is a number too
            ids |= {str(i): i for i in range(len(names))}
        rows, overall = {}, []
        for name, split in splits.items():
            labels = [None if label is None else ids.get(label) for label in plain[name]]
            usable = [i for i, label in enumerate(labels) if label is not None]
            rows[name] = LabelledRows(
                [split.texts[i] for i in usable], [i for i in labels if i is not None], split.groups_of(usable)
            )
            overall += _unknown_labels(split, plain[name], names, ids)
        if len(seen := set(plain["train"]) - {None}) == 1 and not errors:
            step = "give the training split rows of at least two classes"
            overall = [TaskError("data.label", seen.pop(), "is the only class of the training split", step)]
        return EncodedRows(rows, names, bool(known), errors, overall)

    def label_feature(self, class_names: tuple[str, ...]) -> Any:
        """See `TextTask.label_feature`."""
        from datasets import ClassLabel

        return ClassLabel(names=list(class_names))

    def metrics(self, predictions: np.ndarray, labels: np.ndarray, positive: int | None = None) -> dict[str, float]:
        """See `Task.metrics`; predictions are logits or probabilities."""
        import numpy as np

        if not np.isfinite(predictions).all():
            return dict.fromkeys(self.metric_names, math.nan)
        counts = np.zeros((predictions.shape[-1],) * 2)  # rows by label and by prediction
        np.add.at(counts, (labels, predictions.argmax(axis=-1)), 1)
        by_class, mean = _f1(counts)
        return {
            "accuracy": float(counts.trace() / counts.sum()),
            "f1": by_class[1 if positive is None else positive] if len(counts) == 2 else mean,
            "macro_f1": mean,
            "matthews_correlation": _matthews(counts),
        }


def _unknown_labels(
    split: RawSplit, labels: Sequence[str | None], names: Sequence[str], ids: Mapping[str, int]
) -> list[TaskError]:
    """Returns an error for each label that is no class."""
    rows_of: dict[str, list[int]] = {}
    for row, label in enumerate(labels):
        if label is not None and label not in ids:
            rows_of.setdefault(label, []).append(row)
    shown = list(rows_of.items())[:SHOWN]
    found = []
    for label, rows in shown:
        rule = f"{split.origin}: is none of {len(names)} classes ({split.places(rows)})"
        step = f"correct the {'rows' if len(rows) > 1 else 'row'}, or the training split; {nearest(label, names)}"
        if label == "-1":
            step = "remove the rows whose label is withheld (a split in which all are may stay)"
        if len(rows_of) > SHOWN:
            step += f" ({len(rows_of)} such labels in all)"
        found.append(TaskError("data.label", label, rule, step))
    return found


def _f1(counts: np.ndarray) -> tuple[list[float], float]:
    """The F1 of each class, and their mean over classes that occur as label or prediction."""
    occurrences = counts.sum(axis=0) + counts.sum(axis=1)
    scores = [float(2 * counts[i, i] / n) if (n := occurrences[i]) else 0.0 for i in range(len(counts))]
    return scores, float(sum(scores) / (occurrences > 0).sum())


def _matthews(counts: np.ndarray) -> float:
    """Matthews correlation for any number of classes (Gorodkin, 2004); 0 if labels or predictions are constant."""
    labels, predictions, rows = counts.sum(axis=1), counts.sum(axis=0), counts.sum()
    spread = (rows**2 - labels @ labels) * (rows**2 - predictions @ predictions)
    return float((counts.trace() * rows - labels @ predictions) / math.sqrt(spread)) if spread else 0.0


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
        premise=config in ("rte", "mnli"),
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
