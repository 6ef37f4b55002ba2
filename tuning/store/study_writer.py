"""The writer of one open study (strategy x seed), for the run that executes it.

A record is on disk when its method returns. Checkpoints are the exception, since they change faster than transactions:
`write_checkpoints` writes them. Each event is one transaction, which also sets Optuna's intermediate value, so that the
dashboard shows the reports.

To resume, the runner opens the study again and repeats its last steps. All methods are idempotent: a trial that begins
again, an epoch that is recomputed and a state that is recorded again leave the same records (see `trial_events`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trainables.epochs import ROUNDING
from trainables.reporting import Report
from trainables.spec import Params
from tuning.budget import ResourceUsage
from tuning.outcome import Exploit, StudyState, TrialState, epochs_trained
from tuning.spec.store_url import StoreError
from tuning.store.checksums import with_checksum
from tuning.store.layout import OPTUNA_STATES
from tuning.store.statements import (
    end_trial,
    insert_trial,
    set_attribute_and_value,
    set_study_attributes,
    study_attributes,
)
from tuning.store.study_record import StudyRecord
from tuning.store.trial_copies import copy_as_failed, copy_as_running
from tuning.store.trial_events import (
    REPLACED,
    Event,
    encode_event,
    event_key,
    insertion_index,
    json_params,
    largest_usage,
    reports_of,
)
from tuning.store.trial_record import TrialRecord, restored_record, same_event

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import RDBStorage


class StudyWriter(StudyRecord):
    """Records the trials of one study. `StudyStore.open_study` creates it; a study has one writer at a time."""

    def __init__(self, storage: RDBStorage, study_id: int, name: str, metric: str, mode: Literal["max", "min"]) -> None:
        """
        Args:
            storage: the open database.
            study_id: Optuna's id of the study.
            name: Optuna's name of the study.
            metric: of the objective.
            mode: its direction.
        """
        super().__init__(storage, study_id, name)
        self._metric, self._best = metric, max if mode == "max" else min
        with self._database_errors("read the trials"):
            attributes = study_attributes(storage, study_id)
            trials = storage.get_all_trials(study_id, deepcopy=False)
            # Of a reopened trial, the last copy counts.
            self._records = {frozen.user_attrs["trial_id"]: restored_record(frozen) for frozen in trials}
        self._trials = len(trials)  # in the study, copies included: the number of the next one
        newest = largest_usage(held for record in self._records.values() for held in record.held)
        if newest is not None and self._last_sign is not None:
            self._last_sign = max(self._last_sign, newest.time)
        self._unwritten: set[str] = set()  # trials whose checkpoints changed
        for trial_id, record in self._records.items():
            record.checkpoints = [(e, n, path) for e, n, path in attributes.get(f"checkpoints:{trial_id}", [])]

    def running_trials(self) -> tuple[str, ...]:
        """Returns the ids of the trials that have begun and not ended."""
        return tuple(trial for trial, record in self._records.items() if record.state is TrialState.RUNNING)

    def event_counts(self) -> dict[str, int]:
        """Returns the number of events per trial id that the store held when it was opened, also those taken back."""
        return {trial: record.event_count for trial, record in self._records.items()}

    def ended_trials(self) -> frozenset[str]:
        """Returns the ids of the trials that have ended."""
        return frozenset(self._records.keys() - set(self.running_trials()))

    def trial_states(self) -> Iterator[tuple[TrialState, int, str | None]]:
        """Yields the state, the number of reports and the error of each trial."""
        for record in self._records.values():
            yield record.state, len(reports_of(record.events[: record.position])), record.error

    def has_trial(self, trial_id: str) -> bool:
        """Returns True if the trial has begun."""
        return trial_id in self._records

    def reports(self, trial_id: str) -> tuple[Report, ...]:
        """Returns the recorded reports of a trial; () for an unknown one."""
        record = self._records.get(trial_id)
        return reports_of(record.events[: record.position]) if record else ()

    def epochs_trained(self, trial_id: str) -> float:
        """Returns the epochs that the trial trained itself; see `TrialOutcome.epochs_trained`."""
        record = self._record_of(trial_id)
        events = record.events[: record.position]
        return epochs_trained(reports_of(events), [event for event in events if isinstance(event, Exploit)])

    def begin_trial(
        self, trial_id: str, params: Params, distributions: Mapping[str, BaseDistribution], *, again: bool = False
    ) -> None:
        """Records that a trial starts. Does nothing if it has begun already.

        Args:
            trial_id: Tune's id.
            params: all its values. One outside its distribution or without one, such as a fixed value, is recorded in
                the attribute `params` only.
            distributions: of the searched values.
            again: a driver that was killed had begun it before. With the same values the new reports replace the old
                ones. With other values it is another trial, and the old one is kept as failed.
        """
        plain = json_params(params)
        if trial_id in self._records:
            if not again:
                return
            if self._records[trial_id].params == json.loads(json.dumps(plain)):
                self.rewind(trial_id, 0)
                return
            with self._database_errors(f"replace trial {trial_id}"):
                copy_as_failed(self._storage, self._study_id, self._records[trial_id].optuna_id, REPLACED)
            self._trials += 1
            self._set_checkpoints(trial_id, [])
        searched = {name: d for name, d in distributions.items() if name in plain and _holds(d, plain[name])}
        with self._database_errors(f"begin trial {trial_id}"):
            named = {"trial_id": trial_id, "params": with_checksum(dict(plain))}
            made = insert_trial(self._storage, self._study_id, self._trials, plain, searched, named)
        self._trials += 1
        self._records[trial_id] = TrialRecord(made, plain)

    def add_report(self, trial_id: str, report: Report, held: ResourceUsage | None = None) -> None:
        """Records a report. An epoch that was recomputed after a crash replaces the earlier record.

        Args:
            trial_id: of the trial.
            report: one evaluation.
            held: the study's usage up to now, over all its runs. An unchanged report that is recorded again keeps the
                usage of its first record.
        """
        self._append(trial_id, report, held)

    def add_exploit(self, trial_id: str, exploit: Exploit) -> None:
        """Records that a trial took over a donor's checkpoint after its own last report.

        The numbers of reports in `exploit` are replaced by the recorded ones: a restarted scheduler may have lost some.

        Raises:
            StoreError: no such trial, or the donor has no report at that epoch.
        """
        donated = self.reports(exploit.donor)
        # The last match: the donor may have passed this epoch before, and gone back by an exploit of its own.
        numbers = (n for n in range(len(donated), 0, -1) if abs(donated[n - 1].epoch - exploit.epoch) < ROUNDING)
        if (donor_reports := next(numbers, None)) is None:
            raise StoreError(
                f"{self.name}: trial {trial_id} took over epoch {exploit.epoch:g} of trial {exploit.donor}, "
                "which has no report there"
            )
        own = len(self.reports(trial_id))
        self._append(trial_id, replace(exploit, reports=own, donor_reports=donor_reports))

    def end_trial(self, trial_id: str, state: TrialState, error: str | None = None) -> None:
        """Records how a trial ended. Recording the same state again changes nothing.

        Args:
            trial_id: of the trial.
            state: any but RUNNING.
            error: one line, if it failed.

        Raises:
            ValueError: the state is RUNNING, or COMPLETED without a report.
        """
        from optuna.trial import TrialState as OptunaState

        scores = [report.metrics[self._metric] for report in self.reports(trial_id)]
        if state is TrialState.RUNNING or (state is TrialState.COMPLETED and not scores):
            raise ValueError(f"{self.name}: trial {trial_id} cannot end as {state} after {len(scores)} reports")
        if self._record_of(trial_id).state is state:
            return
        record = self._writable(trial_id)
        # As in Optuna, the value of a pruned trial is its last score; that of a completed one is its best score.
        value = None
        if scores and state is not TrialState.FAILED:
            value = self._best(scores) if state is TrialState.COMPLETED else scores[-1]
        ended = next(name for name, ours in OPTUNA_STATES.items() if ours is state)
        with self._database_errors(f"end trial {trial_id}"):
            end_trial(self._storage, record.optuna_id, OptunaState[ended], value, error)
        record.state, record.error = state, error

    def reopen_failed(self, trial_id: str) -> None:
        """Marks a failed trial as running, since it has a process again. Does nothing for other trials."""
        if self._record_of(trial_id).state is TrialState.FAILED:
            self._writable(trial_id)

    def position(self, trial_id: str) -> int:
        """Returns the number of valid events of a trial, for `rewind` after a restart from a snapshot of now.

        0 of one that is not recorded.
        """
        return self._records[trial_id].position if trial_id in self._records else 0

    def rewind(self, trial_id: str, position: int) -> None:
        """Makes the next event of a trial replace all from `position` on, since it continues from an older state."""
        record = self._record_of(trial_id)
        record.position = min(position, len(record.events))

    def add_checkpoint(self, trial_id: str, epoch: float, path: str) -> None:
        """Records that the trial's checkpoint of `epoch` is in the folder `path`."""
        entry = (epoch, len(self.reports(trial_id)), path)
        others = [e for e in self._record_of(trial_id).checkpoints if e[2] != path]
        self._set_checkpoints(trial_id, [*others, entry])

    def drop_checkpoint(self, trial_id: str, epoch: float) -> None:
        """Records that a checkpoint of `epoch` was deleted. A second one of that epoch may still exist."""
        entries = self._record_of(trial_id).checkpoints
        self._set_checkpoints(trial_id, [e for e in entries if e[0] != epoch or Path(e[2]).exists()])

    def write_checkpoints(self) -> None:
        """Writes the changes of checkpoints since the last call."""
        # They are attributes of the study, since Optuna allows no change of a trial after its end.
        changed = {f"checkpoints:{trial_id}": self._record_of(trial_id).checkpoints for trial_id in self._unwritten}
        if changed:
            with self._database_errors("write the checkpoints"):
                set_study_attributes(self._storage, self._study_id, changed)
        self._unwritten.clear()

    def finish(self) -> None:
        """Records that the study has finished."""
        self.write_checkpoints()
        self._set("state", StudyState.FINISHED.value)

    def _append(self, trial_id: str, event: Event, held: ResourceUsage | None = None) -> None:
        """Writes an event, unless an ended trial recomputed it."""
        record = self._record_of(trial_id)
        index = insertion_index(record.events, record.position, event)
        again = index < len(record.events)
        if again and record.state is not TrialState.RUNNING and same_event(record.events[index], event):
            record.position = index + 1
            return
        record = self._writable(trial_id)
        take = record.take + again
        if again and record.events[index] == event:
            held = record.held[index]
        number = len(reports_of(record.events[:index])) + 1
        with self._database_errors(
            f"record {type(event).__name__.lower()} of trial {trial_id} at epoch {event.epoch:g}"
        ):
            name, text = event_key(index), encode_event(event, take, held)
            if isinstance(event, Report):
                value = event.metrics[self._metric]
                set_attribute_and_value(self._storage, record.optuna_id, name, text, number, value)
            else:
                self._storage.set_trial_user_attr(record.optuna_id, name, with_checksum(text))
        record.events[index:], record.held[index:] = [event], [held]
        record.take, record.position = take, index + 1

    def _writable(self, trial_id: str) -> TrialRecord:
        """Returns the record of a running trial; copies a trial that had ended as running."""
        record = self._record_of(trial_id)
        if record.state is not TrialState.RUNNING:
            with self._database_errors(f"open trial {trial_id} again"):
                record.optuna_id = copy_as_running(self._storage, self._study_id, record.optuna_id)
            self._trials += 1
            record.state, record.error = TrialState.RUNNING, None
        return record

    def _record_of(self, trial_id: str) -> TrialRecord:
        if trial_id not in self._records:
            raise StoreError(f"{self.name}: trial {trial_id} was never begun")
        return self._records[trial_id]

    def _set_checkpoints(self, trial_id: str, entries: list[tuple[float, int, str]]) -> None:
        self._record_of(trial_id).checkpoints = entries
        self._unwritten.add(trial_id)


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except ValueError:  # a text in place of a number, or an unknown choice
        return False
