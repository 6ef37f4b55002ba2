"""Which values did well: Optuna's parallel coordinates, importances and slices, on trials made of the outcome.

A trial counts with the best validation score that it reached, under the values in force then (PBT moves them), also
where its strategy stopped it: leaving those out would show the good half of the space only.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from trainables.spec import Value
from tuning.outcome import ExperimentOutcome, StudyOutcome
from tuning.page.figure import SCALE, Figure, Table, View, cell, listed, number, plot_of
from tuning.page.recorded_spec import RecordedSpec

if TYPE_CHECKING:
    from optuna import Study
    from optuna.importance import PedAnovaImportanceEvaluator
    from plotly.graph_objects import Figure as Drawing

    from tuning.space import Space

FEWEST = 2  # trials of a parallel-coordinates plot or a slice
FEWEST_IMPORTANCES = 20  # below, the best tenth that PED-ANOVA looks at is one trial
BEST = 5  # trials that PED-ANOVA wants among the best
COLUMN = 240  # CSS pixels of one axis or slice


class ScoredTrial(NamedTuple):
    """A trial with the best score that it reached."""

    seed: int
    trial: str
    params: dict[str, Value]  # in force at that score; of what varied over the strategy's trials
    score: float


def hyperparameter_figures(outcome: ExperimentOutcome, spec: RecordedSpec) -> list[Figure]:
    """Parallel coordinates, importances and slices; one view per strategy, its seeds together."""
    from optuna.visualization import plot_parallel_coordinate, plot_slice

    metric = outcome.studies[0].metric
    names = dict.fromkeys(study.strategy for study in outcome.studies)
    found = {name: scored_trials([s for s in outcome.studies if s.strategy == name]) for name in names}
    searched = {name: trials for name, trials in found.items() if len(trials) >= FEWEST and trials[0].params}
    studies = {name: _study(trials, spec.space(name), outcome.studies[0].mode) for name, trials in searched.items()}

    def figure(id: str, title: str, about: str, plot: Callable[..., Drawing]) -> Figure:
        views = tuple(
            View(name, _summary(name, trials, metric), _optuna_plot(plot, studies[name], metric), _width(trials))
            for name, trials in searched.items()
        )
        missing = None if views else f"it needs {FEWEST} trials of a strategy with a score and different values."
        return Figure(id, title, about, views, _table(searched, metric), missing)

    return [
        figure(
            "parallel",
            "Parallel coordinates",
            "Each line is a trial; it crosses each axis at the value in force when the trial reached its best score.",
            plot_parallel_coordinate,
        ),
        _importances(searched, studies, metric),
        figure("slices", "Slices", "The best score of each trial over each hyperparameter alone.", plot_slice),
    ]


def scored_trials(studies: list[StudyOutcome]) -> list[ScoredTrial]:
    """The trials with a score of one strategy, with those of their values that are not the same in all."""
    best = [
        (study.seed, trial, report)
        for study in studies
        for trial in study.trials
        if (report := trial.best_report(study.metric, study.mode)) is not None
    ]
    values = [{name: report.params.get(name, trial.params[name]) for name in trial.params} for _, trial, report in best]
    moving = [name for name in (values[0] if values else {}) if len({repr(params.get(name)) for params in values}) > 1]
    return [
        ScoredTrial(seed, trial.id, {n: params[n] for n in moving if n in params}, report.metrics[studies[0].metric])
        for (seed, trial, report), params in zip(best, values, strict=True)
    ]


def _study(trials: list[ScoredTrial], space: Space, mode: str) -> Study:
    """An Optuna study in memory. A value outside the recorded space is left out of its trial."""
    import optuna
    from optuna.distributions import CategoricalDistribution

    optuna.logging.disable_default_handler()  # it tells of every new study
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if mode == "max" else "minimize")
    distributions = space.to_optuna()
    for name in trials[0].params.keys() - distributions.keys():  # of a space that this version cannot tell
        distributions[name] = CategoricalDistribution(list(dict.fromkeys(t.params[name] for t in trials)))
    for trial in trials:
        own = {n: v for n, v in trial.params.items() if space_holds(space, n, v)}
        kept = {name: distributions[name] for name in own}
        study.add_trial(optuna.create_trial(params=own, distributions=kept, value=trial.score))
    return study


def space_holds(space: Space, name: str, value: Value) -> bool:
    """Whether `value` belongs to the dimension; to no dimension nothing is foreign."""
    dimension = space.searched.get(name)
    return dimension is None or dimension.contains(value)


def _width(trials: list[ScoredTrial]) -> int:
    return COLUMN * (len(trials[0].params) + 1)  # one for the score, or the scale


def _optuna_plot(plot: Callable[..., Drawing], study: Study, metric: str) -> dict[str, Any]:
    drawing = plot(study, target_name=f"validation {metric}")
    _recolour(drawing, study)
    drawing.update_layout(width=None)
    return plot_of(drawing, height=420)


def _recolour(drawing: Drawing, study: Study) -> None:
    """Optuna's blues are for white paper: the best end of its scale is not seen on a dark one."""
    from optuna.study import StudyDirection
    from plotly.colors import sample_colorscale

    for trace in drawing.data:
        if trace.mode == "lines":  # of a trial: its first point is its score, from 0 to 1
            share = trace.y[0] if study.direction is StudyDirection.MAXIMIZE else 1 - trace.y[0]
            trace.line.color = sample_colorscale([list(stop) for stop in SCALE], [share])[0]
        elif trace.marker.colorscale is not None:
            trace.marker.colorscale = SCALE


def _importances(searched: dict[str, list[ScoredTrial]], studies: dict[str, Study], metric: str) -> Figure:
    from optuna.exceptions import ExperimentalWarning

    found: dict[str, dict[str, float]] = {}
    for name, trials in searched.items():
        if len(trials) >= FEWEST_IMPORTANCES and len(trials[0].params) > 1:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                found[name] = importances(studies[name])
    few = [f"{name} has {len(trials)}" for name, trials in searched.items() if name not in found]
    why = f"it needs {FEWEST_IMPORTANCES} trials of a strategy with a score, and two hyperparameters"
    return Figure(
        id="importances",
        title="Hyperparameter importances",
        about="PED-ANOVA (Watanabe et al., IJCAI 2023): how much the values of the best tenth of the trials (at least "
        f"{BEST}) stand out from those of all; shares of 1. A search that looks near good values makes them smaller.",
        views=tuple(
            View(
                name,
                f"{name}: {listed([f'{n} {number(v)}' for n, v in shares.items()])}.",
                _bars(studies[name], len(shares)),
            )
            for name, shares in found.items()
        ),
        table=Table(
            ("strategy", "hyperparameter", "importance"),
            tuple((name, param, share) for name, shares in found.items() for param, share in shares.items()),
        ),
        missing=None if found else f"{why}{': ' + listed(few) if few else ''}.",
    )


def importances(study: Study) -> dict[str, float]:
    """Hyperparameter -> share of 1, the most important first."""
    from optuna.importance import get_param_importances

    return get_param_importances(study, evaluator=_evaluator(study))


def _evaluator(study: Study) -> PedAnovaImportanceEvaluator:
    from optuna.importance import PedAnovaImportanceEvaluator

    return PedAnovaImportanceEvaluator(target_quantile=max(0.1, BEST / len(study.trials)))


def _bars(study: Study, count: int) -> dict[str, Any]:
    from optuna.visualization import plot_param_importances

    drawing = plot_param_importances(study, evaluator=_evaluator(study))
    drawing.update_traces(textposition="auto", cliponaxis=True)  # Optuna's labels leave the drawing
    drawing.update_xaxes(title="importance", range=[0, 1])
    drawing.update_yaxes(title=None, automargin=True)
    return plot_of(drawing, height=110 + 44 * count)


def _summary(name: str, trials: list[ScoredTrial], metric: str) -> str:
    scores = [trial.score for trial in trials]
    params = listed(list(trials[0].params))
    return f"{name}: {len(trials)} trials over {params}; {metric} from {number(min(scores))} to {number(max(scores))}."


def _table(searched: dict[str, list[ScoredTrial]], metric: str) -> Table:
    names = list(dict.fromkeys(name for trials in searched.values() for t in trials for name in t.params))
    return Table(
        ("strategy", "seed", "trial", metric, *names),
        tuple(
            (strategy, trial.seed, trial.trial, trial.score, *(cell(trial.params.get(name)) for name in names))
            for strategy, trials in searched.items()
            for trial in trials
        ),
    )
