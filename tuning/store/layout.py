"""How records lie in Optuna's database: the attribute that makes a study ours, its version, states of trials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuning.outcome import TrialState
from tuning.spec.store_url import StoreError

LAYOUT = 2  # of the attributes; moves when an older version could not read them
IDENTITY = "tunefleet"  # the attribute that makes a study ours: what `StudyStore.open_study` was given
OPTUNA_STATES = {
    "RUNNING": TrialState.RUNNING,
    "COMPLETE": TrialState.COMPLETED,
    "PRUNED": TrialState.STOPPED,
    "FAIL": TrialState.FAILED,
}


def refuse_other_layout(study: str, stored: Mapping[str, Any], place: str) -> None:
    """Look whether this version can read a study.

    Args:
        study: its name.
        stored: its attribute `IDENTITY`, as it lies in the store `place`.

    Raises:
        StoreError: another version has written it.
    """
    layout = stored.get("layout") or stored.get("value", {}).get("layout", LAYOUT)
    if layout != LAYOUT:
        age, step = ("a newer", "pip install -U tunefleet") if layout > LAYOUT else ("an older", "use that version")
        raise StoreError(
            f"study {study} in {place}: written by {age} tunefleet (layout {layout}, this one reads {LAYOUT}); {step}"
        )
