"""One open study (a strategy x a seed) of the store, for the run that makes it. What a method was given is on disk when
it returns, but for checkpoints, which come and go faster than transactions: `write_checkpoints` writes them. Each event
is one transaction, with Optuna's intermediate value in it: a mirror of the reports for the dashboard.

Resuming: the runner opens the study again and repeats what it was doing; a trial that begins again, an epoch that is
computed again, a state that is told again change nothing that they should not (see `study_log`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trainables.epochs import ROUNDING
from trainables.reporting import Report
from trainables.spec import Params
from tuning.budget import ResourceUsage
from tuning.outcome import Exploit, StudyState, TrialState, epochs_trained
from tuning.spec.store_url import StoreError, masked
from tuning.store.checksums import verify_checksum, with_checksum
from tuning.store.layout import OPTUNA_STATES
from tuning.store.statements import set_attribute_and_value, set_study_attributes, study_attributes
from tuning.store.study_record import StudyRecord
from tuning.store.trial_copies import copy_as_failed, copy_as_running, new_trial
from tuning.store.trial_events import (
    REPLACED,
    Event,
    count_events,
    decode_events,
    encode_event,
    event_key,
    insertion_index,
    json_params,
    largest_usage,
    reports_of,
)

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial


@dataclass
class _Record:
    """What the writer remembers of one trial, so that no report needs a query first."""

    optuna_id: int
    params: Params  # that it began with
    state: TrialState = TrialState.RUNNING
    events: list[Event] = field(default_factory=list)
    take: int = 1
    position: int = 0  # the next event goes here; below len(events) only after a rewind
    event_count: int = 0  # events that were found, those of before a rewind too
    checkpoints: list[tuple[float, int, str]] = field(default_factory=list)  # epoch, reports before it, folder
    error: str | None = None  # of a failed trial
    held: list[ResourceUsage | None] = field(default_factory=list)  # one per event: what the study had held by then


class StudyWriter(StudyRecord):
    """Made by `StudyStore.open_study` or `StudyStore.reopen`. The only writer of its study at any time."""

    def __init__(self, storage: RDBStorage, study_id: int, name: str, metric: str, mode: Literal["max", "min"]) -> None:
        super().__init__(storage, study_id, name)
        self._metric, self._best = metric, max if mode == "max" else min
        with self._told("read the trials"):
            attributes = study_attributes(storage, study_id)
            self._records = {
                frozen.user_attrs["trial_id"]: _restored(frozen)  # a trial that was opened again: the later holds all
                for frozen in storage.get_all_trials(study_id, deepcopy=False)
            }
        newest = largest_usage(held for record in self._records.values() for held in record.held)
        if newest is not None and self._last_sign is not None:
            self._last_sign = max(self._last_sign, newest.time)
        self._unwritten: set[str] = set()  # trials whose checkpoints have changed
        for trial_id, record in self._records.items():
            record.checkpoints = [(e, n, path) for e, n, path in attributes.get(f"checkpoints:{trial_id}", [])]

    def running(self) -> tuple[str, ...]:
        """The ids of the trials that have begun and not ended."""
        return tuple(trial for trial, record in self._records.items() if record.state is TrialState.RUNNING)

    def check_holds(self, positions: Mapping[str, int]) -> None:
        """Raises:
        StoreError: a snapshot of Tune's was taken when there was more.
        """
        for trial_id, position in positions.items():
            there = self._records[trial_id].event_count if trial_id in self._records else 0
            if trial_id not in self._records or there < position:
                raise StoreError(
                    f"study store {masked(self._storage.url)}: damaged, or an older copy: of trial {trial_id} of "
                    f"{self.name} it holds {there} events, and {position} were recorded. Bring a good copy back"
                )

    def reports_after(self, positions: Mapping[str, int]) -> int:
        """How many reports of all trials come after `positions`."""
        return sum(len(reports_of(r.events[positions.get(trial, 0) :])) for trial, r in self._records.items())

    def ended(self) -> frozenset[str]:
        """The ids of the trials that have ended."""
        return frozenset(self._records.keys() - set(self.running()))

    def states(self) -> Iterator[tuple[TrialState, int, str | None]]:
        """Of each trial: where it stands, how many reports it has, and why it failed."""
        for record in self._records.values():
            yield record.state, len(reports_of(record.events[: record.position])), record.error

    def known(self) -> frozenset[str]:
        """The ids of the trials that have begun."""
        return frozenset(self._records)

    def knows(self, trial_id: str) -> bool:
        """Whether the trial has begun."""
        return trial_id in self._records

    def reports(self, trial_id: str) -> tuple[Report, ...]:
        """What is recorded of the trial; empty for an unknown one."""
        record = self._records.get(trial_id)
        return reports_of(record.events[: record.position]) if record else ()

    def epochs_trained(self, trial_id: str) -> float:
        """Passes over the training split that the trial has computed itself, as recorded."""
        record = self._known(trial_id)
        events = record.events[: record.position]
        return epochs_trained(reports_of(events), [event for event in events if isinstance(event, Exploit)])

    def begin_trial(
        self, trial_id: str, params: Params, distributions: Mapping[str, BaseDistribution], *, again: bool = False
    ) -> None:
        """A trial starts with `params`; one that is known already stays as it is.

        A value outside its distribution, or without one (a fixed value), is kept in the attribute `params` alone.

        Args:
            again: a killed driver has begun it before. With the same values its reports replace those of then, one by
                one; with others it is another trial, and what there was of that one is kept as a failed one.
        """
        plain = json_params(params)
        if trial_id in self._records:
            if not again:
                return
            if self._records[trial_id].params == json.loads(json.dumps(plain)):
                self.rewind(trial_id, 0)
                return
            with self._told(f"set trial {trial_id} aside"):
                copy_as_failed(self._storage, self._study_id, self._records[trial_id].optuna_id, REPLACED)
            self._set_checkpoints(trial_id, [])
        searched = {name: d for name, d in distributions.items() if name in plain and _holds(d, plain[name])}
        with self._told(f"begin trial {trial_id}"):
            made = new_trial(self._storage, self._study_id, trial_id, plain, searched)
        self._records[trial_id] = _Record(made, plain)

    def add_report(self, trial_id: str, report: Report, held: ResourceUsage | None = None) -> None:
        """One evaluation. An epoch that was computed again after a crash replaces the one recorded before.

        Args:
            held: what the study has held up to now, in all its runs. Of a report that is recorded already, and is told
                again as it was, what is recorded of that stays.
        """
        self._append(trial_id, report, held)

    def add_exploit(self, trial_id: str, exploit: Exploit) -> None:
        """The trial takes over the donor's checkpoint, after its own last report. What `exploit` says of the numbers of
        reports is replaced by what is recorded here: a scheduler may have forgotten some in a restart.

        Raises:
            StoreError: no such trial, or the donor has no report at that epoch.
        """
        donated = self.reports(exploit.donor)
        # The last one: the donor may have passed this epoch before, and gone back by an exploit of its own.
        numbers = (n for n in range(len(donated), 0, -1) if abs(donated[n - 1].epoch - exploit.epoch) < ROUNDING)
        if (donor_reports := next(numbers, None)) is None:
            raise StoreError(
                f"{self.name}: trial {trial_id} took over epoch {exploit.epoch:g} of trial {exploit.donor}, "
                "which has no report there"
            )
        own = len(self.reports(trial_id))
        self._append(trial_id, replace(exploit, reports=own, donor_reports=donor_reports))

    def end_trial(self, trial_id: str, state: TrialState, error: str | None = None) -> None:
        """How the trial ended. Told again: nothing changes.

        Raises:
            ValueError: running is no end; or completed without a report.
        """
        from optuna.trial import TrialState as OptunaState

        scores = [report.metrics[self._metric] for report in self.reports(trial_id)]
        if state is TrialState.RUNNING or (state is TrialState.COMPLETED and not scores):
            raise ValueError(f"{self.name}: trial {trial_id} cannot end as {state} after {len(scores)} reports")
        if self._known(trial_id).state is state:
            return
        record = self._writable(trial_id)
        # As Optuna does it: a pruned trial's value is its last score. A completed one's is the score it is ranked by.
        value = {TrialState.COMPLETED: [self._best(scores, default=0.0)], TrialState.STOPPED: scores[-1:]}
        optuna_state = next(name for name, ours in OPTUNA_STATES.items() if ours is state)
        record.error = error
        with self._told(f"end trial {trial_id}"):
            if error is not None:
                self._storage.set_trial_user_attr(record.optuna_id, "error", error)
            self._storage.set_trial_state_values(record.optuna_id, OptunaState[optuna_state], value.get(state) or None)
        record.state = state

    def reopen_failed(self, trial_id: str) -> None:
        """The trial has a process again; if it was recorded as failed, it is running from now on."""
        if self._known(trial_id).state is TrialState.FAILED:
            self._writable(trial_id)

    def positions(self) -> dict[str, int]:
        """How many events of each trial count now; for `rewind` after a restart from a snapshot of this moment."""
        return {trial: record.position for trial, record in self._records.items()}

    def rewind(self, trial_id: str, position: int) -> None:
        """The trial goes on from an older state: its next event replaces all from `position` on."""
        record = self._known(trial_id)
        record.position = min(position, len(record.events))

    def add_checkpoint(self, trial_id: str, epoch: float, path: str) -> None:
        """The trial's checkpoint of `epoch` lies in the folder `path`."""
        entry = (epoch, len(self.reports(trial_id)), path)
        others = [e for e in self._known(trial_id).checkpoints if e[2] != path]
        self._set_checkpoints(trial_id, [*others, entry])

    def drop_checkpoint(self, trial_id: str, epoch: float) -> None:
        """The folder of the trial's checkpoint of `epoch` was deleted (a second one of that epoch may still stand)."""
        entries = self._known(trial_id).checkpoints
        self._set_checkpoints(trial_id, [e for e in entries if e[0] != epoch or Path(e[2]).exists()])

    def write_checkpoints(self) -> None:
        """Write down which checkpoints there are now."""
        # Attributes of the study: they change after a trial's end, when Optuna lets nothing change in it.
        changed = {f"checkpoints:{trial_id}": self._known(trial_id).checkpoints for trial_id in self._unwritten}
        if changed:
            with self._told("write which checkpoints there are"):
                set_study_attributes(self._storage, self._study_id, changed)
        self._unwritten.clear()

    def finish(self) -> None:
        """All trials have ended."""
        self.write_checkpoints()
        self._set("state", StudyState.FINISHED.value)

    def _append(self, trial_id: str, event: Event, held: ResourceUsage | None = None) -> None:
        """Write `event`, unless it is one that an ended trial computed again."""
        record = self._known(trial_id)
        index = insertion_index(record.events, record.position, event)
        again = index < len(record.events)
        if again and record.state is not TrialState.RUNNING and _same(record.events[index], event):
            record.position = index + 1
            return
        record = self._writable(trial_id)
        take = record.take + again
        if again and record.events[index] == event:
            held = record.held[index]
        number = len(reports_of(record.events[:index])) + 1
        with self._told(f"record {type(event).__name__.lower()} of trial {trial_id} at epoch {event.epoch:g}"):
            name, text = event_key(index), encode_event(event, take, held)
            if isinstance(event, Report):
                value = event.metrics[self._metric]
                set_attribute_and_value(self._storage, record.optuna_id, name, text, number, value)
            else:
                self._storage.set_trial_user_attr(record.optuna_id, name, with_checksum(text))
        record.events[index:], record.held[index:] = [event], [held]
        record.take, record.position = take, index + 1

    def _writable(self, trial_id: str) -> _Record:
        """The trial's record, running: one that has ended and goes on gets a copy."""
        record = self._known(trial_id)
        if record.state is not TrialState.RUNNING:
            with self._told(f"open trial {trial_id} again"):
                record.optuna_id = copy_as_running(self._storage, self._study_id, record.optuna_id)
            record.state, record.error = TrialState.RUNNING, None
        return record

    def _known(self, trial_id: str) -> _Record:
        if trial_id not in self._records:
            raise StoreError(f"{self.name}: trial {trial_id} was never begun")
        return self._records[trial_id]

    def _set_checkpoints(self, trial_id: str, entries: list[tuple[float, int, str]]) -> None:
        self._known(trial_id).checkpoints = entries
        self._unwritten.add(trial_id)


def _restored(frozen: FrozenTrial) -> _Record:
    events, take, held = decode_events(frozen.user_attrs)
    return _Record(
        frozen._trial_id,
        verify_checksum("params", frozen.user_attrs["params"]),
        OPTUNA_STATES[frozen.state.name],
        events,
        max(take, 1),
        len(events),
        count_events(frozen.user_attrs),
        error=frozen.user_attrs.get("error"),
        held=held,
    )


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except ValueError:  # a text where a number is due, a choice that is none
        return False


def _same(old: Event, new: Event) -> bool:
    return type(old) is type(new) and abs(old.epoch - new.epoch) < ROUNDING
