"""Learning curves: the validation score of every trial, epoch by epoch; stopped trials are faded."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from trainables.reporting import Report
from tuning.outcome import ExperimentOutcome, StudyOutcome, TrialOutcome, TrialState
from tuning.page.figure import STATE_COLOURS, Figure, Table, View, listed, number, plain, plot_of

FADED = 0.35
HOVER = "%{text}<br>epoch %{x:g}: %{y:.4f}<extra></extra>"


class TrialCurve(NamedTuple):
    """One trial's scores. After an exploit the weights are a donor's, so the line breaks there."""

    seed: int
    trial: str
    state: TrialState
    pieces: tuple[tuple[tuple[float, float], ...], ...]  # of (epoch, score)


def learning_figure(outcome: ExperimentOutcome) -> Figure:
    """One view per strategy, all its seeds in it."""
    names = list(dict.fromkeys(study.strategy for study in outcome.studies))
    curves = {name: [c for s in outcome.studies if s.strategy == name for c in trial_curves(s)] for name in names}
    shown = {name: found for name, found in curves.items() if found}
    metric = outcome.studies[0].metric
    return Figure(
        id="learning",
        title="Learning curves",
        about="Each line is a trial: its validation score after each epoch. Trials that their strategy stopped are "
        "faded; a line breaks where a PBT member took over another one's weights.",
        views=tuple(View(name, _summary(name, found, metric), _draw(found, metric)) for name, found in shown.items()),
        table=Table(
            ("strategy", "seed", "trial", "state", "epoch", metric),
            tuple(
                (name, curve.seed, curve.trial, curve.state.value, epoch, score)
                for name, found in shown.items()
                for curve in found
                for piece in curve.pieces
                for epoch, score in piece
            ),
        ),
        missing=None if shown else "no trial has reported a score yet.",
    )


def trial_curves(study: StudyOutcome) -> list[TrialCurve]:
    """Of all trials with a report."""
    return [
        TrialCurve(
            study.seed,
            trial.id,
            trial.state,
            tuple(tuple((r.epoch, r.metrics[study.metric]) for r in piece) for piece in unbroken(trial)),
        )
        for trial in study.trials
        if trial.reports
    ]


def unbroken(trial: TrialOutcome) -> Iterator[tuple[Report, ...]]:
    """The trial's reports, cut at its exploits: within a piece they are of the same weights."""
    cuts = {exploit.reports for exploit in trial.lineage if exploit.reports < len(trial.reports)}
    for start, end in pairwise(sorted({0, *cuts, len(trial.reports)})):
        yield trial.reports[start:end]


def _draw(curves: list[TrialCurve], metric: str) -> dict[str, Any]:
    """One trace per state: two hundred traces of one line each take seconds to draw."""
    import plotly.graph_objects as go

    drawing = go.Figure()
    for state in (TrialState.STOPPED, TrialState.FAILED, TrialState.COMPLETED, TrialState.RUNNING):
        own = [curve for curve in curves if curve.state is state]
        if not own:
            continue
        points = [
            (*point, f"trial {plain(curve.trial)}, seed {curve.seed}, {state.value}") if point else (None, None, None)
            for curve in own
            for piece in curve.pieces
            for point in (*piece, None)
        ]
        x, y, text = zip(*points, strict=True)
        drawing.add_scatter(
            x=x,
            y=y,
            text=text,
            mode="lines+markers",
            name=f"{state.value} ({len(own)})",
            opacity=FADED if state is TrialState.STOPPED else 0.9,
            line={"color": STATE_COLOURS[state.value], "width": 1.4},
            marker={"size": 4, "symbol": "x" if state is TrialState.FAILED else "circle"},
            hovertemplate=HOVER,
        )
    drawing.update_layout(showlegend=True)
    drawing.update_xaxes(title="epoch")
    drawing.update_yaxes(title=f"validation {plain(metric)}")
    return plot_of(drawing, height=420)


def _summary(name: str, curves: list[TrialCurve], metric: str) -> str:
    counts = [f"{n} {state.value}" for state in TrialState if (n := sum(c.state is state for c in curves))]
    lasts = [curve.pieces[-1][-1][1] for curve in curves]
    return (
        f"{name}: {len(curves)} trials with a score ({listed(counts)}). "
        f"Last {metric} of a trial between {number(min(lasts))} and {number(max(lasts))}."
    )
