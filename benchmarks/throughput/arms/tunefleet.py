"""Runs the command `tunefleet run`, a grid over the list; variant `timed` also records where each trial's time goes.

The measured variant is `run`. `timed` names a trainable of ours in the spec, which is tunefleet's own with a stamp
before and after each of its verbs.
"""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.throughput.arms import TrialRecord, add, workload_in

NAME, SPEC = "list", "experiment.yaml"
TIMED = "benchmarks.throughput.arms.timed:TimedFineTuning"


def write_spec(folder: Path, *, timed: bool) -> None:
    """Writes the spec of the experiment."""
    experiment = workload_in(folder).experiment(NAME, folder / "runs")
    if timed:
        experiment["trainable"] = TIMED
    (folder / SPEC).write_text(json.dumps(experiment, indent=1))  # JSON is YAML


def collect(folder: Path) -> None:
    """Collects the trials from the study store after the command."""
    from tuning.outcome import TrialState
    from tuning.spec.loading import load_spec
    from tuning.store.study_store import StudyStore

    study = StudyStore(load_spec(folder / SPEC).store_url).load(NAME).study("grid", 0)
    for trial in study.trials:
        if trial.state is TrialState.COMPLETED:
            last = trial.reports[-1]
            add(
                folder,
                TrialRecord(
                    learning_rate=float(str(trial.params["learning_rate"])),
                    accuracy=last.metrics["accuracy"],
                    loss=last.metrics["loss"],
                    wall_seconds=trial.device_seconds,
                ),
            )
