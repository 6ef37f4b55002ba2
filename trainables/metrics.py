"""The direction in which a metric improves, by its name; the names of the costs that every trial can report."""

from __future__ import annotations

from typing import Literal

MORE_IS_BETTER = (
    *("accuracy", "balanced_accuracy", "f1", "macro_f1", "micro_f1", "precision", "recall", "auc", "roc_auc"),
    *("matthews_correlation", "mcc", "pearson", "spearman", "r2", "average_precision", "exact_match"),
)
# What a trial costs, and what its model costs at inference, as metrics of a report; `trainables.costs` measures them.
LATENCY, PARAMETERS, MODEL_BYTES, TRAIN_SECONDS = COSTS = (
    "latency_ms",
    "parameters",
    "model_bytes",
    "train_device_seconds",
)
LESS_IS_BETTER = ("loss", "mse", "rmse", "mae", "mean_squared_error", "mean_absolute_error", "perplexity", "error")


def direction_of(metric: str) -> Literal["max", "min"] | None:
    """Returns 'max' if more is better, 'min' if less is; None for an unknown name.

    Known words also count as the prefix or suffix of a name: `eval_loss`, `f1_macro`, `validation_accuracy`.
    """
    name = metric.lower()
    if name in COSTS:
        return "min"
    if any(name == known or name.endswith(f"_{known}") for known in LESS_IS_BETTER):
        return "min"
    if any(name == known or name.startswith(f"{known}_") or name.endswith(f"_{known}") for known in MORE_IS_BETTER):
        return "max"
    return None
