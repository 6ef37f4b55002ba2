"""Saves the storage of a run with every snapshot of Tune's: what that does is the storage's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune import Callback


class StorageCallback(Callback):  # type: ignore[misc]
    """Saves the run's storage before Tune's snapshot is sealed: a resume finds no trial that the store does not know.

    Args:
        save: of the storage; called by the driver for each snapshot.
    """

    def __init__(self, save: Callable[[], None]) -> None:
        self._save = save

    def __getstate__(self) -> dict[str, Any]:
        """Returns nothing: Tune pickles callbacks with the experiment, and a resumed run makes new ones."""
        return {}

    def get_state(self) -> None:
        """Saves the storage. Called by Tune for each snapshot; an error ends the study, without that snapshot.

        Raises:
            StorageError: a copy of the store cannot be written, or another driver has taken the run over.
        """
        self._save()
