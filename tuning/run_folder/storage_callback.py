"""The copy of the study store of a run in a bucket, made for every snapshot of Tune's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune import Callback


class StoreCopies(Callback):  # type: ignore[misc]
    """Copies the store before Tune's snapshot is sealed: a resume finds no trial that the store does not know.

    Args:
        save: copies it; called by the driver for each snapshot.
    """

    def __init__(self, save: Callable[[], None]) -> None:
        self._save = save

    def __getstate__(self) -> dict[str, Any]:
        """Returns nothing: Tune pickles callbacks with the experiment, and a resumed run makes new ones."""
        return {}

    def get_state(self) -> None:
        """Copies the store. Called by Tune for each snapshot; an error ends the study, without that snapshot.

        Raises:
            StorageError: the copy cannot be written, or another driver has taken the run over.
        """
        self._save()
