"""Converts an outcome to plain JSON, as `tunefleet results --json` prints it. Keys are the fields of the outcome."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from trainables.data.warnings import warnings_of
from trainables.tasks.summary import DataSummary
from tuning.outcome.experiment import ExperimentOutcome
from tuning.outcome.study import StudyOutcome

SCHEMA_VERSION = 1  # increases when a key changes


def outcome_json(outcome: ExperimentOutcome) -> dict[str, Any]:
    """Converts an experiment to dictionaries, lists, numbers and texts; see `ExperimentOutcome.to_json`."""
    plain = asdict(replace(outcome, studies=tuple(map(_without_rows, outcome.studies))))
    for study, plain_study in zip(outcome.studies, plain["studies"], strict=True):
        plain_study["device_seconds"] = study.device_seconds
        plain_study["busy_device_seconds"] = study.busy_device_seconds
        del plain_study["cost"]
        plain_study["goal"] = None if study.goal is None else study.goal.model_dump(mode="json")
        plain_study["money"] = study.money
        del plain_study["data"]
        tests = () if study.test is None else ((study.test, plain_study["test"]),)
        for test, plain_test in (*tests, *zip(study.front_tests, plain_study["front_tests"], strict=True)):
            plain_test["metrics"] = _finite(test.metrics)
            del plain_test["scored"]
        for confirmation, plain_confirmation in zip(study.confirmations, plain_study["confirmations"], strict=True):
            plain_confirmation["schedule"] = [stretch._asdict() for stretch in confirmation.schedule]
            for split in ("validation", "test"):
                plain_confirmation[split] = _finite(plain_confirmation[split] or {}) or None
            plain_confirmation["rows"] = None if confirmation.rows is None else len(confirmation.rows.labels)
        for plain_final in plain_study["finals"]:
            plain_final["metrics"] = _finite(plain_final["metrics"])
            plain_final["hidden"] = plain_final.pop("sealed") is not None
        for trial, plain_trial in zip(study.trials, plain_study["trials"], strict=True):
            plain_trial["epochs_trained"] = trial.epochs_trained
            plain_trial["reports"] = [
                {
                    **report._asdict(),
                    "metrics": _finite(report.metrics),
                    "params": dict(report.params),
                    "study_device_seconds": cost,
                }
                for report, cost in zip(trial.reports, trial.costs_of_reports, strict=True)
            ]
            del plain_trial["costs"]
            plain_trial["checkpoints"] = {f"{epoch:g}": path for epoch, path in trial.checkpoints.items()}
    return {"schema_version": SCHEMA_VERSION, **plain, "data": _plain_data(outcome.data)}


def _plain_data(data: DataSummary | None) -> dict[str, Any] | None:
    return None if data is None else {**data.model_dump(mode="json"), "warnings": list(warnings_of(data))}


def _without_rows(study: StudyOutcome) -> StudyOutcome:
    """Drops the predictions, since `asdict` would copy thousands of numbers per model one by one."""
    test = None if study.test is None else replace(study.test, scored=None)
    return replace(
        study,
        test=test,
        front_tests=tuple(replace(one, scored=None) for one in study.front_tests),
        confirmations=tuple(replace(c, rows=None) for c in study.confirmations),
    )


def _finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Replaces NaN and infinity by None: JSON has no such numbers."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}
