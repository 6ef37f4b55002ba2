"""Draws the hyperparameters of a PBT population over epochs, and the schedule of the best weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from trainables.spec import Value
from tuning.outcome import ExperimentOutcome, StudyOutcome, TrialOutcome
from tuning.report.page.figure import WINNER, DataTable, Figure, View, format_value, plotly_json, table_cell, wants_log
from tuning.report.page.lineage import MEMBER, NO_CLONES, populations


class ScheduleInfo(NamedTuple):
    """The hyperparameters that changed in some member."""

    values: Mapping[
        str, tuple[tuple[int, float, Value], ...]
    ]  # name -> (member, epoch, value), in force up to that epoch
    schedule: Mapping[str, tuple[tuple[float, Value], ...]]  # of the winner: name -> (epoch, value)


def schedule_figure(outcome: ExperimentOutcome) -> Figure:
    """Returns the figure with a view per population."""
    found = {name: (study, schedule_info(study)) for name, study in populations(outcome).items()}
    return Figure(
        id="schedules",
        title="Values over time",
        about="The hyperparameters that a population changed, in force up to each epoch. The thick line is the "
        "winner's schedule: the values with which the best weights were trained.",
        views=tuple(View(name, _summary(name, info), _draw(info)) for name, (_, info) in found.items()),
        table=DataTable(
            ("strategy", "seed", "hyperparameter", "member", "epoch", "value"),
            tuple(
                (study.strategy, study.seed, name, member, epoch, table_cell(value))
                for study, info in found.values()
                for name, points in info.values.items()
                for member, epoch, value in points
            ),
        ),
        missing=None if found else NO_CLONES,
    )


def schedule_info(study: StudyOutcome) -> ScheduleInfo:
    """Computes the schedules of one population. A member has the number of its trial."""
    best = study.best()
    history = study.history(*best) if best else ()
    moving = _moving(study)
    return ScheduleInfo(
        {
            name: tuple(
                (t.number, r.epoch, r.params[name]) for t in study.trials for r in t.reports if name in r.params
            )
            for name in moving
        },
        {name: tuple((r.epoch, r.params[name]) for r in history if name in r.params) for name in moving},
    )


def _moving(study: StudyOutcome) -> list[str]:
    """Returns the searched hyperparameters that changed in some member, or became inactive in a conditional space."""

    def moves(name: str, trial: TrialOutcome) -> bool:
        return len({repr(report.params.get(name, ...)) for report in trial.reports}) > 1

    proposed = [params for t in study.trials for params in (t.params, *(exploit.new for exploit in t.lineage))]
    searched = dict.fromkeys(name for params in proposed for name in params)
    reported = {name for trial in study.trials for report in trial.reports for name in report.params}
    return [name for name in searched if name in reported and any(moves(name, trial) for trial in study.trials)]


def _draw(info: ScheduleInfo) -> dict[str, Any]:
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    names = list(info.values)
    if not names:
        return plotly_json(go.Figure(), height=120)
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
    return plotly_json(drawing, height=110 + 150 * len(names))


def _with_gaps(points: Sequence[tuple[int, float, Value]]) -> list[tuple[float | None, Value]]:
    """Inserts a gap between the points of different members."""
    spaced: list[tuple[float | None, Value]] = []
    for index, (member, epoch, value) in enumerate(points):
        if index and points[index - 1][0] != member:
            spaced.append((None, None))
        spaced.append((epoch, value))
    return spaced


def _axis(points: Sequence[tuple[int, float, Value]]) -> str:
    """Returns Plotly's type of an axis for these values."""
    values = [value for _, _, value in points if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(values) < len(points):
        return "category"
    return "log" if wants_log(values) else "linear"


def _summary(name: str, info: ScheduleInfo) -> str:
    def values_in_order(points: Sequence[tuple[float, Value]]) -> str:
        values = [format_value(value) for _, value in points]
        return " then ".join(value for i, value in enumerate(values) if i == 0 or value != values[i - 1])

    schedules = "; ".join(f"{param} {values_in_order(points)}" for param, points in info.schedule.items() if points)
    return f"{name}, the winner's schedule: {schedules}." if schedules else f"{name}: no value has changed yet."
