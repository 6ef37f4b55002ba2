"""The state of each trial that a study writer keeps in memory, so that no report needs a query first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trainables.epochs import ROUNDING
from trainables.spec import Params
from tuning.budget import ResourceUsage
from tuning.outcome import TrialState
from tuning.store.checksums import verify_checksum
from tuning.store.layout import OPTUNA_STATES
from tuning.store.trial_events import Event, count_events, decode_events

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


@dataclass
class TrialRecord:
    """The recorded state of one trial."""

    optuna_id: int
    params: Params  # at its start
    state: TrialState = TrialState.RUNNING
    events: list[Event] = field(default_factory=list)
    take: int = 1
    position: int = 0  # index of the next event; less than len(events) only after a rewind
    event_count: int = 0  # events found in the store, leftovers of rewinds included
    checkpoints: list[tuple[float, int, str]] = field(default_factory=list)  # epoch, reports before it, folder
    error: str | None = None  # of a failed trial
    held: list[ResourceUsage | None] = field(default_factory=list)  # one per event: the study's usage by then


def restored_record(frozen: FrozenTrial) -> TrialRecord:
    """Rebuilds the record of a trial from the store.

    Raises:
        DamagedRecord: the checksum of an attribute differs.
    """
    events, take, held = decode_events(frozen.user_attrs)
    return TrialRecord(
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


def same_event(old: Event, new: Event) -> bool:
    """Returns True if both events are of the same kind and epoch."""
    return type(old) is type(new) and abs(old.epoch - new.epoch) < ROUNDING
