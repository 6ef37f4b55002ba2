"""Regression: one number for a text or a pair."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from trainables.spec import DataSpec, Objective
from trainables.tasks import TaskError
from trainables.tasks.sources import RawSplit
from trainables.tasks.splits import Rows
from trainables.tasks.text import TextTask

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class TextRegression(TextTask):
    """Scores: Pearson and Spearman correlation (0 for predictions that do not vary), mean squared error."""

    kind: ClassVar[Literal["regression"]] = "regression"
    metric_names: ClassVar[tuple[str, ...]] = ("pearson", "spearman", "mse")

    def encode(self, splits: Mapping[str, RawSplit]) -> tuple[dict[str, Rows], tuple[str, ...]]:
        """See `TextTask.encode`."""
        rows = {
            name: Rows(split.texts, [_number(label, split.origin, i) for i, label in enumerate(split.labels or ())])
            for name, split in splits.items()
        }
        if len(set(rows["train"].labels)) < 2:
            step = "choose a label column that varies"
            raise TaskError("data.label", rows["train"].labels[0], "is the only value of the training split", step)
        return rows, ()

    def label_feature(self, class_names: tuple[str, ...]) -> Any:
        """See `TextTask.label_feature`."""
        from datasets import Value

        return Value("float64")

    def metrics(self, predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
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


def _number(label: Any, origin: str, row: int) -> float:
    step = "correct the row or remove it; classes are task=text_classification"
    try:
        value = math.nan if isinstance(label, bool) or label is None else float(label)
    except (TypeError, ValueError) as error:
        raise TaskError("data.label", label, f"row {row} of {origin}: is no number", step) from error
    if not math.isfinite(value):
        raise TaskError("data.label", label, f"row {row} of {origin}: must be a finite number", step)
    return value


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
