"""Formats every trial of an experiment as text or JSON, for `tunefleet results`."""

from __future__ import annotations

import json
from typing import IO

from tuning.comparison.text import console_for, empty_table, format_params
from tuning.outcome import ExperimentOutcome, Exploit, StudyOutcome, TrialState
from tuning.report.status import study_status


def results_json(outcome: ExperimentOutcome) -> str:
    """Formats an outcome as JSON, with the schema of `ExperimentOutcome.to_json`."""
    return json.dumps(outcome.to_json(), indent=2, allow_nan=False)


def print_results(outcome: ExperimentOutcome, file: IO[str] | None = None, *, driver: bool | None = None) -> None:
    """Prints every trial of every study: state, epochs, best score, first hyperparameters, exploits, error.

    Args:
        outcome: of the experiment.
        file: to print to; default: stdout.
        driver: True if a driver runs the experiment now; None: unknown.
    """
    console = console_for(file)
    for study in outcome.studies:
        console.print(
            f"{study.strategy}, seed {study.seed}: {study_status(study, driver)}; "
            f"{study.device_seconds:,.0f} device-seconds ({study.device}s), "
            f"of which {study.busy_device_seconds:,.0f} busy",
            style="bold",
            highlight=False,
        )
        table = empty_table("trial", "state", "epochs", f"best {study.metric}", "params")
        for trial in study.trials:
            best = trial.best_report(study.metric, study.mode)
            score = "-" if best is None else f"{best.metrics[study.metric]:.4f} @ {best.epoch:g}"
            details = format_params(trial.params)
            details += "".join(f"\n{_shown_exploit(study, exploit)}" for exploit in trial.lineage)
            if trial.state is TrialState.FAILED:
                details += f"\n{trial.error}"
            table.add_row(trial.name, trial.state.value, f"{trial.epochs_trained:g}", score, details)
        console.print(table)


def _shown_exploit(study: StudyOutcome, exploit: Exploit) -> str:
    changed = {name: value for name, value in exploit.new.items() if value != exploit.old.get(name)}
    values = format_params(changed) or "the same values"
    return f"from {study.name_of(exploit.donor)} at epoch {exploit.epoch:g} on: {values}"
