"""Experiments on a simulated Ray, for the tests of the tier `tune`: run, cut where the power fails, and compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.specs import curve_experiment
from tuning import run_experiment
from tuning.outcome import ExperimentOutcome, StudyOutcome
from tuning.spec.models import ExperimentSpec
from tuning.testing.simulated_ray import PowerCut, SimulatedActor, SimulatedNode, SimulatedRay, simulated_ray

MINUTE = 60.0  # seconds that an epoch takes
TICK = 60.0  # a study of epochs that long need not record more often how long it has taken


def long_experiment(folder: Path, **changed: Any) -> ExperimentSpec:
    """Returns the experiment that tests run whole, with epochs of a minute, and without a score on the test split."""
    return curve_experiment(folder, **{"fixed": {"model.seconds_per_epoch": MINUTE}, "test": False, **changed})


def run(
    spec: ExperimentSpec, *nodes: SimulatedNode, resume: bool = False, fresh: bool = False, **simulated: Any
) -> tuple[ExperimentOutcome, SimulatedRay]:
    """Runs an experiment on a simulated Ray of these arguments; returns its outcome, and what has happened there."""
    with simulated_ray(*nodes, **{"tick": TICK, **simulated}) as ray:
        return run_experiment(spec, progress=False, resume=resume, fresh=fresh), ray


def run_study(
    spec: ExperimentSpec, *nodes: SimulatedNode, resume: bool = False, **simulated: Any
) -> tuple[StudyOutcome, SimulatedRay]:
    """Runs an experiment with one study as `run` does; returns the study's outcome, and what has happened."""
    outcome, ray = run(spec, *nodes, resume=resume, **simulated)
    (study,) = outcome.studies
    return study, ray


def run_until_killed(
    spec: ExperimentSpec, method: str, times: int, *nodes: SimulatedNode, resume: bool = False, **simulated: Any
) -> SimulatedRay:
    """Runs an experiment until `method` has been called so often; its driver is killed before it hears of the last."""
    left = times

    def count(actor: SimulatedActor, called: str, value: object) -> None:
        nonlocal left
        left -= called == method
        if not left:
            ray.end_driver(keeping=spec.run_folder)

    with simulated_ray(*nodes, **{"tick": TICK, **simulated}) as ray:
        ray.after(count)
        with pytest.raises(PowerCut):
            run_experiment(spec, progress=False, resume=resume)
    return ray


def tear_the_newest_snapshot(spec: ExperimentSpec) -> None:
    """Cuts the newest snapshot short, as if the power had failed while it was written."""
    newest = max(spec.run_folder.glob("studies/*/snapshots/snapshot-*"))
    newest.write_bytes(newest.read_bytes()[:-100])


def history(study: StudyOutcome) -> list[tuple[Any, ...]]:
    """Returns what each trial was and did, and how it ended: all but when, and under which drawn name."""
    numbers = {trial.id: trial.number for trial in study.trials}
    return [
        (
            trial.number,
            trial.state,
            trial.error,
            trial.params,
            [(report.epoch, report.metrics, report.params) for report in trial.reports],
            [(one.epoch, numbers[one.donor], one.new, one.reports, one.donor_reports) for one in trial.lineage],
        )
        for trial in study.trials
    ]


def times(study: StudyOutcome) -> tuple[Any, ...]:
    """Returns when everything in a study's history happened, and what it cost."""
    reports = [(report.time, report.device_seconds) for trial in study.trials for report in trial.reports]
    exploits = [one.time for trial in study.trials for one in trial.lineage]
    return reports, exploits, [loss.time for loss in study.node_losses], study.wall_seconds, study.device_seconds


def most_at_once(study: StudyOutcome, since: float = 0.0) -> int:
    """Returns how many trials trained at the same time, at most, from `since` on (seconds since 1970)."""
    ends = [report.time for trial in study.trials for report in trial.reports if report.time >= since]
    return max(sum(end - MINUTE < other <= end for end in ends) for other in ends)
