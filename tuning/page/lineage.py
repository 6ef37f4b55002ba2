"""PBT: who cloned whom, the values over time, and what the winner's weights went through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from trainables.reporting import Report
from trainables.spec import Value
from tuning.outcome import ExperimentOutcome, StudyOutcome
from tuning.page.figure import PALETTE, Figure, Table, View, number, plot_of
from tuning.page.hyperparameters import cell
from tuning.page.learning import unbroken

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as Drawing

WINNER = "#c4601d"
MEMBER = "#7a828c"
CLONE = PALETTE[0]
NONE = "no strategy of this experiment clones trials."


class Piece(NamedTuple):
    """Reports of one member between two exploits; the first point is where its weights come from."""

    member: int  # its row in the drawing: the trial's number
    epochs: tuple[float, ...]
    scores: tuple[float, ...]


class Clone(NamedTuple):
    """A member went on from a donor's weights."""

    member: int
    donor: int
    left: float  # the epoch that the member had reached
    taken: float  # the epoch of the donor's checkpoint


class LineageInfo(NamedTuple):
    """What one population went through."""

    members: int
    pieces: tuple[Piece, ...]
    clones: tuple[Clone, ...]
    winner: tuple[tuple[int, float], ...]  # (member, epoch) along the history of the best weights
    values: Mapping[str, tuple[tuple[int, float, Value], ...]]  # moved hyperparameter -> (member, epoch, value)
    schedule: Mapping[str, tuple[tuple[float, Value], ...]]  # of the winner: hyperparameter -> (epoch, value)


def lineage_figures(outcome: ExperimentOutcome) -> list[Figure]:
    """The family tree and the values over time; one view per population."""
    found = {
        f"{study.strategy}, seed {study.seed}": (study, lineage_info(study))
        for study in outcome.studies
        if any(trial.lineage for trial in study.trials)
    }
    return [
        Figure(
            id="lineage",
            title="Who cloned whom",
            about="Each row is a member of the population. An arrow leads from the donor, at the epoch of its "
            "checkpoint, to the member that went on from there with perturbed values. The thick line is the way of the "
            "best weights.",
            views=tuple(View(name, _summary(name, i), _draw_tree(i)) for name, (_, i) in found.items()),
            table=Table(
                ("strategy", "seed", "member", "left at epoch", "donor", "donor's epoch"),
                tuple(
                    (study.strategy, study.seed, clone.member, clone.left, clone.donor, clone.taken)
                    for study, info in found.values()
                    for clone in info.clones
                ),
            ),
            missing=None if found else NONE,
        ),
        Figure(
            id="schedules",
            title="Values over time",
            about="The hyperparameters that PBT moved, in force up to each epoch. The thick line is the winner's "
            "schedule: what the best weights were trained with.",
            views=tuple(View(name, _told_schedule(name, i), _draw_values(i)) for name, (_, i) in found.items()),
            table=Table(
                ("strategy", "seed", "hyperparameter", "member", "epoch", "value"),
                tuple(
                    (study.strategy, study.seed, name, member, epoch, cell(value))
                    for study, info in found.values()
                    for name, points in info.values.items()
                    for member, epoch, value in points
                ),
            ),
            missing=None if found else NONE,
        ),
    ]


def lineage_info(study: StudyOutcome) -> LineageInfo:
    """Of one population. A trial's number is its member."""
    numbers = {trial.id: trial.number for trial in study.trials}
    moving = _moving(study)
    best = study.best()
    history = study.history(*best) if best else ()
    return LineageInfo(
        members=len(study.trials),
        pieces=tuple(
            Piece(trial.number, tuple(r.epoch for r in own), tuple(r.metrics[study.metric] for r in own))
            for trial in study.trials
            for own in unbroken(trial)
        ),
        clones=tuple(
            Clone(trial.number, numbers[x.donor], trial.reports[x.reports - 1].epoch if x.reports else 0.0, x.epoch)
            for trial in study.trials
            for x in trial.lineage
        ),
        winner=tuple(_path(study, history)),
        values={
            name: tuple((t.number, r.epoch, r.params[name]) for t in study.trials for r in t.reports) for name in moving
        },
        schedule={name: tuple((report.epoch, report.params[name]) for report in history) for name in moving},
    )


def _moving(study: StudyOutcome) -> list[str]:
    """Searched hyperparameters of which some member had two values."""
    searched = study.trials[0].params
    return [
        name
        for name in searched
        if all(name in report.params for trial in study.trials for report in trial.reports)
        and any(len({repr(report.params[name]) for report in trial.reports}) > 1 for trial in study.trials)
    ]


def _path(study: StudyOutcome, history: Sequence[Report]) -> Iterator[tuple[int, float]]:
    """Whose the reports of `history` are: by identity, since two members may have reported the same."""
    owners = {id(report): trial.number for trial in study.trials for report in trial.reports}
    return ((owners[id(report)], report.epoch) for report in history)


def _draw_tree(info: LineageInfo) -> dict[str, Any]:
    import plotly.graph_objects as go

    drawing = go.Figure()
    winner = info.winner
    drawing.add_scatter(
        x=[0, *(epoch for _, epoch in winner)] if winner else [],
        y=[winner[0][0], *(member for member, _ in winner)] if winner else [],
        mode="lines",
        name="way of the best weights",
        line={"color": WINNER, "width": 7},
        opacity=0.55,
        hoverinfo="skip",
    )
    _add_arrows(drawing, info.clones)
    points = [(e, p.member, s) for p in info.pieces for e, s in zip(p.epochs, p.scores, strict=True)]
    drawing.add_scatter(
        x=[epoch for epoch, _, _ in points],
        y=[member for _, member, _ in points],
        mode="markers",
        name="report",
        marker={
            "size": 11,
            "color": [score for _, _, score in points],
            "colorscale": "Cividis",
            "line": {"width": 1, "color": MEMBER},
            "colorbar": {"title": {"text": "score"}, "thickness": 12},
        },
        hovertemplate="member %{y}, epoch %{x:g}: %{marker.color:.4f}<extra></extra>",
    )
    drawing.update_xaxes(title="epoch", rangemode="tozero")
    drawing.update_yaxes(title="member", dtick=1 if info.members <= 20 else None, autorange="reversed")
    return plot_of(drawing, height=max(260, 130 + 30 * info.members))


def _add_arrows(drawing: Drawing, clones: Sequence[Clone]) -> None:
    """One trace; each arrow's head points away from its donor."""
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


def _draw_values(info: LineageInfo) -> dict[str, Any]:
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    names = list(info.values)
    if not names:
        return plot_of(go.Figure(), height=120)
    drawing = make_subplots(rows=len(names), cols=1, shared_xaxes=True, vertical_spacing=0.16 / len(names))
    for row, name in enumerate(names, start=1):
        points = _with_gaps(info.values[name])
        drawing.add_scatter(
            x=[epoch for epoch, _ in points],
            y=[value for _, value in points],
            mode="lines+markers",
            name="member",
            showlegend=row == 1,
            line={"color": MEMBER, "width": 1.2, "shape": "vh"},
            marker={"size": 4},
            row=row,
            col=1,
        )
        drawing.add_scatter(
            x=[0, *(epoch for epoch, _ in info.schedule[name])],
            y=[info.schedule[name][0][1] if info.schedule[name] else None, *(v for _, v in info.schedule[name])],
            mode="lines",
            name="winner's schedule",
            showlegend=row == 1,
            line={"color": WINNER, "width": 4, "shape": "vh"},
            row=row,
            col=1,
        )
        drawing.update_yaxes(title={"text": name, "font": {"size": 11}}, type=_axis(info.values[name]), row=row, col=1)
    drawing.update_xaxes(title="epoch", row=len(names), col=1)
    return plot_of(drawing, height=110 + 150 * len(names))


def _with_gaps(points: Sequence[tuple[int, float, Value]]) -> list[tuple[float | None, Value]]:
    """A line per member: a gap between one's last and the next one's first."""
    spaced: list[tuple[float | None, Value]] = []
    for index, (member, epoch, value) in enumerate(points):
        if index and points[index - 1][0] != member:
            spaced.append((None, None))
        spaced.append((epoch, value))
    return spaced


def _axis(points: Sequence[tuple[int, float, Value]]) -> str:
    """Logarithmic where the values span more than a factor of 20."""
    values = [value for _, _, value in points if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(values) < len(points):
        return "category"
    return "log" if min(values) > 0 and max(values) > 20 * min(values) else "linear"


def _summary(name: str, info: LineageInfo) -> str:
    way = " to ".join(dict.fromkeys(f"member {member}" for member, _ in info.winner))
    end = (
        f"; the best weights went from {way}" if " to " in way else f"; the best weights are {way}'s own" if way else ""
    )
    return f"{name}: {info.members} members, {len(info.clones)} clones{end}."


def _told_schedule(name: str, info: LineageInfo) -> str:
    def told(points: Sequence[tuple[float, Value]]) -> str:
        values = [shown(value) for _, value in points]
        return " then ".join(value for i, value in enumerate(values) if i == 0 or value != values[i - 1])

    schedules = "; ".join(f"{param} {told(points)}" for param, points in info.schedule.items())
    return f"{name}, the winner's schedule: {schedules}." if schedules else f"{name}: no value has moved yet."


def shown(value: Value) -> str:
    """A hyperparameter's value in a sentence."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return number(value) if is_number else str(value)  # type: ignore[arg-type]
