"""The layout of our records in Optuna's database: its version, the identifying attribute, trial states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuning.outcome import TrialState
from tuning.spec.store_url import StoreError

LAYOUT = 2  # version of the attributes; increases when an older tunefleet could not read them
IDENTITY = "tunefleet"  # the attribute that marks a study as ours; holds the arguments of `StudyStore.open_study`
OPTUNA_STATES = {
    "RUNNING": TrialState.RUNNING,
    "COMPLETE": TrialState.COMPLETED,
    "PRUNED": TrialState.STOPPED,
    "FAIL": TrialState.FAILED,
}


def refuse_other_layout(study: str, stored: Mapping[str, Any], place: str) -> None:
    """Checks that this version can read a study.

    Args:
        study: its name, for the error.
        stored: its attribute `IDENTITY`, with checksum.
        place: the store, for the error.

    Raises:
        StoreError: an incompatible version wrote it.
    """
    layout = stored.get("layout") or stored.get("value", {}).get("layout", LAYOUT)
    if layout != LAYOUT:
        age, step = ("a newer", "pip install -U tunefleet") if layout > LAYOUT else ("an older", "use that version")
        raise StoreError(
            f"study {study} in {place}: written by {age} tunefleet (layout {layout}, this one reads {LAYOUT}); {step}"
        )
