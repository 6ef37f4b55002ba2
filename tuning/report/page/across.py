"""Renders the page of several experiments: ranks, interquartile means, performance profiles and pairs over tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tuning.across.text import heading
from tuning.across.types import Across, AcrossPair, AcrossRow
from tuning.across.verdict import chance_in_words, difference_digits, middle_in_words
from tuning.comparison.formatting import join_names
from tuning.report.page.document import PageContent, finite_json, template_environment
from tuning.report.page.figure import DASHES, PALETTE, DataTable, Figure, View, plotly_json, plotly_text

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as Drawing

SEVERAL = "all tasks"  # the only view of each figure
NO_SCALE = "all strategies have the same mean in each task."


class LineStyle(NamedTuple):
    """Colour and dash of a strategy, the same in every figure."""

    colour: str
    dash: str


def across_content(across: Across) -> PageContent:
    """Renders the body and the figures."""
    figures = across_figures(across)
    body = (
        template_environment()
        .get_template("across.html")
        .render(
            across=across,
            heading=heading(across),
            figures={figure.id: figure for figure in figures},
            tables={
                "strategies": strategy_table(across),
                "tasks": task_table(across),
                "pairs": across_pair_table(across),
            },
        )
    )
    drawn = {figure.id: figure.to_json() for figure in figures if not figure.missing}
    return PageContent(f"{', '.join(task.experiment for task in across.tasks)} · tunefleet", body, finite_json(drawn))


def across_figures(across: Across) -> list[Figure]:
    """Returns every figure of the page, including those without data."""
    looks = {
        name: LineStyle(PALETTE[place % len(PALETTE)], DASHES[place % len(DASHES)])
        for place, name in enumerate(across.strategies)
    }
    return [
        _ranks(across, looks),
        _profiles(across, looks),
        _middles(across, looks),
        _chances(across, looks),
    ]


def strategy_table(across: Across) -> DataTable:
    """Returns a row per strategy, the best mean rank first."""
    return DataTable(
        ("strategy", "mean rank", "tasks in which it is best", "interquartile mean", "95 % interval", "device-seconds"),
        tuple((r.strategy, r.rank, r.best_in, r.middle, _interval(r), r.device_seconds) for r in across.rows),
    )


def task_table(across: Across) -> DataTable:
    """Returns a row per task and strategy."""
    return DataTable(
        ("task", "strategy", "metric", "better", "test, mean", "rank", "normalised", "seeds", "device-seconds"),
        tuple(
            (
                task.experiment,
                name,
                task.metric,
                "higher" if task.mode == "max" else "lower",
                task.means[place],
                task.ranks[place],
                None if task.normalised is None else task.normalised[place],
                len(task.seeds),
                task.device_seconds[place],
            )
            for task in across.tasks
            for place, name in enumerate(across.strategies)
        ),
    )


def across_pair_table(across: Across) -> DataTable:
    """Returns a row per pair of strategies, those with the baseline first."""
    chance, difference = ("P(first better)", "95 % interval of P"), ("difference", "95 % interval of it")
    columns = ("pair", "tasks won", "tasks lost", *chance, *difference, "p", "p, corrected", "shown")
    return DataTable(
        columns,
        tuple(
            (
                f"{pair.first} against {pair.second}",
                pair.wins,
                pair.losses,
                pair.better,
                _interval(pair),
                pair.difference,
                _difference_interval(pair, across),
                pair.p,
                pair.corrected,
                "yes" if pair.shown else "no",
            )
            for pair in across.pairs
        ),
    )


def _interval(of: AcrossRow | AcrossPair) -> str | None:
    return None if of.interval is None else f"{of.interval.low:.2f} to {of.interval.high:.2f}"


def _difference_interval(pair: AcrossPair, across: Across) -> str | None:
    interval, digits = pair.difference_interval, difference_digits(across)
    return None if interval is None else f"{interval.low:.{digits}f} to {interval.high:.{digits}f}"


def _ranks(across: Across, looks: Mapping[str, LineStyle]) -> Figure:
    import plotly.graph_objects as go

    drawing = go.Figure()
    places = {name: place for place, name in enumerate(across.strategies)}
    for label, symbol, points in (
        (
            "one task",
            "circle-open",
            [(r.strategy, t.ranks[places[r.strategy]]) for r in across.rows for t in across.tasks],
        ),
        ("mean", "diamond", [(row.strategy, row.rank) for row in across.rows]),
    ):
        shades = [looks[name].colour for name, _ in points]
        drawing.add_scatter(
            x=[rank for _, rank in points],
            y=[plotly_text(name) for name, _ in points],
            mode="markers",
            name=label,
            marker={"symbol": symbol, "size": 11, "color": shades, "line": {"width": 2, "color": shades}},
            hovertemplate=f"%{{y}}: {label}, rank %{{x:.2f}}<extra></extra>",
        )
    drawing.update_xaxes(title="rank (1 is the best)")
    _strategies_down(drawing)
    means = join_names([f"{row.strategy} {row.rank:.2f}" for row in across.rows])
    return Figure(
        id="ranks",
        title="Ranks over tasks",
        about="A row per strategy. Circles: its rank in each task, by the mean test score; ties share their mean. "
        "Diamond: the mean over tasks.",
        views=(View(SEVERAL, f"Mean ranks: {means}.", plotly_json(drawing, height=150 + 34 * len(across.rows))),),
        table=DataTable(
            ("strategy", "task", "rank"),
            tuple((name, t.experiment, t.ranks[place]) for t in across.tasks for name, place in places.items()),
        ),
    )


def _profiles(across: Across, looks: Mapping[str, LineStyle]) -> Figure:
    import plotly.graph_objects as go

    drawing = go.Figure()
    for row in across.rows:
        look, name = looks[row.strategy], plotly_text(row.strategy)
        _add_band(drawing, across.thresholds, row, look.colour)
        drawing.add_scatter(
            x=across.thresholds,
            y=row.profile,
            mode="lines",
            name=name,
            legendgroup=row.strategy,
            line={"color": look.colour, "width": 2.4, "dash": look.dash, "shape": "hv"},
            hovertemplate=f"{name}: %{{y:.0%}} of searches above %{{x:.2f}}<extra></extra>",
        )
    drawing.update_xaxes(title="normalised score")
    drawing.update_yaxes(title="searches above it", range=[-0.02, 1.02], tickformat=".0%")
    return Figure(
        id="profiles",
        title="Performance profiles",
        about="The share of searches whose normalised score is above the one on the axis, as the mean over tasks: the "
        "higher line is the better strategy there. Band: pointwise 95 % interval for other seeds on these tasks.",
        views=(View(SEVERAL, _profile_summary(across), plotly_json(drawing, height=460)),) if across.thresholds else (),
        table=DataTable(
            ("strategy", "normalised score", "share above", "low", "high"),
            tuple(point for row in across.rows for point in _points(row, across.thresholds)),
        ),
        missing=None if across.thresholds else NO_SCALE,
    )


def _points(row: AcrossRow, thresholds: Sequence[float]) -> list[tuple[str, float, float, float | None, float | None]]:
    lows: Sequence[float | None] = row.profile_low or (None,) * len(thresholds)
    highs: Sequence[float | None] = row.profile_high or (None,) * len(thresholds)
    return [(row.strategy, *point) for point in zip(thresholds, row.profile, lows, highs, strict=True)]


def _profile_summary(across: Across) -> str:
    half = across.thresholds.index(0.5) if across.thresholds else 0
    shares = join_names([f"{row.strategy} {100 * row.profile[half]:.0f} %" for row in across.rows if row.profile])
    return f"Searches with a normalised score above 0.5: {shares}."


def _add_band(drawing: Drawing, thresholds: Sequence[float], row: AcrossRow, colour: str) -> None:
    """Adds a filled band between two invisible lines."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    for shares, fill in ((row.profile_low, None), (row.profile_high, "tonexty")):
        if shares:
            drawing.add_scatter(
                x=thresholds,
                y=shares,
                mode="lines",
                line={"width": 0, "shape": "hv"},
                fill=fill,
                fillcolor=f"rgba({red},{green},{blue},0.18)",
                legendgroup=row.strategy,
                showlegend=False,
                hoverinfo="skip",
            )


def _middles(across: Across, looks: Mapping[str, LineStyle]) -> Figure:
    found = [row for row in across.rows if row.middle is not None]
    plot = _with_intervals(
        [(plotly_text(row.strategy), row.middle, row, looks[row.strategy].colour) for row in found], "normalised score"
    )
    means = join_names([f"{row.strategy} {middle_in_words(row)}" for row in found]) if found else ""
    return Figure(
        id="middles",
        title="Interquartile means",
        about="The mean normalised score of each strategy's searches on all tasks, without the best and the worst "
        "quarter of them. Line: 95 % interval for other seeds on these tasks.",
        views=(View(SEVERAL, f"Interquartile means: {means}.", plot),) if found else (),
        table=DataTable(
            ("strategy", "interquartile mean", "low", "high"), tuple((r.strategy, r.middle, *_ends(r)) for r in found)
        ),
        missing=None if found else NO_SCALE,
    )


def _chances(across: Across, looks: Mapping[str, LineStyle]) -> Figure:
    rows = [
        (f"{plotly_text(pair.first)}<br>over {plotly_text(pair.second)}", pair.better, pair, looks[pair.first].colour)
        for pair in across.pairs
    ]
    plot = _with_intervals(rows, "chance that the first is better")
    plot["layout"]["xaxis"] |= {"range": [-0.02, 1.02], "tickformat": ".0%"}
    chances = join_names([f"{pair.first} over {pair.second} {chance_in_words(pair)}" for pair in across.pairs])
    return Figure(
        id="chances",
        title="Probability of improvement",
        about="For each pair of strategies, the probability that a search of the first has a better test score than "
        "one of the second on the same task: the mean over tasks; ties count half. Line: 95 % interval for other seeds "
        "on these tasks; none if all seeds agree.",
        views=(View(SEVERAL, f"{chances}.", plot),),
        table=DataTable(
            ("first", "second", "chance", "low", "high"),
            tuple((pair.first, pair.second, pair.better, *_ends(pair)) for pair in across.pairs),
        ),
    )


def _ends(of: AcrossRow | AcrossPair) -> tuple[float | None, float | None]:
    return (None, None) if of.interval is None else (of.interval.low, of.interval.high)


def _with_intervals(rows: Sequence[tuple[str, float | None, AcrossRow | AcrossPair, str]], axis: str) -> dict[str, Any]:
    """Draws a row per label, with its value and a line for its interval."""
    import plotly.graph_objects as go

    drawing = go.Figure()
    for label, value, of, colour in rows:
        low, high = _ends(of)
        if low is not None:
            drawing.add_scatter(
                x=[low, high], y=[label] * 2, mode="lines", line={"width": 3, "color": colour}, hoverinfo="skip",
                showlegend=False,
            )  # fmt: skip
        drawing.add_scatter(
            x=[value], y=[label], mode="markers", marker={"symbol": "diamond", "size": 11, "color": colour},
            hovertemplate="%{y}: %{x:.3f}<extra></extra>", showlegend=False,
        )  # fmt: skip
    drawing.update_xaxes(title=axis)
    _strategies_down(drawing)
    return plotly_json(drawing, height=120 + 44 * len(rows))


def _strategies_down(drawing: Drawing) -> None:
    """Puts the first row on top."""
    drawing.update_yaxes(type="category", autorange="reversed", automargin=True)
