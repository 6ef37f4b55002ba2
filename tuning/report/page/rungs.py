"""ASHA's rungs: how many trials each one let go on, and what stopping the others has saved."""

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
    """A milestone at which a trial goes on only if it is among the best so far."""

    epoch: float
    reached: int  # trials that reported there
    stopped: int  # of these, at this rung
    device_seconds: float  # spent by those that were stopped here, up to their stop
    saved: float  # device-seconds: what the epochs that they did not train would have cost at their own pace


def rung_figure(outcome: ExperimentOutcome, spec: RecordedSpec) -> Figure:
    """One view per strategy with rungs; its seeds summed."""
    by_strategy: dict[str, list[StudyOutcome]] = {}
    for study in outcome.studies:
        if "grace_epochs" in spec.strategy(study.strategy):
            by_strategy.setdefault(study.strategy, []).append(study)
    found = {
        name: rungs([t for study in studies for t in study.trials], milestones(spec.strategy(name), spec.epochs), spec)
        for name, studies in by_strategy.items()
    }
    views = tuple(View(name, _summary(name, rows), _draw(rows)) for name, rows in found.items() if _reached(rows))
    return Figure(
        id="rungs",
        title="ASHA: rungs and what they saved",
        about="At each rung a trial goes on only if its score is among the best that the rung has seen. Saved: the "
        "epochs that stopped trials did not train, at the pace of their own epochs; an estimate.",
        views=views,
        table=DataTable(
            ("strategy", "rung (epoch)", "reached", "stopped here", "spent by these (device-s)", "saved (device-s)"),
            tuple((name, *rung) for name, rows in found.items() if _reached(rows) for rung in rows),
        ),
        missing=None if views else "no strategy stops trials at rungs, or none has reached its first rung yet.",
    )


def _reached(rows: Sequence[Rung]) -> bool:
    return bool(rows) and rows[0].reached > 0


def milestones(strategy: Mapping[str, Any], epochs: float) -> list[float]:
    """The epochs of the rungs below the full budget."""
    found, epoch = [], float(strategy["grace_epochs"])
    while epoch < epochs - ROUNDING:
        found.append(epoch)
        epoch *= float(strategy["reduction_factor"])
    return found


def rungs(trials: Sequence[TrialOutcome], epochs: Sequence[float], spec: RecordedSpec) -> list[Rung]:
    """The rungs at `epochs`; a trial can be stopped at the highest one that it reached only."""
    found = []
    for low, high in zip(epochs, [*epochs[1:], float("inf")], strict=True):
        reached = [trial for trial in trials if trial.epochs >= low - ROUNDING]
        stopped = [trial for trial in reached if trial.epochs < high - ROUNDING and _stopped_at(trial, low)]
        spent = sum(trial.device_seconds for trial in stopped)
        saved = sum(_saved(trial, spec.epochs) for trial in stopped)
        found.append(Rung(low, len(reached), len(stopped), spent, saved))
    return found


def _stopped_at(trial: TrialOutcome, rung: float) -> bool:
    """A rung decides at the first report that has reached it: who went on from there was stopped by a spent budget."""
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
        ("went on", ON, "", [rung.reached - rung.stopped for rung in rows]),
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
