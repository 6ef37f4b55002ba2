"""Draws learning curves: the validation score of every trial over epochs, with a thick line for the winner.

Failed trials have a view of their own: their last score, often that of chance, is no result and could stretch the axis.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from trainables.reporting import Report
from trainables.wording import counted
from tuning.comparison.formatting import join_names
from tuning.outcome import ExperimentOutcome, StudyOutcome, TrialOutcome, TrialState
from tuning.report.page.figure import (
    ALL,
    STATE_COLOURS,
    WINNER,
    DataTable,
    Figure,
    View,
    format_number,
    plotly_json,
    plotly_text,
)
from tuning.report.page.winners import TrialKey, Winners, failed_apart, not_drawn

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as Drawing

FADED = 0.35
FAILED = "failed trials"  # the view of failed trials
HOVER = "%{text}<br>epoch %{x:g}: %{y:.4f}<extra></extra>"


class TrialCurve(NamedTuple):
    """The curve of one trial. Its line breaks at an exploit, where the weights come from a donor."""

    strategy: str
    seed: int
    trial: str
    state: TrialState
    pieces: tuple[tuple[tuple[float, float], ...], ...]  # of (epoch, score)

    @property
    def key(self) -> TrialKey:
        """Identifies its trial."""
        return TrialKey(self.strategy, self.seed, self.trial)

    @property
    def points(self) -> tuple[tuple[float, float], ...]:
        """All (epoch, score) pairs, in order."""
        return tuple(point for piece in self.pieces for point in piece)


class CurveView(NamedTuple):
    """The curves of one view."""

    label: str
    curves: tuple[TrialCurve, ...]  # drawn
    left_out: int  # number of failed trials with a score, which the view `FAILED` shows
    winner: TrialKey | None  # drawn with a thick line


def learning_figure(
    outcome: ExperimentOutcome, chosen: Winners, colours: Mapping[str, str], dashes: Mapping[str, str]
) -> Figure:
    """Returns the figure with views of all strategies if there are several, of each strategy, and of failed trials."""
    metric, mode = outcome.studies[0].metric, outcome.studies[0].mode
    curves = [curve for study in outcome.studies for curve in trial_curves(study)]
    views = []
    for info in curve_views(curves, chosen, failed_apart(outcome, chosen)):
        if info.label in (ALL, FAILED):
            plot = _draw_strategies(info, metric, mode, colours, dashes)
        else:
            plot = _draw_states(info, metric, mode)
        views.append(View(info.label, _summary(info, metric, mode), plot))
    return Figure(
        id="learning",
        title="Learning curves",
        about="Each line is a trial: its validation score after each epoch; the thick one is the winner's. Trials that "
        "their strategy stopped are faded. A line breaks where a PBT member copied another one's weights. Failed "
        "trials have a view of their own.",
        views=tuple(views),
        table=DataTable(
            ("strategy", "seed", "trial", "state", "epoch", metric),
            tuple((c.strategy, c.seed, c.trial, c.state.value, *point) for c in curves for point in c.points),
        ),
        missing=None if views else "no trial has reported a score yet.",
    )


def curve_views(curves: Sequence[TrialCurve], chosen: Winners, apart: Collection[TrialKey]) -> list[CurveView]:
    """Returns the views; the trials in `apart` have one of their own."""
    names = list(dict.fromkeys(curve.strategy for curve in curves))

    def view(label: str, own: list[TrialCurve], winner: TrialKey | None) -> CurveView:
        drawn = tuple(curve for curve in own if curve.key not in apart)
        return CurveView(label, drawn, len(own) - len(drawn), winner)

    views = [view(ALL, list(curves), chosen.overall)] if len(names) > 1 else []
    views += [view(name, [c for c in curves if c.strategy == name], chosen.of.get(name)) for name in names]
    views.append(CurveView(FAILED, tuple(curve for curve in curves if curve.key in apart), 0, None))
    return [found for found in views if found.curves]


def trial_curves(study: StudyOutcome) -> list[TrialCurve]:
    """Returns the curves of all trials with a report."""
    return [
        TrialCurve(
            study.strategy,
            study.seed,
            trial.name,
            trial.state,
            tuple(tuple((r.epoch, r.metrics[study.metric]) for r in piece) for piece in unbroken(trial)),
        )
        for trial in study.trials
        if trial.reports
    ]


def unbroken(trial: TrialOutcome) -> Iterator[tuple[Report, ...]]:
    """Yields the reports of a trial, split at its exploits."""
    cuts = {exploit.reports for exploit in trial.lineage if exploit.reports < len(trial.reports)}
    for start, end in pairwise(sorted({0, *cuts, len(trial.reports)})):
        yield trial.reports[start:end]


def _draw_states(info: CurveView, metric: str, mode: str) -> dict[str, Any]:
    """Draws one strategy with a trace per state. A trace per trial would take seconds to draw."""
    import plotly.graph_objects as go

    drawing = go.Figure()
    for state in (TrialState.STOPPED, TrialState.FAILED, TrialState.COMPLETED, TrialState.RUNNING):
        own = [curve for curve in info.curves if curve.state is state]
        opacity = FADED if state is TrialState.STOPPED else 0.9
        line = {"color": STATE_COLOURS[state.value], "width": 1.4}
        _add_lines(drawing, own, f"{state.value} ({len(own)})", line, opacity)
    return _finished(drawing, info, metric, mode, WINNER)


def _draw_strategies(
    info: CurveView, metric: str, mode: str, colours: Mapping[str, str], dashes: Mapping[str, str]
) -> dict[str, Any]:
    """Draws several strategies; stopped trials have a trace of their own."""
    import plotly.graph_objects as go

    drawing = go.Figure()
    for name in dict.fromkeys(curve.strategy for curve in info.curves):
        own = [curve for curve in info.curves if curve.strategy == name]
        line = {"color": colours[name], "dash": dashes[name], "width": 1.4}
        stopped = [curve for curve in own if curve.state is TrialState.STOPPED]
        others = [curve for curve in own if curve.state is not TrialState.STOPPED]
        _add_lines(drawing, stopped, f"{plotly_text(name)}, stopped ({len(stopped)})", line, FADED)
        _add_lines(drawing, others, f"{plotly_text(name)} ({len(others)})", line, 0.9)
    return _finished(drawing, info, metric, mode, colours[info.winner.strategy] if info.winner else WINNER)


def _add_lines(
    drawing: Drawing, curves: Sequence[TrialCurve], name: str, line: Mapping[str, Any], opacity: float
) -> None:
    if not curves:
        return
    points = [
        (*point, _hover_text(curve)) if point else (None, None, None) for curve in curves for point in _gapped(curve)
    ]
    x, y, text = zip(*points, strict=True)
    drawing.add_scatter(
        x=x, y=y, text=text, mode="lines+markers", name=name, opacity=opacity, line=line, marker={"size": 4},
        hovertemplate=HOVER,
    )  # fmt: skip


def _finished(drawing: Drawing, info: CurveView, metric: str, mode: str, colour: str) -> dict[str, Any]:
    """Adds the winner's line on top, a star at its best score, and the titles of the axes."""
    winner = next((curve for curve in info.curves if curve.key == info.winner), None)
    if winner is not None:
        points = _gapped(winner)
        drawing.add_scatter(
            x=[point[0] if point else None for point in points],
            y=[point[1] if point else None for point in points],
            text=[_hover_text(winner)] * len(points),
            mode="lines",
            name=f"winner: trial {plotly_text(winner.trial)}",
            line={"color": colour, "width": 4},
            hovertemplate=HOVER,
        )
        epoch, score = _best(winner, mode)
        drawing.add_scatter(
            x=[epoch], y=[score], text=[_hover_text(winner)], mode="markers", showlegend=False, hovertemplate=HOVER,
            marker={"symbol": "star", "size": 15, "color": colour, "line": {"width": 1, "color": "#ffffff"}},
        )  # fmt: skip
    drawing.update_layout(showlegend=True)
    drawing.update_xaxes(title="epoch")
    drawing.update_yaxes(title=f"validation {plotly_text(metric)}")
    return plotly_json(drawing, height=440)


def _gapped(curve: TrialCurve) -> list[tuple[float, float] | None]:
    return [point for piece in curve.pieces for point in (*piece, None)]


def _hover_text(curve: TrialCurve) -> str:
    return f"{plotly_text(curve.strategy)}, trial {plotly_text(curve.trial)}, seed {curve.seed}, {curve.state.value}"


def _best(curve: TrialCurve, mode: str) -> tuple[float, float]:
    sign = 1 if mode == "max" else -1
    return max(curve.points, key=lambda point: sign * point[1])


def _summary(info: CurveView, metric: str, mode: str) -> str:
    counts = [f"{n} {state.value}" for state in TrialState if (n := sum(c.state is state for c in info.curves))]
    lasts = [curve.points[-1][1] for curve in info.curves]
    text = (
        f"{info.label}: {counted(len(info.curves), 'trial')} with a score ({join_names(counts)}). "
        f"Last {metric} of a trial between {format_number(min(lasts))} and {format_number(max(lasts))}."
    )
    for curve in info.curves:
        if curve.key == info.winner:
            epoch, score = _best(curve, mode)
            text += f" Winner: trial {curve.trial} of {curve.strategy}, seed {curve.seed}: {format_number(score)} "
            text += f"at epoch {epoch:g}."
    return text + not_drawn(info.left_out, f"the view '{FAILED}' shows them")
