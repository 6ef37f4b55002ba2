"""Summarises studies for `tunefleet ls`: state, trials, best score, last report.

A SQLite store is read with a few queries and without Optuna, whose import would take most of the time: many experiments
are listed within a second. Other databases are loaded as a whole. Checksums of reports are not verified here.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tuning.outcome import StudyOutcome, StudyState, TrialState
from tuning.spec.store_url import StoreError, sqlite_file
from tuning.store.checksums import verify_checksum
from tuning.store.database import GOOD_COPY, LOCK_TIMEOUT, error_reason
from tuning.store.layout import IDENTITY, OPTUNA_STATES, refuse_other_layout
from tuning.store.trial_events import PREFIX

STUDIES = """
    SELECT studies.study_id, studies.study_name, identity.value_json, state.value_json
    FROM studies
    JOIN study_user_attributes AS identity ON identity.study_id = studies.study_id AND identity.key = ?
    JOIN study_user_attributes AS state ON state.study_id = studies.study_id AND state.key = 'state'
    ORDER BY studies.study_id
"""
TRIALS = """
    SELECT trials.trial_id, trials.state, own.value_json
    FROM trials
    JOIN trial_user_attributes AS own ON own.trial_id = trials.trial_id AND own.key = 'trial_id'
    WHERE trials.study_id = ?
    ORDER BY trials.trial_id
"""
EVENTS = """
    SELECT events.trial_id, CAST(substr(events.key, ?) AS INTEGER) AS number,
        json_extract(events.value_json, '$.value.take'),
        json_extract(events.value_json, '$.value.report.time'),
        json_extract(events.value_json, ?)
    FROM trials
    JOIN trial_user_attributes AS events ON events.trial_id = trials.trial_id
    WHERE trials.study_id = ? AND events.key GLOB ?
    ORDER BY events.trial_id, number
"""


class StudySummary(NamedTuple):
    """One study in a few figures."""

    experiment: str
    strategy: str
    seed: int
    state: StudyState
    metric: str
    mode: Literal["max", "min"]
    trials: int
    failed: int  # trials
    best: float | None  # validation score; None: no trial has reported one
    last_report: float | None  # its time in seconds since 1970 (UTC); None: no report

    @property
    def all_failed(self) -> bool:
        """True if it has trials, and every one of them has failed."""
        return self.trials == self.failed > 0

    @classmethod
    def of(cls, experiment: str, study: StudyOutcome) -> StudySummary:
        """Summarises a loaded study."""
        best = study.best()
        return cls(
            experiment=experiment,
            strategy=study.strategy,
            seed=study.seed,
            state=study.state,
            metric=study.metric,
            mode=study.mode,
            trials=len(study.trials),
            failed=study.count(TrialState.FAILED),
            best=None if best is None else best[1].metrics[study.metric],
            last_report=max((report.time for trial in study.trials for report in trial.reports), default=None),
        )


def study_summaries(store: str | Path) -> list[StudySummary]:
    """Returns a summary of each study in a store, in order of creation.

    Args:
        store: a SQLite file, or the URL of a store.

    Raises:
        StoreError: the store cannot be read, or an incompatible version wrote it.
    """
    file = store if isinstance(store, Path) else sqlite_file(store)
    if file is not None:
        return _of_file(file)
    from tuning.store.study_store import StudyStore

    with contextlib.closing(StudyStore(str(store))) as opened:
        names = opened.experiments()
        return [StudySummary.of(name, study) for name in names for study in opened.load(name).studies]


def _of_file(file: Path) -> list[StudySummary]:
    if not file.is_file():  # SQLite would create it
        raise StoreError(f"study store {file}: no such file; nothing was recorded there yet, or the path is another")
    try:
        with contextlib.closing(sqlite3.connect(file, timeout=LOCK_TIMEOUT)) as connection:
            return list(_summaries(connection, file))
    except sqlite3.Error as error:
        raise StoreError(f"study store {file}: {error_reason(error)}") from error
    except (
        LookupError,
        TypeError,
        ValueError,
    ) as error:  # the content is wrong: no JSON, an unknown state, a wrong checksum
        raise StoreError(f"study store {file}: cannot list its studies: {error}. {GOOD_COPY}") from error


def _summaries(connection: sqlite3.Connection, file: Path) -> Iterator[StudySummary]:
    for study_id, name, identity, state in connection.execute(STUDIES, (IDENTITY,)).fetchall():
        stored = json.loads(identity)
        refuse_other_layout(name, stored, str(file))
        own: dict[str, Any] = verify_checksum(IDENTITY, stored)
        trials = {
            json.loads(trial_id): (number, kind) for number, kind, trial_id in connection.execute(TRIALS, (study_id,))
        }
        scores, times = _reports(connection, study_id, own["metric"], {number for number, _ in trials.values()})
        yield StudySummary(
            experiment=own["experiment"],
            strategy=own["strategy"],
            seed=own["seed"],
            state=StudyState(verify_checksum("state", json.loads(state))),
            metric=own["metric"],
            mode=own["mode"],
            trials=len(trials),
            failed=sum(OPTUNA_STATES[kind] is TrialState.FAILED for _, kind in trials.values()),
            best=(max if own["mode"] == "max" else min)(scores, default=None),
            last_report=max(times, default=None),
        )


def _reports(
    connection: sqlite3.Connection, study_id: int, metric: str, trials: set[int]
) -> tuple[Sequence[float], Sequence[float]]:
    """Returns scores and times of the valid reports; `trial_events` explains leftovers of a rewind."""
    path = f'$.value.report.metrics."{metric}"'
    parameters = (len(PREFIX) + 1, path, study_id, f"{PREFIX}*")
    scores, times, takes = [], [], dict.fromkeys(trials, 0)
    for trial, _, take, time, score in connection.execute(EVENTS, parameters):
        if trial not in takes:  # an earlier copy of a reopened trial: the last copy holds all events
            continue
        if take < takes[trial]:
            del takes[trial]  # this event and those after it are leftovers
            continue
        takes[trial] = take
        if time is not None:  # otherwise it is an exploit
            scores.append(float(score))
            times.append(float(time))
    return scores, times
