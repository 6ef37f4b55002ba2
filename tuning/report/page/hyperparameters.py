"""Draws hyperparameters against scores: parallel coordinates, importances and slices, per strategy and together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from trainables.spec import Value
from tuning.comparison.formatting import join_names
from tuning.outcome import ExperimentOutcome
from tuning.report.page.figure import (
    ALL,
    SCALE,
    DataTable,
    Figure,
    View,
    format_number,
    plotly_json,
    plotly_text,
    table_cell,
    wants_log,
)
from tuning.report.page.importances import importance_figure
from tuning.report.page.recorded_spec import RecordedSpec
from tuning.report.page.scored_trials import ScoredTrial, pooled_study, scored_trials, study_of
from tuning.report.page.winners import TrialKey, Winners, failed_apart, not_drawn

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial
    from plotly.graph_objects import Figure as Drawing

FEWEST = 2  # trials that a parallel-coordinates plot or slice needs
COLUMN = 240  # CSS pixels of one axis or slice
MISSING, NOT_APPLICABLE = "None", "n/a"  # a missing value in Optuna's plots, and on the page
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x")
WINNERS_WIDTH = 5  # CSS pixels of the winner's line; the others' are 1.2


class TrialGroup(NamedTuple):
    """The trials of one view."""

    trials: list[ScoredTrial]
    study: Study  # the same trials, in the same order
    winner: TrialKey | None
    left_out: int  # number of failed trials with a score

    @property
    def params(self) -> list[str]:
        """The hyperparameters of its trials, sorted."""
        return sorted({param for trial in self.trials for param in trial.params})

    @property
    def axes(self) -> list[str]:
        """The names of the axes, in Optuna's order from left to right."""
        return sorted({param for trial in self.study.trials for param in trial.params})

    def summary(self, name: str, metric: str) -> str:
        """Describes the view in words."""
        scores = [trial.score for trial in self.trials]
        text = f"{name}: {len(scores)} trials over {join_names(self.params)}; "
        text += f"{metric} from {format_number(min(scores))} to {format_number(max(scores))}."
        best = next((trial for trial in self.trials if trial.key == self.winner), None)
        if best is not None:
            text += f" Winner: trial {best.trial} of {best.strategy}, seed {best.seed}, {format_number(best.score)}."
        return text + not_drawn(self.left_out, "the table of trials has them")


def hyperparameter_figures(
    outcome: ExperimentOutcome, spec: RecordedSpec, chosen: Winners, colours: Mapping[str, str]
) -> list[Figure]:
    """Returns the figures of parallel coordinates, importances and slices.

    Each has a view per strategy, with all its seeds, and one of all strategies if there are several.
    """
    metric = outcome.studies[0].metric
    groups = _groups(outcome, spec, chosen)
    searched = {name: group.trials for name, group in groups.items() if name != ALL}
    table = _table(searched, metric)
    missing = None if groups else f"it needs {FEWEST} trials of a strategy with a score and different values."

    def view(name: str, drawing: Drawing, more: int) -> View:
        group = groups[name]
        width = COLUMN * (len(group.params) + more)
        return View(name, group.summary(name, metric), plotly_json(drawing, height=420), width)

    parallel, slices = list[View](), list[View]()
    for name, group in groups.items():
        several = name == ALL
        parallel.append(view(name, _parallel(group, metric), 2 if several else 1))  # axes of the score, the strategy
        drawing = _pooled_slices(group, metric, colours) if several else _slices(group, metric)
        slices.append(view(name, drawing, 0 if several else 1))  # the scale
    return [
        Figure(
            "parallel",
            "Parallel coordinates",
            "Each line is a trial; it crosses each axis at the value in force when the trial reached its best score. "
            "The thickest is the winner's.",
            tuple(parallel),
            table,
            missing,
        ),
        importance_figure(searched, {name: groups[name].study for name in searched}),
        Figure(
            "slices",
            "Slices",
            "The best score of each trial over each hyperparameter alone; the star is the winner's.",
            tuple(slices),
            table,
            missing,
        ),
    ]


def _groups(outcome: ExperimentOutcome, spec: RecordedSpec, chosen: Winners) -> dict[str, TrialGroup]:
    """Returns the views by label, all strategies first."""
    apart, mode = failed_apart(outcome, chosen), outcome.studies[0].mode
    found: dict[str, TrialGroup] = {}
    for name in dict.fromkeys(study.strategy for study in outcome.studies):
        trials = scored_trials([study for study in outcome.studies if study.strategy == name], apart)
        if len(trials) >= FEWEST and any(trial.params for trial in trials):
            left_out = sum(key.strategy == name for key in apart)
            found[name] = TrialGroup(trials, study_of(trials, spec.space(name), mode), chosen.of.get(name), left_out)
    if len(found) < 2:
        return found
    together = scored_trials([study for study in outcome.studies if study.strategy in found], apart)
    return {ALL: TrialGroup(together, pooled_study(together, mode), chosen.overall, len(apart)), **found}


def _parallel(group: TrialGroup, metric: str) -> Drawing:
    """Draws parallel coordinates with our colour scale: the best end of Optuna's scale is invisible on a dark page."""
    from optuna.study import StudyDirection
    from optuna.visualization import plot_parallel_coordinate
    from plotly.colors import sample_colorscale

    drawing = plot_parallel_coordinate(group.study, target_name=f"validation {metric}")
    lines = [trace for trace in drawing.data if trace.mode == "lines"]  # one per trial, see `_as_drawn`
    others = [trace for trace in drawing.data if trace.mode != "lines"]
    for line in lines:  # its first point is its score, from 0 to 1
        share = line.y[0] if group.study.direction is StudyDirection.MAXIMIZE else 1 - line.y[0]
        line.line.color = sample_colorscale([list(stop) for stop in SCALE], [share])[0]
    for trace in others:
        if trace.marker.colorscale is not None:
            trace.marker.colorscale = SCALE
    _label_missing_values(drawing, group)
    winner = next((i for i, trial in enumerate(_as_drawn(group)) if trial.key == group.winner), None)
    if winner is not None and len(lines) == len(group.trials):
        lines[winner].update(line={"width": WINNERS_WIDTH}, opacity=1.0)
        lines.append(lines.pop(winner))  # on top of the others
    drawing.data = (*lines, *others)
    drawing.update_layout(width=None)
    return drawing


def _as_drawn(group: TrialGroup) -> list[ScoredTrial]:
    """Returns the trials in the order of Optuna's lines: sorted by numeric choices, otherwise unchanged."""
    from optuna.distributions import CategoricalDistribution

    def by_choice(pair: tuple[ScoredTrial, FrozenTrial]) -> list[float]:
        values = (pair[1].params.get(name, -math.inf) for name in numbers)
        return [float(value) for value in values]

    study = group.study.trials
    numbers = [
        name
        for name in group.axes
        if any(isinstance(trial.distributions.get(name), CategoricalDistribution) for trial in study)
        and _numbers([trial.params[name] for trial in study if name in trial.params])
    ]
    return [trial for trial, _ in sorted(zip(group.trials, study, strict=True), key=by_choice)]


def _label_missing_values(drawing: Drawing, group: TrialGroup) -> None:
    """Labels missing values n/a: Optuna draws the line of a trial without a value to a tick called None."""
    trials = group.study.trials
    missing = (any(name not in trial.params for trial in trials) for name in group.axes)
    axes = {axis for axis, some in enumerate(missing, start=1) if some}  # the first one is the score's
    for annotation in drawing.layout.annotations:
        if annotation.text == MISSING and annotation.x in axes:
            annotation.text = NOT_APPLICABLE
    for line in drawing.data:
        if line.customdata is not None:
            line.customdata = [
                (name, NOT_APPLICABLE if axis in axes and value == MISSING else value)
                for axis, (name, value) in enumerate(line.customdata)
            ]


def _slices(group: TrialGroup, metric: str) -> Drawing:
    from optuna.visualization import plot_slice

    drawing = plot_slice(group.study, target_name=f"validation {metric}")
    for trace in drawing.data:
        if trace.marker.colorscale is not None:
            trace.marker.colorscale = SCALE
    _add_stars(drawing, group, several=len(group.params) > 1)
    drawing.update_layout(width=None)
    return drawing


def _pooled_slices(group: TrialGroup, metric: str, colours: Mapping[str, str]) -> Drawing:
    """Draws slices of several strategies, with a colour and symbol each."""
    from plotly.subplots import make_subplots

    drawing = make_subplots(rows=1, cols=len(group.params), shared_yaxes=True)
    for column, name in enumerate(group.params, start=1):
        values: list[Value] = [trial.params[name] for trial in group.trials if name in trial.params]
        for index, strategy in enumerate(colours):
            own = [t for t in group.trials if t.strategy == strategy and name in t.params]
            drawing.add_scatter(
                x=[table_cell(trial.params[name]) for trial in own],
                y=[trial.score for trial in own],
                mode="markers",
                name=plotly_text(strategy),
                legendgroup=strategy,
                showlegend=column == 1,
                marker={"color": colours[strategy], "symbol": SYMBOLS[index % len(SYMBOLS)], "size": 7},
                hovertemplate=f"{plotly_text(strategy)}: %{{y:.4f}} at %{{x}}<extra></extra>",
                row=1,
                col=column,
            )
        kind = "log" if wants_log(values) else "linear" if _numbers(values) else "category"
        drawing.update_xaxes(title=plotly_text(name), type=kind, row=1, col=column)
    drawing.update_yaxes(title=f"validation {plotly_text(metric)}", row=1, col=1)
    _add_stars(drawing, group, several=True)
    drawing.update_layout(showlegend=True)
    return drawing


def _add_stars(drawing: Drawing, group: TrialGroup, *, several: bool) -> None:
    """Marks the winner in each slice with a star."""
    best = next((trial for trial in group.trials if trial.key == group.winner), None)
    for column, name in enumerate(group.params, start=1):
        if best is None or name not in best.params:
            continue
        drawing.add_scatter(
            x=[table_cell(best.params[name])],
            y=[best.score],
            mode="markers",
            showlegend=False,
            marker={"symbol": "star-open", "size": 17, "color": "#b8487c", "line": {"width": 2}},
            hovertemplate=f"winner, trial {plotly_text(best.trial)}: %{{y:.4f}} at %{{x}}<extra></extra>",
            **({"row": 1, "col": column} if several else {}),
        )


def _numbers(values: Sequence[Value]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _table(searched: Mapping[str, Sequence[ScoredTrial]], metric: str) -> DataTable:
    names = list(dict.fromkeys(name for trials in searched.values() for t in trials for name in t.params))
    return DataTable(
        ("strategy", "seed", "trial", metric, *names),
        tuple(
            (strategy, trial.seed, trial.trial, trial.score, *(table_cell(trial.params.get(name)) for name in names))
            for strategy, trials in searched.items()
            for trial in trials
        ),
    )
