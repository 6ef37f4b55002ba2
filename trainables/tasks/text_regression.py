"""Regression: one number for a text or a pair of texts."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from trainables.spec import DataSpec, Objective
from trainables.tasks import TaskError
from trainables.tasks.sources import RawSplit
from trainables.tasks.splits import LabelledRows
from trainables.tasks.text import EncodedRows, TextTask

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class TextRegression(TextTask):
    """Regression of a text or a pair of texts.

    Scores: Pearson and Spearman correlation (0 if predictions or labels are constant), mean squared error.
    """

    kind: ClassVar[Literal["regression"]] = "regression"
    metric_names: ClassVar[tuple[str, ...]] = ("pearson", "spearman", "mse")

    def encode(self, splits: Mapping[str, RawSplit]) -> EncodedRows:
        """See `TextTask.encode`."""
        rows, errors = {}, []
        for name, split in splits.items():
            numbers = [_number(label) for label in split.labels or ()]
            wrong = [i for i, number in enumerate(numbers) if number is None]
            if wrong:
                errors.append(_no_numbers(split, wrong))
            usable = [i for i, number in enumerate(numbers) if number is not None]
            rows[name] = LabelledRows(
                [split.texts[i] for i in usable], [n for n in numbers if n is not None], split.groups_of(usable)
            )
        seen, overall = set(rows["train"].labels), []
        if len(seen) == 1 and not errors:
            step = "choose a label column that varies"
            overall.append(TaskError("data.label", seen.pop(), "is the only value of the training split", step))
        return EncodedRows(rows, (), False, errors, overall)

    def label_feature(self, class_names: tuple[str, ...]) -> Any:
        """See `TextTask.label_feature`."""
        from datasets import Value

        return Value("float64")

    def metrics(self, predictions: np.ndarray, labels: np.ndarray, positive: int | None = None) -> dict[str, float]:
        """See `Task.metrics`; predictions (n, 1) or (n,)."""
        import numpy as np
        from scipy.stats import pearsonr, spearmanr

        values = predictions.reshape(len(labels)).astype(float)
        if not np.isfinite(values).all():
            return dict.fromkeys(self.metric_names, math.nan)
        varies = len(np.unique(values)) > 1 and len(np.unique(labels)) > 1
        return {
            "pearson": float(pearsonr(values, labels).statistic) if varies else 0.0,
            "spearman": float(spearmanr(values, labels).statistic) if varies else 0.0,
            "mse": float(np.mean((values - labels) ** 2)),
        }


def _number(label: Any) -> float | None:
    """The label as a finite number; None if it is none."""
    if isinstance(label, bool):
        return None
    try:
        value = float(label)
    except (TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def _no_numbers(split: RawSplit, rows: list[int]) -> TaskError:
    labels = split.labels or []
    many = f"{len(rows)} rows have" if len(rows) > 1 else "a row has"
    rule = f"{many} a label that is no finite number: {split.places(rows)}"
    step = "correct the row or remove it; classes are task=text_classification"
    comma = [i for i in rows if isinstance(labels[i], str) and re.fullmatch(r"\s*-?\d+,\d+\s*", labels[i])]
    if comma:
        step = "write a decimal point instead of the comma"
    return TaskError("data.label", labels[rows[0]], rule, step)


TASKS = (
    TextRegression(
        name="glue/stsb",
        summary="GLUE stsb: similarity of two sentences, 0 to 5",
        data=DataSpec(hub="nyu-mll/glue", config="stsb", text=("sentence1", "sentence2"), label="label"),
        objective=Objective(metric="pearson", mode="max"),
    ),
    TextRegression(
        name="text_regression",
        summary="your own texts and one number each: data.path or data.hub, data.text, data.label",
        data=DataSpec(),
        objective=Objective(metric="mse", mode="min"),
    ),
)
