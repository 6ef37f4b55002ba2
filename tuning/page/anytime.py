"""Anytime curves: the best validation score so far over what the study had cost, median and band over the seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tuning.comparison import Anytime, Comparison
from tuning.page.figure import ALL, Figure, Table, View, number, plain, plot_of

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as Drawing


class AnytimeInfo(NamedTuple):
    """One strategy's. Costs at which no score is known yet are left out."""

    strategy: str
    seeds: int
    median: tuple[tuple[float, float], ...]  # of (device-seconds, score)
    band: tuple[tuple[float, float, float], ...]  # of (device-seconds, low, high)
    ends: tuple[tuple[float, float], ...]  # of each seed with a score: its whole cost, its last best


def anytime_figure(comparison: Comparison, colours: Mapping[str, str], dashes: Mapping[str, str]) -> Figure:
    """One drawing with a line and a band per strategy, each in its colour and dash."""
    found = [anytime_info(row.anytime) for row in comparison.rows]
    drawn = [info for info in found if info.median]
    metric, better = comparison.metric, "higher" if comparison.mode == "max" else "lower"
    view = View(ALL, _summary(drawn, metric), _draw(drawn, metric, colours, dashes))
    return Figure(
        id="anytime",
        title="Best so far over cost",
        about=f"The best validation {metric} so far ({better} is better) over what a study had cost by then, starts "
        "and idle slots included. Line: median over the seeds. Band: their quartiles; of up to four seeds the worst "
        "and the best. Cross: where a seed's search ended; what it left of the budget is unspent.",
        views=(view,) if drawn else (),
        table=Table(
            ("strategy", "device-seconds", "median", "low", "high"),
            tuple((row.strategy, *point) for row in comparison.rows for point in _points(row.anytime)),
        ),
        missing=None if drawn else "no trial has reported a score yet.",
    )


def anytime_info(anytime: Anytime) -> AnytimeInfo:
    """What is drawn of one strategy."""
    points = list(_points(anytime))
    return AnytimeInfo(
        strategy=anytime.strategy,
        seeds=len(anytime.curves),
        median=tuple((cost, median) for cost, median, _, _ in points if median is not None),
        band=tuple((cost, low, high) for cost, _, low, high in points if low is not None and high is not None),
        ends=tuple((curve.end, curve.steps[-1].score) for curve in anytime.curves if curve.steps),
    )


def _points(anytime: Anytime) -> Iterable[tuple[float, float | None, float | None, float | None]]:
    return zip(anytime.cost, anytime.median, anytime.low, anytime.high, strict=True)


def _draw(
    infos: Sequence[AnytimeInfo], metric: str, colours: Mapping[str, str], dashes: Mapping[str, str]
) -> dict[str, Any]:
    import plotly.graph_objects as go

    drawing = go.Figure()
    for info in infos:
        _add_band(drawing, info, colours[info.strategy])
        name = plain(info.strategy)
        drawing.add_scatter(
            x=[cost for cost, _ in info.median],
            y=[score for _, score in info.median],
            mode="lines",
            name=f"{name} ({info.seeds} seed{'s' if info.seeds > 1 else ''})",
            legendgroup=info.strategy,
            line={"color": colours[info.strategy], "width": 2.4, "dash": dashes[info.strategy], "shape": "hv"},
            hovertemplate=f"{name}: %{{y:.4f}} after %{{x:,.0f}} device-seconds<extra></extra>",
        )
        drawing.add_scatter(
            x=[end for end, _ in info.ends],
            y=[score for _, score in info.ends],
            mode="markers",
            showlegend=False,
            legendgroup=info.strategy,
            marker={"symbol": "x-thin", "size": 9, "line": {"width": 2, "color": colours[info.strategy]}},
            hovertemplate=f"{name}: a seed ended after %{{x:,.0f}} device-seconds with %{{y:.4f}}<extra></extra>",
        )
    drawing.update_xaxes(title="device-seconds", rangemode="tozero")
    drawing.update_yaxes(title=f"best validation {plain(metric)}")
    return plot_of(drawing, height=460)


def _add_band(drawing: Drawing, info: AnytimeInfo, colour: str) -> None:
    """Between two invisible lines."""
    if info.seeds < 2 or not info.band:
        return
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    costs, lows, highs = zip(*info.band, strict=True)
    for scores, fill in ((lows, None), (highs, "tonexty")):
        drawing.add_scatter(
            x=costs,
            y=scores,
            mode="lines",
            line={"width": 0, "shape": "hv"},
            fill=fill,
            fillcolor=f"rgba({red},{green},{blue},0.18)",
            legendgroup=info.strategy,
            showlegend=False,
            hoverinfo="skip",
        )


def _summary(infos: Sequence[AnytimeInfo], metric: str) -> str:
    told = [f"{i.strategy} {number(i.median[-1][1])} (from {number(i.median[0][1])} at its first score)" for i in infos]
    return f"Median best validation {metric} at the end: {'; '.join(told)}."
