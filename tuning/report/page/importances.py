"""Draws the importance of hyperparameters per strategy, by Optuna's PED-ANOVA."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tuning.comparison.formatting import join_names
from tuning.report.page.figure import DataTable, Figure, View, format_number, plotly_json
from tuning.report.page.scored_trials import ScoredTrial

if TYPE_CHECKING:
    from optuna import Study
    from optuna.importance import PedAnovaImportanceEvaluator

FEWEST_IMPORTANCES = 20  # trials; with fewer, the best tenth that PED-ANOVA uses is a single trial
BEST = 5  # trials that PED-ANOVA needs among the best


def importance_figure(searched: Mapping[str, Sequence[ScoredTrial]], studies: Mapping[str, Study]) -> Figure:
    """Returns the figure with a view per strategy that has enough trials.

    Strategies are not pooled: PED-ANOVA compares the best trials with all trials, whose distribution depends on the
    strategy.
    """
    from optuna.exceptions import ExperimentalWarning

    found: dict[str, dict[str, float]] = {}
    for name, trials in searched.items():
        if len(trials) >= FEWEST_IMPORTANCES and len({param for trial in trials for param in trial.params}) > 1:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                found[name] = importances(studies[name])
    few = [f"{name} has {len(trials)}" for name, trials in searched.items() if name not in found]
    why = f"it needs {FEWEST_IMPORTANCES} trials of a strategy with a score, and two hyperparameters"
    return Figure(
        id="importances",
        title="Hyperparameter importances",
        about="PED-ANOVA (Watanabe et al., IJCAI 2023): how much the values of the best tenth of the trials (at least "
        f"{BEST}) stand out from those of all; shares of 1. A search that concentrates on good values makes them "
        "smaller.",
        views=tuple(
            View(
                name,
                f"{name}: {join_names([f'{n} {format_number(v)}' for n, v in shares.items()])}.",
                _bars(studies[name], len(shares)),
            )
            for name, shares in found.items()
        ),
        table=DataTable(
            ("strategy", "hyperparameter", "importance"),
            tuple((name, param, share) for name, shares in found.items() for param, share in shares.items()),
        ),
        missing=None if found else f"{why}{': ' + join_names(few) if few else ''}.",
    )


def importances(study: Study) -> dict[str, float]:
    """Returns the importance of each hyperparameter as a share of 1, the largest first."""
    from optuna.importance import get_param_importances

    return get_param_importances(study, evaluator=_evaluator(study))


def _evaluator(study: Study) -> PedAnovaImportanceEvaluator:
    from optuna.importance import PedAnovaImportanceEvaluator

    return PedAnovaImportanceEvaluator(target_quantile=max(0.1, BEST / len(study.trials)))


def _bars(study: Study, count: int) -> dict[str, Any]:
    from optuna.visualization import plot_param_importances

    drawing = plot_param_importances(study, evaluator=_evaluator(study))
    drawing.update_traces(textposition="auto", cliponaxis=True)  # Optuna's labels would extend beyond the drawing
    drawing.update_xaxes(title="importance", range=[0, 1])
    drawing.update_yaxes(title=None, automargin=True)
    return plotly_json(drawing, height=110 + 44 * count)
