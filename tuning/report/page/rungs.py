"""Draws ASHA's rungs: how many trials continued at each, and how much cost stopping the others saved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from trainables.epochs import ROUNDING
from tuning.outcome import ExperimentOutcome, StudyOutcome, TrialOutcome, TrialState
from tuning.report.page.figure import DataTable, Figure, View, format_number, plotly_json
from tuning.report.page.recorded_spec import RecordedSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

ON, STOPPED = "#0b7dda", "#857a14"


class Rung(NamedTuple):
    """A milestone at which only the best trials so far continue."""

    epoch: float
    reached: int  # number of trials that reached it
    stopped: int  # number of these that were stopped here
    device_seconds: float  # cost of the trials that were stopped here
    saved: float  # device-seconds that their remaining epochs would have cost, at the pace of their own epochs


def rung_figure(outcome: ExperimentOutcome, spec: RecordedSpec) -> Figure:
    """Returns the figure with a view per strategy that has rungs, summed over its seeds."""
    by_strategy: dict[str, list[StudyOutcome]] = {}
    for study in outcome.studies:
        if has_rungs(spec.strategy(study.strategy)):
            by_strategy.setdefault(study.strategy, []).append(study)
    found = {
        name: rungs([t for study in studies for t in study.trials], milestones(spec.strategy(name), spec.epochs), spec)
        for name, studies in by_strategy.items()
    }
    views = tuple(View(name, _summary(name, rows), _draw(rows)) for name, rows in found.items() if _reached(rows))
    return Figure(
        id="rungs",
        title="ASHA: rungs and what they saved",
        about="At each rung a trial continues only if its score is among the best so far. Saved: an estimate of the "
        "cost of the epochs that stopped trials did not train, at the pace of their own epochs.",
        views=views,
        table=DataTable(
            ("strategy", "rung (epoch)", "reached", "stopped here", "spent by these (device-s)", "saved (device-s)"),
            tuple((name, *rung) for name, rows in found.items() if _reached(rows) for rung in rows),
        ),
        missing=None if views else "no strategy stops trials at rungs, or none has reached its first rung yet.",
    )


def _reached(rows: Sequence[Rung]) -> bool:
    return bool(rows) and rows[0].reached > 0


def has_rungs(strategy: Mapping[str, Any]) -> bool:
    """Returns True if a recorded strategy stops trials at rungs; a median, for one, may stop them at any report."""
    rule = strategy.get("pruner", strategy.get("stopping", "asha"))
    return "grace_epochs" in strategy and rule in ("asha", "hyperband")


def milestones(strategy: Mapping[str, Any], epochs: float) -> list[float]:
    """Returns the epochs of the rungs below the full number of epochs."""
    found, epoch = [], float(strategy["grace_epochs"])
    while epoch < epochs - ROUNDING:
        found.append(epoch)
        epoch *= float(strategy["reduction_factor"])
    return found


def rungs(trials: Sequence[TrialOutcome], epochs: Sequence[float], spec: RecordedSpec) -> list[Rung]:
    """Computes the rungs at `epochs`. A trial can be stopped only at the highest rung that it reached."""
    found = []
    for low, high in zip(epochs, [*epochs[1:], float("inf")], strict=True):
        reached = [trial for trial in trials if trial.epochs >= low - ROUNDING]
        stopped = [trial for trial in reached if trial.epochs < high - ROUNDING and _stopped_at(trial, low)]
        spent = sum(trial.device_seconds for trial in stopped)
        saved = sum(_saved(trial, spec.epochs) for trial in stopped)
        found.append(Rung(low, len(reached), len(stopped), spent, saved))
    return found


def _stopped_at(trial: TrialOutcome, rung: float) -> bool:
    """Returns True if the rung stopped a trial: at its first report there. A later stop comes from a spent budget."""
    earlier = trial.reports[-2].epoch if len(trial.reports) > 1 else 0.0
    return trial.state is TrialState.STOPPED and earlier < rung - ROUNDING


def _saved(trial: TrialOutcome, epochs: float) -> float:
    full = trial.params.get("num_train_epochs", epochs)
    left = max(0.0, (float(full) if isinstance(full, int | float) else epochs) - trial.epochs)
    return left * trial.device_seconds / trial.epochs


def _draw(rows: Sequence[Rung]) -> dict[str, Any]:
    import plotly.graph_objects as go

    drawing = go.Figure()
    labels = [f"epoch {rung.epoch:g}" for rung in rows]
    for name, colour, pattern, values in (
        ("continued", ON, "", [rung.reached - rung.stopped for rung in rows]),
        ("stopped here", STOPPED, "/", [rung.stopped for rung in rows]),
    ):
        stripes = {"shape": pattern, "fillmode": "overlay", "fgcolor": "#ffffff", "fgopacity": 0.35, "solidity": 0.15}
        drawing.add_bar(
            x=labels,
            y=values,
            name=name,
            text=values,
            textfont={"color": "#ffffff", "size": 14},
            marker={"color": colour, "pattern": stripes},
        )
    drawing.update_layout(barmode="stack")
    drawing.update_yaxes(title="trials", rangemode="tozero")
    return plotly_json(drawing, height=340)


def _summary(name: str, rows: Sequence[Rung]) -> str:
    ladder = ", ".join(f"{r.stopped} of {r.reached} stopped at epoch {r.epoch:g}" for r in rows)
    saved = sum(rung.saved for rung in rows)
    return f"{name}: {ladder}. About {format_number(round(saved, 1))} device-seconds saved."
