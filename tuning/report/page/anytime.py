"""Anytime curves: the best validation score so far over what the study had cost, mean and band over the seeds; and
regret, how much worse that mean is than the best score of the experiment."""

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
    """One strategy's. Costs at which no mean is known yet are left out."""

    strategy: str
    mean: tuple[tuple[float, float], ...]  # of (device-seconds, score)
    band: tuple[tuple[float, float, float], ...]  # of (device-seconds, low, high); (): none can be had
    regret: tuple[tuple[float, float], ...]  # of (device-seconds, regret)
    regret_band: tuple[tuple[float, float, float], ...]
    seeds: tuple[tuple[tuple[float, float], ...], ...]  # of each seed with a score: its steps, up to its end
    confirmed: tuple[tuple[float, float], ...]  # of each confirmed seed: its cost with that, its mean confirmed score
    tests: tuple[tuple[float, float], ...]  # of each seed with one: the same cost, its test score


def anytime_figure(comparison: Comparison, colours: Mapping[str, str], dashes: Mapping[str, str]) -> Figure:
    """Two drawings with a line and a band per strategy, each in its colour and dash."""
    found = [anytime_info(row.anytime) for row in comparison.rows]
    drawn = [info for info in found if info.seeds]
    metric, better = comparison.metric, "higher" if comparison.mode == "max" else "lower"
    views = [View(ALL, _summary(drawn, metric), _draw(drawn, metric, colours, dashes))]
    if any(info.regret for info in drawn):
        views.append(View("regret", _regret_summary(drawn, metric), _draw_regret(drawn, metric, colours, dashes)))
    return Figure(
        id="anytime",
        title="Best so far over cost",
        about=f"The best validation {metric} so far ({better} is better) over what a study had cost by then: starts, "
        "idle slots and what an interruption made it compute again included, the time in which it stood still not. "
        "Thick line: mean over the seeds, from where each has a score. Band: in 95 % of experiments it holds the "
        f"whole line that endless seeds would have, at all costs at once; it takes {FEWEST} seeds, and of few it is "
        "wide. Two strategies whose bands overlap may differ all the same: the verdict compares them in pairs. Thin "
        "lines: the seeds; where one ends, its search ended. Circle: the mean score of a seed's confirmed "
        "configuration, trained again; diamond: its test score; both at what search and confirmation cost. "
        "Regret: how much worse the mean is than the best score of the experiment, at least, for the best there is "
        "remains unknown.",
        views=tuple(views) if drawn else (),
        table=DataTable(
            ("strategy", "device-seconds", "mean", "low", "high", "regret"),
            tuple((row.strategy, *point) for row in comparison.rows for point in _points(row.anytime)),
        ),
        missing=None if drawn else "no trial has reported a score yet.",
    )


def anytime_info(anytime: AnytimeCurves) -> AnytimeInfo:
    """What is drawn of one strategy."""
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
            # The better end of the band has the smaller regret; no regret is below 0.
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
        for points, symbol, told in ((info.confirmed, "circle-open", "confirmed"), (info.tests, "diamond", "on test")):
            drawing.add_scatter(
                x=[cost for cost, _ in points],
                y=[score for _, score in points],
                mode="markers",
                legendgroup=info.strategy,
                showlegend=False,
                marker={"symbol": symbol, "size": 9, "color": colour},
                hovertemplate=f"{plotly_text(info.strategy)}: a seed {told} %{{y:.4f}} for %{{x:,.0f}} device-seconds"
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
    """With its name in the legend, also where a seed without a score leaves no mean to draw."""
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
    """Of (x, low, high), between two invisible lines; nothing where it is empty."""
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
    told = [f"{i.strategy} {format_number(i.mean[-1][1])}{_ends(i.band)}" for i in infos if i.mean]
    found = f"Mean best validation {metric} at the end: {'; '.join(told)}." if told else ""
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
    told = [f"{i.strategy} {format_number(i.regret[-1][1])}{_ends(i.regret_band)}" for i in infos if i.regret]
    return f"Mean regret in validation {metric} at the end: {'; '.join(told)}.{_without_band(infos)}"


def _ends(band: Sequence[tuple[float, float, float]]) -> str:
    return f" [{format_number(min(band[-1][1:]))}, {format_number(max(band[-1][1:]))}]" if band else ""


def _without_band(infos: Sequence[AnytimeInfo]) -> str:
    few = [info.strategy for info in infos if len(info.seeds) < FEWEST]
    told = f" No band of {join_names(few)}: it takes {FEWEST} seeds." if few else ""
    if same := [info.strategy for info in infos if len(info.seeds) >= FEWEST and info.mean and not info.band]:
        told += f" No band of {join_names(same)}: all seeds had the same curve."
    return told
