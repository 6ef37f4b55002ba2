"""Draws the front of several objectives: every trial, the configurations to choose from, and their values on test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from trainables.spec import Goal, Objective
from tuning.comparison import Comparison
from tuning.comparison.front import choice
from tuning.outcome import ExperimentOutcome
from tuning.report.page.figure import (
    WINNER,
    DataTable,
    Figure,
    View,
    format_number,
    plotly_json,
    plotly_text,
    wants_log,
)

if TYPE_CHECKING:
    from tuning.comparison.types import FrontPoint


class FrontInfo(NamedTuple):
    """The points that are drawn of two objectives."""

    across: Objective
    up: Objective
    trials: Mapping[str, tuple[tuple[float, float, str], ...]]  # by strategy: both values of a last report, trial name
    front: tuple[tuple[float, float, str], ...]  # both values by validation, and what picks it
    tested: tuple[tuple[float, float, str], ...]  # the same models on test


def front_figure(outcome: ExperimentOutcome, comparison: Comparison, colours: Mapping[str, str]) -> Figure:
    """Returns the figure with a view for the first objective beside each other one."""
    goal = outcome.studies[0].goal
    infos = [] if goal is None or not comparison.front else front_infos(outcome, comparison.front, goal)
    return Figure(
        id="front",
        title="The front",
        about="Small: the last report of each trial. Large, joined: the configurations of which no other is better in "
        "one objective and as good in all, by validation. Diamonds: the same models on the test split, where they are "
        "evaluated once.",
        views=tuple(
            View(f"{info.up.metric} over {info.across.metric}", _summary(info, comparison), _draw(info, colours))
            for info in infos
        ),
        table=_table(comparison.front),
        missing=None if infos else "no report keeps the constraints yet.",
    )


def front_infos(outcome: ExperimentOutcome, front: Sequence[FrontPoint], goal: Goal) -> list[FrontInfo]:
    """Computes what is drawn: the first objective over each other one."""
    up = goal.objectives[0]
    return [_info(outcome, front, across, up) for across in goal.objectives[1:]]


def _info(outcome: ExperimentOutcome, front: Sequence[FrontPoint], across: Objective, up: Objective) -> FrontInfo:
    trials: dict[str, list[tuple[float, float, str]]] = {}
    for study in outcome.studies:
        for trial in study.trials:
            if trial.reports:
                last = trial.reports[-1].metrics
                name = f"seed {study.seed}, {trial.name}"
                trials.setdefault(study.strategy, []).append((last[across.metric], last[up.metric], name))
    return FrontInfo(
        across,
        up,
        {name: tuple(found) for name, found in trials.items()},
        tuple((one.validation[across.metric], one.validation[up.metric], one.pick) for one in front),
        tuple((one.test[across.metric], one.test[up.metric], one.pick) for one in front if one.test is not None),
    )


def _draw(info: FrontInfo, colours: Mapping[str, str]) -> dict[str, Any]:
    import plotly.graph_objects as go

    drawing = go.Figure()
    for name, points in info.trials.items():
        _scatter(drawing, plotly_text(name), points, mode="markers", marker={"color": colours[name], "size": 6})
    _scatter(
        drawing,
        "front, validation",
        info.front,
        mode="lines+markers",
        line={"color": WINNER, "width": 1.5},
        marker={"color": WINNER, "size": 11},
    )
    if info.tested:
        diamonds = {"color": WINNER, "size": 11, "symbol": "diamond-open"}
        _scatter(drawing, "front, test", info.tested, mode="markers", marker=diamonds)
    across = [value for points in info.trials.values() for value, _, _ in points]
    drawing.update_xaxes(title=_label(info.across), type="log" if wants_log(across) else "linear")
    drawing.update_yaxes(title=_label(info.up))
    return plotly_json(drawing, height=420)


def _scatter(drawing: Any, name: str, points: Sequence[tuple[float, float, str]], **style: Any) -> None:
    across, up, labels = zip(*points, strict=True)
    drawing.add_scatter(x=across, y=up, text=[plotly_text(label) for label in labels], name=name, **style)


def _label(objective: Objective) -> str:
    return f"{objective.metric} ({'higher' if objective.mode == 'max' else 'lower'} is better)"


def _summary(info: FrontInfo, comparison: Comparison) -> str:
    ends = (info.front[0], info.front[-1])
    listed = " to ".join(
        f"{info.up.metric} {format_number(up)} at {info.across.metric} {format_number(across)}"
        for across, up, _ in ends
    )
    count = f"{len(info.front)} configurations" if len(info.front) > 1 else "One configuration"
    return f"{count} on the front: {listed}. {choice(comparison.experiment, comparison.front[0])} trains the first."


def _table(front: Sequence[FrontPoint]) -> DataTable:
    if not front:
        return DataTable((), ())
    metrics = tuple(front[0].validation)
    columns = ("pick", "strategy", "seed", "epoch", *metrics, *(f"test {name}" for name in metrics))
    return DataTable(
        columns,
        tuple(
            (
                *(one.pick, one.strategy, one.seed, one.epoch),
                *one.validation.values(),
                *(None if one.test is None else one.test[name] for name in metrics),
            )
            for one in front
        ),
    )
