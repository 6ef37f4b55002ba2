"""Draws seeds and confirmations: the best score of each search, the scores of its retrained choice, and the test score.

The best of many noisy scores is biased upwards; the difference to the confirmed score is the winner's curse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from tuning.comparison import Comparison, StrategyRow, StudyRow
from tuning.outcome import ExperimentOutcome
from tuning.report.page.figure import DataTable, Figure, View, format_number, plotly_json, plotly_text


class SeedInfo(NamedTuple):
    """One study: a strategy with one seed of its search."""

    strategy: str
    seed: int
    searched: float  # the best validation score of the search
    confirmed: tuple[float, ...]  # validation scores of the confirmed configuration, one per training
    mean: float | None  # of `confirmed`
    gap: float | None  # best score of the search minus `mean`, positive if it was too optimistic
    test: float | None


def seed_figure(comparison: Comparison, colours: Mapping[str, str]) -> Figure:
    """Returns the figure with a row per strategy and seed."""
    infos = [info for row in comparison.rows for study in row.studies if (info := seed_info(row, study)) is not None]
    return Figure(
        id="seeds",
        title="Found, confirmed, tested",
        about="A row per strategy and seed: the best validation score of the search, those of the confirmed "
        "configuration trained again with other seeds, and the test score, which is evaluated once.",
        views=(View("all seeds", _summary(infos), _draw(infos, comparison.metric, colours)),) if infos else (),
        table=DataTable(
            ("strategy", "seed", "searched", "confirmed (mean)", "trainings", "gap", "test"),
            tuple((i.strategy, i.seed, i.searched, i.mean, len(i.confirmed), i.gap, i.test) for i in infos),
        ),
        missing=None if infos else "no trial has reported a score yet.",
    )


def seed_info(row: StrategyRow, study: StudyRow) -> SeedInfo | None:
    """Returns the scores of one study; None before the first report."""
    if study.chosen is None:
        return None
    again = study.confirmed
    return SeedInfo(
        row.strategy,
        study.seed,
        study.chosen.validation,
        again.validation if again else (),
        again.mean if again else None,
        again.gap if again else None,
        study.test,
    )


def confirmation_table(outcome: ExperimentOutcome) -> DataTable:
    """Returns a row per training of a confirmation."""
    metric = outcome.studies[0].metric
    return DataTable(
        ("strategy", "seed", "rank", "trial", "training seed", "searched", "validation", "test", "device-s", "error"),
        tuple(
            (
                study.strategy,
                study.seed,
                c.rank,
                study.name_of(c.trial),
                c.seed,
                c.searched,
                c.validation.get(metric) if c.validation else None,
                c.test.get(metric) if c.test else None,
                c.device_seconds,
                c.error,
            )
            for study in outcome.studies
            for c in study.confirmations
        ),
    )


def _draw(infos: Sequence[SeedInfo], metric: str, colours: Mapping[str, str]) -> dict[str, Any]:
    import plotly.graph_objects as go

    drawing = go.Figure()
    for label, symbol, scores in (
        ("search's best, on validation", "circle-open", [(info, info.searched) for info in infos]),
        ("trained again, on validation", "line-ns", [(info, score) for info in infos for score in info.confirmed]),
        ("test", "diamond", [(info, info.test) for info in infos if info.test is not None]),
    ):
        shades = [colours[info.strategy] for info, _ in scores]
        drawing.add_scatter(
            x=[score for _, score in scores],
            y=[f"{plotly_text(info.strategy)}, seed {info.seed}" for info, _ in scores],
            mode="markers",
            name=label,
            visible=True if scores else "legendonly",
            marker={"symbol": symbol, "size": 11, "color": shades, "line": {"width": 2, "color": shades}},
            hovertemplate=f"%{{y}}: {label} %{{x:.4f}}<extra></extra>",
        )
    drawing.update_xaxes(title=plotly_text(metric))
    drawing.update_yaxes(type="category", autorange="reversed", automargin=True)
    return plotly_json(drawing, height=150 + 26 * len(infos))


def _summary(infos: Sequence[SeedInfo]) -> str:
    again = [(info.searched, info.mean, info.gap) for info in infos if info.mean is not None and info.gap is not None]
    if not again:
        return (
            f"{len(infos)} searches. No configuration was trained again (see confirm: in the spec), so the bias of the "
            "search's scores is unknown."
        )
    searched, mean, gap = (fmean(column) for column in zip(*again, strict=True))
    return (
        f"{len(infos)} searches. On average the search's best was {format_number(searched)}, and the confirmed "
        f"configuration trained again {format_number(mean)}: the search looked too good by {format_number(gap)}."
    )
