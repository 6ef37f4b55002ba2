"""Draws anytime curves: the best validation score so far over cost, with mean, band and regret over the seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from tuning.comparison import AnytimeCurves, Comparison
from tuning.comparison.bands import FEWEST
from tuning.comparison.formatting import join_names
from tuning.report.page.figure import ALL, DataTable, Figure, View, format_number, plotly_json, plotly_text

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as Drawing


class AnytimeInfo(NamedTuple):
    """The curves of one strategy. Costs without a mean are left out."""

    strategy: str
    mean: tuple[tuple[float, float], ...]  # of (device-seconds, score)
    band: tuple[tuple[float, float, float], ...]  # of (device-seconds, low, high); (): there is none
    regret: tuple[tuple[float, float], ...]  # of (device-seconds, regret)
    regret_band: tuple[tuple[float, float, float], ...]
    seeds: tuple[tuple[tuple[float, float], ...], ...]  # per seed with a score: steps up to its end
    confirmed: tuple[tuple[float, float], ...]  # per confirmed seed: total cost, mean confirmed score
    tests: tuple[tuple[float, float], ...]  # per tested seed: total cost, test score


def anytime_figure(comparison: Comparison, colours: Mapping[str, str], dashes: Mapping[str, str]) -> Figure:
    """Returns the figure with a view of scores and one of regret, a line and a band per strategy."""
    found = [anytime_info(row.anytime) for row in comparison.rows]
    drawn = [info for info in found if info.seeds]
    metric, better = comparison.metric, "higher" if comparison.mode == "max" else "lower"
    views = [View(ALL, _summary(drawn, metric), _draw(drawn, metric, colours, dashes))]
    if any(info.regret for info in drawn):
        views.append(View("regret", _regret_summary(drawn, metric), _draw_regret(drawn, metric, colours, dashes)))
    return Figure(
        id="anytime",
        title="Best so far over cost",
        about=f"The best validation {metric} so far ({better} is better) over the cost of the study so far. The cost "
        "includes starts, idle slots and recomputed epochs, but not the time of interruptions. "
        "Thick line: mean over the seeds, from where each has a score. Band: simultaneous 95 % confidence band of the "
        f"mean; it needs {FEWEST} seeds and is wide for few. "
        "Two strategies whose bands overlap may still differ: the verdict compares them in pairs. Thin "
        "lines: the seeds, up to the end of their search. Circle: the mean score of a seed's confirmed "
        "configuration; diamond: its test score; both at the cost of search and confirmation. "
        "Regret: how much worse the mean is than the best score of the experiment. The true optimum is unknown, so the "
        "true regret may be larger.",
        views=tuple(views) if drawn else (),
        table=DataTable(
            ("strategy", "device-seconds", "mean", "low", "high", "regret"),
            tuple((row.strategy, *point) for row in comparison.rows for point in _points(row.anytime)),
        ),
        missing=None if drawn else "no trial has reported a score yet.",
    )


def anytime_info(anytime: AnytimeCurves) -> AnytimeInfo:
    """Computes what is drawn of one strategy."""
    points = [point for point in _points(anytime) if point[1] is not None]
    band = [(cost, low, high) for cost, _, low, high, _ in points if low is not None and high is not None]
    means = [(cost, mean) for cost, mean, *_ in points if mean is not None]
    regret = [(cost, regret) for cost, *_, regret in points if regret is not None]
    shifts, behind = dict(means), dict(regret)
    ended = [curve for curve in anytime.curves if curve.steps]
    return AnytimeInfo(
        strategy=anytime.strategy,
        mean=tuple(means),
        band=tuple(band),
        regret=tuple(regret),
        regret_band=tuple(
            # The better end of the band has the smaller regret. Regret is never negative.
            (c, max(0.0, behind[c] - abs(high - shifts[c])), behind[c] + abs(low - shifts[c]))
            for c, low, high in band
            if c in behind
        ),
        seeds=tuple((*curve.steps, (curve.end, curve.steps[-1].score)) for curve in ended),
        confirmed=tuple((c.end + c.confirming, c.confirmed) for c in ended if c.confirmed is not None),
        tests=tuple((c.end + c.confirming, c.test) for c in ended if c.test is not None),
    )


Point = tuple[float, float | None, float | None, float | None, float | None]


def _points(anytime: AnytimeCurves) -> Iterable[Point]:
    return zip(anytime.cost, anytime.mean, anytime.low, anytime.high, anytime.regret, strict=True)


def _draw(
    infos: Sequence[AnytimeInfo], metric: str, colours: Mapping[str, str], dashes: Mapping[str, str]
) -> dict[str, Any]:
    import plotly.graph_objects as go

    drawing = go.Figure()
    for info in infos:
        colour = colours[info.strategy]
        add_band(drawing, info.strategy, info.band, colour)
        for steps in info.seeds:
            drawing.add_scatter(
                x=[cost for cost, _ in steps],
                y=[score for _, score in steps],
                mode="lines",
                opacity=0.45,
                line={"color": colour, "width": 1, "shape": "hv"},
                legendgroup=info.strategy,
                showlegend=False,
                hoverinfo="skip",
            )
        _add_line(drawing, info, info.mean, colour, dashes[info.strategy])
        for points, symbol, label in ((info.confirmed, "circle-open", "confirmed"), (info.tests, "diamond", "on test")):
            drawing.add_scatter(
                x=[cost for cost, _ in points],
                y=[score for _, score in points],
                mode="markers",
                legendgroup=info.strategy,
                showlegend=False,
                marker={"symbol": symbol, "size": 9, "color": colour},
                hovertemplate=f"{plotly_text(info.strategy)}: a seed {label} %{{y:.4f}} for %{{x:,.0f}} device-seconds"
                "<extra></extra>",
            )
    drawing.update_xaxes(title="device-seconds", rangemode="tozero")
    drawing.update_yaxes(title=f"best validation {plotly_text(metric)}")
    return plotly_json(drawing, height=460)


def _draw_regret(
    infos: Sequence[AnytimeInfo], metric: str, colours: Mapping[str, str], dashes: Mapping[str, str]
) -> dict[str, Any]:
    import plotly.graph_objects as go

    drawing = go.Figure()
    for info in infos:
        add_band(drawing, info.strategy, info.regret_band, colours[info.strategy])
        _add_line(drawing, info, info.regret, colours[info.strategy], dashes[info.strategy])
    drawing.update_xaxes(title="device-seconds", rangemode="tozero")
    drawing.update_yaxes(title=f"mean regret in validation {plotly_text(metric)}", rangemode="tozero")
    return plotly_json(drawing, height=460)


def _add_line(
    drawing: Drawing, info: AnytimeInfo, points: Sequence[tuple[float, float]], colour: str, dash: str
) -> None:
    """Adds the mean of a strategy, with its name in the legend even if there is no mean to draw."""
    name, seeds = plotly_text(info.strategy), len(info.seeds)
    empty: list[float | None] = [None]
    drawing.add_scatter(
        x=[cost for cost, _ in points] or empty,
        y=[score for _, score in points] or empty,
        mode="lines",
        name=f"{name} ({seeds} seed{'s' if seeds > 1 else ''})",
        legendgroup=info.strategy,
        line={"color": colour, "width": 2.4, "dash": dash, "shape": "hv"},
        hovertemplate=f"{name}: %{{y:.4f}} after %{{x:,.0f}} device-seconds<extra></extra>",
    )


def add_band(
    drawing: Drawing, group: str, band: Sequence[tuple[float, float, float]], colour: str, shape: str = "hv"
) -> None:
    """Adds a filled band of (x, low, high) between two invisible lines; nothing if it is empty."""
    if not band:
        return
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    places, lows, highs = zip(*band, strict=True)
    for scores, fill in ((lows, None), (highs, "tonexty")):
        drawing.add_scatter(
            x=places,
            y=scores,
            mode="lines",
            line={"width": 0, "shape": shape},
            fill=fill,
            fillcolor=f"rgba({red},{green},{blue},0.18)",
            legendgroup=group,
            showlegend=False,
            hoverinfo="skip",
        )


def _summary(infos: Sequence[AnytimeInfo], metric: str) -> str:
    means = [f"{i.strategy} {format_number(i.mean[-1][1])}{_ends(i.band)}" for i in infos if i.mean]
    found = f"Mean best validation {metric} at the end: {'; '.join(means)}." if means else ""
    if apart := [info.strategy for info in infos if not info.mean]:
        found += f" No mean: a seed of {join_names(apart)} has no score."
    for what, points_of in _MARKED:
        if marked := [f"{i.strategy} {format_number(fmean(s for _, s in p))}" for i in infos if (p := points_of(i))]:
            found += f" {what}, mean over seeds: {'; '.join(marked)}."
    return f"{found}{_without_band(infos)}".strip()


_MARKED: tuple[tuple[str, Callable[[AnytimeInfo], tuple[tuple[float, float], ...]]], ...] = (
    ("Confirmed", lambda info: info.confirmed),
    ("On test", lambda info: info.tests),
)


def _regret_summary(infos: Sequence[AnytimeInfo], metric: str) -> str:
    means = [f"{i.strategy} {format_number(i.regret[-1][1])}{_ends(i.regret_band)}" for i in infos if i.regret]
    return f"Mean regret in validation {metric} at the end: {'; '.join(means)}.{_without_band(infos)}"


def _ends(band: Sequence[tuple[float, float, float]]) -> str:
    return f" [{format_number(min(band[-1][1:]))}, {format_number(max(band[-1][1:]))}]" if band else ""


def _without_band(infos: Sequence[AnytimeInfo]) -> str:
    few = [info.strategy for info in infos if len(info.seeds) < FEWEST]
    text = f" No band of {join_names(few)}: it needs {FEWEST} seeds." if few else ""
    if same := [info.strategy for info in infos if len(info.seeds) >= FEWEST and info.mean and not info.band]:
        text += f" No band of {join_names(same)}: all seeds have the same curve."
    return text
