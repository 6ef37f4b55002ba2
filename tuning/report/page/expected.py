"""Draws the expected best score of smaller random searches, estimated from the one that was run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trainables.wording import counted
from tuning.comparison import Comparison, ExpectedBest
from tuning.report.page.anytime import add_band
from tuning.report.page.figure import DataTable, Figure, View, format_number, plotly_json, plotly_text

BY_TRIALS, BY_COST = "over trials", "over device-seconds"


def expected_figure(comparison: Comparison, colours: Mapping[str, str], dashes: Mapping[str, str]) -> Figure:
    """Returns the figure with a view over trials and one over device-seconds, a line and a band per random search."""
    found, metric = comparison.expected, comparison.metric
    summary = _summary(found, metric)
    return Figure(
        id="expected",
        title="Expected best of smaller random searches",
        about=f"The expected best validation {metric} of a random search with that number of trials: the mean over all "
        "subsets of the trials of each seed (Dodge et al. 2019; the unbiased estimator of Tang et al. 2020). Compare "
        "it with what another strategy found for the same cost; the verdict compares test scores. "
        "Band: simultaneous 95 % band for other draws of configurations (90 to 98 % in simulations); it ends at half "
        "of the trials, since it is not reliable beyond. A trial costs the average of the search, including starts and "
        "idle slots.",
        views=tuple(
            View(label, summary, _draw(found, metric, label, colours, dashes)) for label in (BY_TRIALS, BY_COST)
        )
        if found
        else (),
        table=DataTable(
            ("strategy", "trials", "device-seconds", "expected best", "low", "high"),
            tuple((one.strategy, *point) for one in found for point in _points(one)),
        ),
        missing=comparison.no_expected,
    )


def _points(one: ExpectedBest) -> zip[tuple[int, float, float, float | None, float | None]]:
    return zip(one.trials, one.cost, one.expected, one.low, one.high, strict=True)


def _draw(
    found: Sequence[ExpectedBest], metric: str, over: str, colours: Mapping[str, str], dashes: Mapping[str, str]
) -> dict[str, Any]:
    import plotly.graph_objects as go

    drawing, unit = go.Figure(), "trials" if over == BY_TRIALS else "device-seconds"
    for one in found:
        places = one.trials if over == BY_TRIALS else one.cost
        ends = zip(places, one.low, one.high, strict=True)
        band = [(place, low, high) for place, low, high in ends if low is not None and high is not None]
        add_band(drawing, one.strategy, band, colours[one.strategy], shape="linear")
        drawing.add_scatter(
            x=places,
            y=one.expected,
            mode="lines+markers" if len(places) < 30 else "lines",
            name=f"{plotly_text(one.strategy)} ({counted(one.draws, 'trial')})",
            legendgroup=one.strategy,
            line={"color": colours[one.strategy], "width": 2.4, "dash": dashes[one.strategy]},
            hovertemplate=f"{plotly_text(one.strategy)}: %{{y:.4f}} expected of %{{x:,.0f}} {unit}<extra></extra>",
        )
    drawing.update_xaxes(title=unit, rangemode="tozero")
    drawing.update_yaxes(title=f"expected best validation {plotly_text(metric)}")
    return plotly_json(drawing, height=400)


def _summary(found: Sequence[ExpectedBest], metric: str) -> str:
    return " ".join(f"Expected best validation {metric} of {one.strategy}: {_one_summary(one)}" for one in found)


def _one_summary(one: ExpectedBest) -> str:
    """Describes the curve at its first trial, half of the trials and all, and the trials that do not count."""
    places = sorted({0, max(0, one.trials[-1] // 2 - one.trials[0]), len(one.trials) - 1})
    values = [f"{format_number(one.expected[p])}{_band(one, p)} of {counted(one.trials[p], 'trial')}" for p in places]
    left = f" {counted(one.failed, 'trial')} failed and count as worse than any." if one.failed else ""
    cut = f" {counted(one.cut_off, 'trial')} did not end and are not counted." if one.cut_off else ""
    return f"{', '.join(values)}.{left}{cut}"


def _band(one: ExpectedBest, place: int) -> str:
    low, high = one.low[place], one.high[place]
    return "" if low is None or high is None else f" [{format_number(min(low, high))}, {format_number(max(low, high))}]"
