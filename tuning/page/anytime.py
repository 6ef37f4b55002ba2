"""Anytime curves: the best validation score so far over the device-seconds spent, median and band over the seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tuning.comparison import curve
from tuning.outcome import ExperimentOutcome, StudyOutcome
from tuning.page.figure import Figure, Table, View, colours, dashes, number, plain, plot_of

POINTS = 120  # of one curve: as many as a screen can show


class AnytimeCurve(NamedTuple):
    """One strategy's. Starts where every seed has a score, ends where the first seed ends."""

    strategy: str
    seeds: int
    cost: tuple[float, ...]  # device-seconds
    median: tuple[float, ...]
    low: tuple[float, ...]  # the worst seed, by value
    high: tuple[float, ...]


def anytime_figure(outcome: ExperimentOutcome) -> Figure:
    """One drawing with a line and a band per strategy."""
    curves = [found for studies in _by_strategy(outcome) if (found := anytime_curve(studies)) is not None]
    metric, mode = outcome.studies[0].metric, outcome.studies[0].mode
    view = View("all strategies", _summary(curves, metric), _draw(curves, outcome)) if curves else None
    return Figure(
        id="anytime",
        title="Best so far over cost",
        about=f"The best validation {metric} found so far ({'higher' if mode == 'max' else 'lower'} is better) over "
        "the device-seconds of the reports: median over the seeds, and a band from the worst to the best seed.",
        views=(view,) if view else (),
        table=Table(
            ("strategy", "seeds", "device-s", "median", "low", "high"),
            tuple((c.strategy, c.seeds, *point) for c in curves for point in zip(*c[2:], strict=True)),
        ),
        missing=None if curves else "no trial has reported a score yet.",
    )


def anytime_curve(studies: Sequence[StudyOutcome]) -> AnytimeCurve | None:
    """Of the studies of one strategy that have a score; None when none has."""
    found = [points for study in studies if (points := curve(study))]
    if not found:
        return None
    start, end = max(points[0][0] for points in found), min(points[-1][0] for points in found)
    every = sorted({cost for points in found for cost, _ in points if start <= cost <= end} | {start})
    costs = np.array(every if len(every) <= POINTS else np.linspace(start, end, POINTS))
    scores = np.array([_at(points, costs) for points in found])
    return AnytimeCurve(
        studies[0].strategy,
        len(found),
        tuple(costs.tolist()),
        tuple(np.median(scores, axis=0).tolist()),
        tuple(scores.min(axis=0).tolist()),
        tuple(scores.max(axis=0).tolist()),
    )


def _at(points: Sequence[tuple[float, float]], costs: np.ndarray[Any, Any]) -> list[float]:
    """The best score at each cost: that of the last report before it."""
    own = np.array(points)
    index = np.searchsorted(own[:, 0], costs, side="right") - 1
    return [float(score) for score in own[np.maximum(index, 0), 1]]


def _by_strategy(outcome: ExperimentOutcome) -> list[list[StudyOutcome]]:
    by_strategy: dict[str, list[StudyOutcome]] = {}
    for study in outcome.studies:
        by_strategy.setdefault(study.strategy, []).append(study)
    return list(by_strategy.values())


def _draw(curves: Sequence[AnytimeCurve], outcome: ExperimentOutcome) -> dict[str, Any]:
    import plotly.graph_objects as go

    drawing = go.Figure()
    colour, dash = colours(outcome), dashes(outcome)
    for found in curves:
        own = colour[found.strategy]
        band = {"x": found.cost, "mode": "lines", "line": {"width": 0, "shape": "hv"}, "hoverinfo": "skip"}
        if found.seeds > 1:
            drawing.add_scatter(y=found.low, showlegend=False, legendgroup=found.strategy, **band)
            drawing.add_scatter(
                y=found.high,
                showlegend=False,
                legendgroup=found.strategy,
                fill="tonexty",
                fillcolor=_faint(own),
                **band,
            )
        drawing.add_scatter(
            x=found.cost,
            y=found.median,
            mode="lines",
            name=f"{plain(found.strategy)} ({found.seeds} seed{'s' if found.seeds > 1 else ''})",
            legendgroup=found.strategy,
            line={"color": own, "width": 2.4, "dash": dash[found.strategy], "shape": "hv"},
            hovertemplate=f"{plain(found.strategy)}: %{{y:.4f}} after %{{x:,.0f}} device-s<extra></extra>",
        )
    drawing.update_xaxes(title="device-seconds", rangemode="tozero")
    drawing.update_yaxes(title=f"best validation {plain(outcome.studies[0].metric)}")
    return plot_of(drawing, height=440)


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"


def _summary(curves: Sequence[AnytimeCurve], metric: str) -> str:
    ends = [f"{c.strategy} {number(c.median[-1])} after {number(round(c.cost[-1]))} device-seconds" for c in curves]
    return f"Median best {metric} at the end of each curve: {'; '.join(ends)}."
