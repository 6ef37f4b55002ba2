"""Seeds and confirmation: what each seed's search found, what its choice scored when it was trained again, and on test.

The search keeps the best of many noisy scores, so that score is too high; the gap to the confirmed one is what the
literature calls the winner's curse.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any, NamedTuple

from tuning.outcome import Confirmation, ExperimentOutcome, StudyOutcome
from tuning.page.figure import Figure, Table, View, colours, number, plain, plot_of


class SeedScores(NamedTuple):
    """One study: a strategy with one seed of its search."""

    strategy: str
    seed: int
    searched: float  # the best validation score of the search
    confirmed: tuple[float, ...]  # validation scores of the same configuration, trained again with other seeds
    test: float | None


def seed_figure(outcome: ExperimentOutcome) -> Figure:
    """One drawing: a row per strategy and seed."""
    rows = [scores for study in outcome.studies if (scores := seed_scores(study)) is not None]
    metric = outcome.studies[0].metric
    return Figure(
        id="seeds",
        title="Seeds and confirmation",
        about="Per strategy and seed of the search: the search's best validation score, the scores of that "
        "configuration trained again with other seeds, and the one look at the test split.",
        views=(View("all seeds", _summary(rows), _draw(rows, metric, outcome)),) if rows else (),
        table=Table(
            ("strategy", "seed", "searched", "confirmed (mean)", "trainings", "gap", "test"),
            tuple(
                (r.strategy, r.seed, r.searched, mean(r.confirmed), len(r.confirmed), gap(r, outcome), r.test)
                for r in rows
            ),
        ),
        missing=None if rows else "no trial has reported a score yet.",
    )


def seed_scores(study: StudyOutcome) -> SeedScores | None:
    """Of the study's best configuration; None before the first report."""
    best = study.best()
    if best is None:
        return None
    first = [c for c in study.confirmations if c.rank == 1]
    test = None if study.test is None else study.test.metrics.get(study.metric)
    return SeedScores(study.strategy, study.seed, best[1].metrics[study.metric], _validation(first, study.metric), test)


def _validation(confirmations: Sequence[Confirmation], metric: str) -> tuple[float, ...]:
    return tuple(c.validation[metric] for c in confirmations if c.validation is not None and metric in c.validation)


def mean(values: Sequence[float]) -> float | None:
    """None of nothing."""
    return fmean(values) if values else None


def gap(row: SeedScores, outcome: ExperimentOutcome) -> float | None:
    """By how much the search's score was too good; None without a confirmation."""
    confirmed = mean(row.confirmed)
    if confirmed is None:
        return None
    return row.searched - confirmed if outcome.studies[0].mode == "max" else confirmed - row.searched


def confirmation_table(outcome: ExperimentOutcome) -> Table:
    """Every training of a confirmation."""
    metric = outcome.studies[0].metric
    return Table(
        ("strategy", "seed", "rank", "trial", "training seed", "searched", "validation", "test", "device-s", "error"),
        tuple(
            (
                study.strategy,
                study.seed,
                c.rank,
                c.trial,
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


def _draw(rows: Sequence[SeedScores], metric: str, outcome: ExperimentOutcome) -> dict[str, Any]:
    import plotly.graph_objects as go

    names = [f"{plain(row.strategy)}, {row.seed}" for row in rows]
    colour = [colours(outcome)[row.strategy] for row in rows]
    again = [(score, name, c) for row, name, c in zip(rows, names, colour, strict=True) for score in row.confirmed]
    tested = [(row.test, name, c) for row, name, c in zip(rows, names, colour, strict=True) if row.test is not None]
    drawing = go.Figure()
    for label, symbol, points in (
        (
            "search's best (validation)",
            "circle-open",
            [(r.searched, n, c) for r, n, c in zip(rows, names, colour, strict=True)],
        ),
        ("trained again (validation)", "line-ns-open", again),
        ("test", "diamond", tested),
    ):
        if points:
            x, y, shades = zip(*points, strict=True)
            drawing.add_scatter(
                x=x,
                y=y,
                mode="markers",
                name=label,
                marker={"symbol": symbol, "size": 11, "color": shades, "line": {"width": 2, "color": shades}},
                hovertemplate=f"%{{y}}: {label} %{{x:.4f}}<extra></extra>",
            )
    drawing.update_xaxes(title=plain(metric))
    drawing.update_yaxes(type="category", autorange="reversed", automargin=True)
    return plot_of(drawing, height=140 + 26 * len(rows))


def _summary(rows: Sequence[SeedScores]) -> str:
    pairs = [(row.searched, confirmed) for row in rows if (confirmed := mean(row.confirmed)) is not None]
    if not pairs:
        return (
            f"{len(rows)} searches. No configuration was trained again (confirm: in the spec), so nobody knows by how "
            "much the search's scores are too good."
        )
    searched, confirmed = (fmean(column) for column in zip(*pairs, strict=True))
    return (
        f"{len(rows)} searches. The search's best scores are {number(searched)} on average, the same configurations "
        f"trained again {number(confirmed)}: a gap of {number(searched - confirmed)}."
    )
