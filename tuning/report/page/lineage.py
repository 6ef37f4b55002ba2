"""Draws the lineage of a PBT population: clones between members, and the path of the best weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from trainables.reporting import Report
from tuning.outcome import ExperimentOutcome, StudyOutcome, TrialState
from tuning.report.page.figure import PALETTE, SCALE, WINNER, DataTable, Figure, View, plotly_json

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as Drawing

MEMBER = "#7a828c"
CLONE = PALETTE[0]
NO_CLONES = "no strategy of this experiment has cloned a trial."


class Point(NamedTuple):
    """One report of a member of the population. A member has the number of its trial."""

    member: int
    epoch: float
    score: float
    failed: bool = False  # the trial failed: its scores do not affect the colour scale


class Clone(NamedTuple):
    """A member copied a donor's weights."""

    member: int
    donor: int
    left: float  # epoch that the member had reached
    taken: float  # epoch of the donor's checkpoint


class LineageInfo(NamedTuple):
    """The lineage of one population."""

    members: int
    points: tuple[Point, ...]
    clones: tuple[Clone, ...]
    winner: tuple[tuple[int, float], ...]  # (member, epoch) along the history of the best weights


def populations(outcome: ExperimentOutcome) -> dict[str, StudyOutcome]:
    """Returns the studies with clones, by view name."""
    return {f"{s.strategy}, seed {s.seed}": s for s in outcome.studies if any(trial.lineage for trial in s.trials)}


def lineage_figure(outcome: ExperimentOutcome) -> Figure:
    """Returns the figure with a view per population."""
    found = {name: (study, lineage_info(study)) for name, study in populations(outcome).items()}
    return Figure(
        id="lineage",
        title="Lineage",
        about="Each row is a member of the population. An arrow leads from the donor, at the epoch of its checkpoint, "
        "to the member that continued from there with perturbed values. The thick line is the lineage of the best "
        "weights.",
        views=tuple(View(name, _summary(name, info), _draw(info)) for name, (_, info) in found.items()),
        table=DataTable(
            ("strategy", "seed", "member", "left at epoch", "donor", "donor's epoch"),
            tuple(
                (study.strategy, study.seed, clone.member, clone.left, clone.donor, clone.taken)
                for study, info in found.values()
                for clone in info.clones
            ),
        ),
        missing=None if found else NO_CLONES,
    )


def lineage_info(study: StudyOutcome) -> LineageInfo:
    """Computes the lineage of one population."""
    numbers = {trial.id: trial.number for trial in study.trials}
    best = study.best()
    return LineageInfo(
        members=len(study.trials),
        points=tuple(
            Point(t.number, r.epoch, r.metrics[study.metric], t.state is TrialState.FAILED)
            for t in study.trials
            for r in t.reports
        ),
        clones=tuple(
            Clone(trial.number, numbers[x.donor], trial.reports[x.reports - 1].epoch if x.reports else 0.0, x.epoch)
            for trial in study.trials
            for x in trial.lineage
        ),
        winner=tuple(_path(study, study.history(*best) if best else ())),
    )


def _path(study: StudyOutcome, history: Sequence[Report]) -> Iterator[tuple[int, float]]:
    """Returns member and epoch of each report, by identity, since two members may have equal reports."""
    owners = {id(report): trial.number for trial in study.trials for report in trial.reports}
    return ((owners[id(report)], report.epoch) for report in history)


def _draw(info: LineageInfo) -> dict[str, Any]:
    import plotly.graph_objects as go

    drawing = go.Figure()
    winner = info.winner
    drawing.add_scatter(
        x=[0, *(epoch for _, epoch in winner)] if winner else [],
        y=[winner[0][0], *(member for member, _ in winner)] if winner else [],
        mode="lines",
        name="lineage of the best weights",
        line={"color": WINNER, "width": 7},
        opacity=0.55,
        hoverinfo="skip",
    )
    _add_arrows(drawing, info.clones)
    shown = [point.score for point in info.points if not point.failed] or [point.score for point in info.points]
    drawing.add_scatter(
        x=[point.epoch for point in info.points],
        y=[point.member for point in info.points],
        mode="markers",
        name="report",
        marker={
            "size": 11,
            "color": [point.score for point in info.points],
            "symbol": ["x" if point.failed else "circle" for point in info.points],
            "cmin": min(shown, default=0.0),
            "cmax": max(shown, default=1.0),
            "colorscale": SCALE,
            "line": {"width": 1, "color": MEMBER},
            "colorbar": {"title": {"text": "score"}, "thickness": 12},
        },
        hovertemplate="member %{y}, epoch %{x:g}: %{marker.color:.4f}<extra></extra>",
    )
    drawing.update_xaxes(title="epoch", rangemode="tozero")
    drawing.update_yaxes(title="member", dtick=1 if info.members <= 20 else None, autorange="reversed")
    return plotly_json(drawing, height=max(260, 130 + 30 * info.members))


def _add_arrows(drawing: Drawing, clones: Sequence[Clone]) -> None:
    """Adds the arrows from donors to members as one trace."""
    x = [value for clone in clones for value in (clone.taken, clone.left, None)]
    y = [value for clone in clones for value in (clone.donor, clone.member, None)]
    symbols = [symbol for _ in clones for symbol in ("circle", "arrow", "circle")]
    drawing.add_scatter(
        x=x,
        y=y,
        mode="lines+markers",
        name="clone",
        line={"color": CLONE, "width": 1.4},
        marker={
            "symbol": symbols,
            "size": [size for _ in clones for size in (1, 11, 1)],
            "angleref": "previous",
            "color": CLONE,
            "standoff": [space for _ in clones for space in (0, 7, 0)],
        },
        hoverinfo="skip",
    )


def _summary(name: str, info: LineageInfo) -> str:
    way = " to ".join(dict.fromkeys(f"member {member}" for member, _ in info.winner))
    end = (
        f"; the best weights went from {way}" if " to " in way else f"; the best weights are {way}'s own" if way else ""
    )
    return f"{name}: {info.members} members, {len(info.clones)} clones{end}."
