"""Exports an outcome as flat tables in Parquet or CSV: studies, trials, reports, confirmations, fronts.

Columns with a slash belong together: `params/learning_rate` is a hyperparameter in force, `metrics/accuracy` a score.
A missing value is null.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trainables.errors import InputError
from tuning.outcome.experiment import ExperimentOutcome
from tuning.outcome.study import Confirmation, StudyOutcome
from tuning.outcome.trial import TrialOutcome

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
Format = Literal["parquet", "csv"]
KEYS = ("experiment", "strategy", "seed")  # the columns that identify a study, in every table


def export(outcome: ExperimentOutcome, folder: Path, form: Format, *, force: bool = False) -> list[Path]:
    """Writes each non-empty table to a file and returns the files.

    Args:
        folder: created if it is missing.
        force: replace files that exist.

    Raises:
        InputError: `folder` holds such a file already and `force` is not set, or it cannot be written.
    """
    tables = {name: rows for name, rows in outcome_tables(outcome).items() if rows}
    targets = {name: folder / f"{name}.{form}" for name in tables}
    existing = [path.name for path in targets.values() if path.exists()]
    if existing and not force:
        step = "give another folder with --to, or --force to overwrite them"
        raise InputError("--to", str(folder), f"holds {', '.join(existing)} already", step)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in tables.items():
            _write(_table(rows), targets[name], form)
    except OSError as error:
        raise InputError("--to", str(folder), f"cannot be written: {error}", "give another folder") from error
    return list(targets.values())


def outcome_tables(outcome: ExperimentOutcome) -> dict[str, list[Row]]:
    """Returns the rows of each table, by table name. A row maps columns to values."""
    tables: dict[str, list[Row]] = {"studies": [], "trials": [], "reports": [], "confirmations": [], "front": []}
    for study in outcome.studies:
        key = dict(zip(KEYS, (outcome.name, study.strategy, study.seed), strict=True))
        tables["studies"].append({**key, **_study(study)})
        for trial in study.trials:
            tables["trials"].append({**key, **_trial(study, trial)})
            tables["reports"] += ({**key, "trial": trial.id, "number": trial.number, **row} for row in _reports(trial))
        tables["confirmations"] += ({**key, **_confirmation(one)} for one in study.confirmations)
        tables["front"] += ({**key, **row} for row in _front(study))
    return tables


def _study(study: StudyOutcome) -> Row:
    best = study.best()
    return {
        "kind": study.kind,
        "state": study.state.value,
        "metric": study.metric,
        "mode": study.mode,
        "best_trial": None if best is None else best[0].id,
        "best_epoch": None if best is None else best[1].epoch,
        "best_validation": None if best is None else best[1].metrics[study.metric],
        "wall_seconds": study.wall_seconds,
        "slots": study.slots,
        "devices_per_trial": study.devices_per_trial,
        "device": study.device,
        "device_seconds": study.device_seconds,
        "busy_device_seconds": study.busy_device_seconds,
        "node_losses": len(study.node_losses),
        **({} if study.test is None else {"test_rows": study.test.rows, **_flat("test", study.test.metrics)}),
        **_flat("attributes", study.attributes),
    }


def _trial(study: StudyOutcome, trial: TrialOutcome) -> Row:
    best = trial.best_report(study.metric, study.mode)
    lineage = [{"epoch": x.epoch, "donor": x.donor, "old": x.old, "new": x.new, "time": x.time} for x in trial.lineage]
    return {
        "trial": trial.id,
        "number": trial.number,
        "state": trial.state.value,
        "error": trial.error,
        "reports": len(trial.reports),
        "epochs": trial.epochs,
        "epochs_trained": trial.epochs_trained,
        "device_seconds": trial.device_seconds,
        "best_epoch": None if best is None else best.epoch,
        "best_validation": None if best is None else best.metrics[study.metric],
        "lineage": json.dumps(lineage) if lineage else None,
        **_flat("params", trial.params),
    }


def _reports(trial: TrialOutcome) -> Iterator[Row]:
    for index, report in enumerate(trial.reports):
        yield {
            "report": index,
            "epoch": report.epoch,
            "time": report.time,
            "device_seconds": report.device_seconds,
            "study_device_seconds": trial.costs_of_reports[index],
            **_flat("metrics", report.metrics),
            **_flat("params", report.params),
        }


def _confirmation(one: Confirmation) -> Row:
    schedule = [stretch._asdict() for stretch in one.schedule]
    return {
        "rank": one.rank,
        "trial": one.trial,
        "epoch": one.epoch,
        "training_seed": one.seed,
        "searched": one.searched,
        "device_seconds": one.device_seconds,
        "time": one.time,
        "error": one.error,
        "schedule": json.dumps(schedule),
        **_flat("validation", one.validation or {}),
        **_flat("test", one.test or {}),
    }


def _front(study: StudyOutcome) -> Iterator[Row]:
    """Yields a row per configuration on the study's front; none if it has one objective."""
    tests = {(one.trial, one.epoch): one for one in study.front_tests}
    for trial, report in study.front():
        test = tests.get((trial.id, report.epoch))
        yield {
            "trial": trial.id,
            "number": trial.number,
            "epoch": report.epoch,
            **_flat("validation", report.metrics),
            **_flat("test", {} if test is None else test.metrics),
            **_flat("params", report.params),
        }


def _flat(prefix: str, values: Mapping[str, Any]) -> Row:
    return {f"{prefix}/{name}": value for name, value in values.items()}


def _table(rows: list[Row]) -> pa.Table:
    """Builds an Arrow table; columns are in the order in which rows first have them."""
    import pyarrow as pa

    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def _column(values: list[Any]) -> pa.Array:
    """Builds a column of one type. Mixed types, such as 'auto' beside 16, become JSON texts."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else json.dumps(value) for value in values])


def _write(table: pa.Table, path: Path, form: Format) -> None:
    """Writes the file atomically."""
    from pyarrow import csv, parquet

    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if form == "parquet":
            parquet.write_table(table, scratch)
        else:
            csv.write_csv(table, scratch)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
