"""Draws the timeline of the slots: which trial ran when, and how busy the allocation was.

A report spans the time since the previous one, which follows from its cost. The slot of a trial is not recorded, so
each trial is drawn in the first free row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tuning.budget import Limit
from tuning.outcome import ExperimentOutcome, StudyOutcome, TrialOutcome
from tuning.report.page.figure import (
    ALL,
    STATE_COLOURS,
    DataTable,
    Figure,
    View,
    format_number,
    plotly_json,
    plotly_text,
)

SLACK = 0.05  # seconds by which spans of two reports may overlap, since two processes have two clocks


class Span(NamedTuple):
    """A period in which a trial worked without a pause, in seconds since the first report shown."""

    row: int
    start: float
    end: float
    trial: str
    state: str
    strategy: str


class Timeline(NamedTuple):
    """The use of the slots of one study, or of several together."""

    spans: tuple[Span, ...]
    rows: int
    busy: float  # device-seconds of all reports
    held: float  # device-seconds of the allocation


def slot_figure(outcome: ExperimentOutcome, colours: Mapping[str, str]) -> Figure:
    """Returns the figure with a view per study, and one of all strategies if there are several."""
    found = {
        f"{study.strategy}, seed {study.seed}": (study, line)
        for study in outcome.studies
        if (line := timeline(study)).spans
    }
    views = [View(name, _summary(name, study, line), _draw(line)) for name, (study, line) in found.items()]
    if len({study.strategy for study, _ in found.values()}) > 1:
        together = timeline(*(study for study, _ in found.values()))
        end = max(span.end for span in together.spans)
        summary = f"{ALL}: {len(found)} studies in {format_number(round(end, 1))} seconds; a colour for each strategy."
        views.insert(0, View(ALL, summary, _draw(together, colours)))
    return Figure(
        id="slots",
        title="Timeline of the slots",
        about="Each bar is a trial at work; gaps are idle time: starting, saving, waiting for the next proposal. "
        "Rows are filled from the top; they are not device numbers.",
        views=tuple(views),
        table=DataTable(
            ("strategy", "seed", "row", "trial", "state", "start (s)", "end (s)"),
            tuple(
                (study.strategy, study.seed, s.row, s.trial, s.state, round(s.start, 3), round(s.end, 3))
                for study, line in found.values()
                for s in line.spans
            ),
        ),
        missing=None if found else "no trial has reported yet, or reports cost nothing.",
    )


def timeline(*studies: StudyOutcome) -> Timeline:
    """Computes the spans of one study, or of several, in order of start."""
    pieces = sorted(
        (
            (start, end, trial, study.strategy)
            for study in studies
            for trial in study.trials
            for start, end in _spans(trial, study.devices_per_trial)
            if end > start
        ),
        key=lambda piece: piece[:2],
    )
    begin = pieces[0][0] if pieces else 0.0
    free: list[float] = []  # when each row is free again
    spans = []
    for start, end, trial, strategy in pieces:
        row = next((i for i, time in enumerate(free) if time <= start + SLACK), len(free))
        free[row : row + 1] = [end]
        spans.append(Span(row, start - begin, end - begin, trial.name, trial.state.value, strategy))
    busy = sum(study.busy_device_seconds for study in studies)
    return Timeline(tuple(spans), len(free), busy, sum(study.device_seconds for study in studies))


def _spans(trial: TrialOutcome, devices: float) -> list[tuple[float, float]]:
    """Merges reports that follow each other without a pause."""
    merged: list[tuple[float, float]] = []
    for report in trial.reports:
        start = report.time - (report.device_seconds / devices if devices else 0.0)
        if merged and start <= merged[-1][1] + SLACK:
            merged[-1] = (merged[-1][0], report.time)
        else:
            merged.append((start, report.time))
    return merged


def _draw(line: Timeline, colours: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Draws a timeline, coloured by state, or with `colours` by strategy."""
    import plotly.graph_objects as go

    drawing = go.Figure()
    kinds = [span.state if colours is None else span.strategy for span in line.spans]
    for kind in dict.fromkeys(kinds):
        own = [span for span, its in zip(line.spans, kinds, strict=True) if its == kind]
        drawing.add_bar(
            orientation="h",
            y=[span.row + 1 for span in own],
            base=[span.start for span in own],
            x=[span.end - span.start for span in own],
            name=plotly_text(kind),
            marker={"color": (colours or STATE_COLOURS)[kind], "line": {"width": 1, "color": "#ffffff"}},
            customdata=[[plotly_text(span.trial), span.start, span.end] for span in own],
            hovertemplate="trial %{customdata[0]}: %{customdata[1]:.1f} to %{customdata[2]:.1f} s<extra></extra>",
        )
    drawing.update_layout(barmode="overlay", bargap=0.25, showlegend=True)
    drawing.update_xaxes(title="seconds", rangemode="tozero")
    drawing.update_yaxes(title="row", autorange="reversed", dtick=1 if line.rows <= 20 else None)
    return plotly_json(drawing, height=min(800, 150 + 28 * line.rows))


def utilisation(line: Timeline) -> float | None:
    """Returns the busy share of the allocation; None if that is unknown."""
    return min(1.0, line.busy / line.held) if line.held > 0 else None


def _summary(name: str, study: StudyOutcome, line: Timeline) -> str:
    share = utilisation(line)
    idle = max(0.0, line.held - line.busy)
    use = "" if share is None else f" {share:.0%} busy, {format_number(round(idle, 1))} device-seconds idle."
    return f"{name}: {len({span.trial for span in line.spans})} trials on {study.slots} slots.{use}"


def utilisation_table(studies: Sequence[StudyOutcome]) -> DataTable:
    """Returns the slots of each study, held, busy and idle device-seconds, and the unspent budget in its unit."""
    rows = []
    for study in studies:
        line, budget = timeline(study), study.budget
        share = utilisation(line)
        idle = max(0.0, line.held - line.busy)
        limits = (None, None) if budget is None else (Limit(budget.unit, budget.limit).describe(), budget.unspent)
        slots = (study.slots, None if study.mean_slots is None else round(study.mean_slots, 2))
        rows.append((study.strategy, study.seed, *slots, line.held, line.busy, idle, share, *limits))
    seconds = ("held (device-s)", "busy (device-s)", "idle (device-s)")
    columns = ("strategy", "seed", "slots", "slots, on average", *seconds, "busy share")
    if not any(study.budget for study in studies):
        return DataTable(columns, tuple(row[:-2] for row in rows))
    return DataTable((*columns, "budget", "unspent"), tuple(rows))
