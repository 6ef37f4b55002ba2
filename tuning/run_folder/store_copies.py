"""The study store of a run in a bucket: copied whenever Tune takes a snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray.tune import Callback

if TYPE_CHECKING:
    from tuning.run_folder.run_storage import BucketPlace


class StoreCopies(Callback):  # type: ignore[misc]
    """Copies the store before Tune's snapshot is sealed: a resume finds no trial that the store has not heard of."""

    def __init__(self, place: BucketPlace) -> None:
        self._place = place

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles callbacks with the experiment; a resumed run makes new ones."""
        return {}

    def get_state(self) -> None:
        """Copy the store, for each snapshot of Tune's. What is raised here ends the study, without that snapshot.

        Raises:
            StorageError: the copy cannot be written, or another driver has taken the run over.
        """
        self._place.save()
