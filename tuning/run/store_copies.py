"""The study store of a run in a bucket: copied whenever Tune takes a snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray.tune import Callback

from tuning.states.durable import StorageError

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

    from tuning.run.place import BucketPlace


class StoreCopies(Callback):  # type: ignore[misc]
    """Copies the store before Tune uploads a snapshot: a resume finds no trial that the store has not heard of."""

    def __init__(self, place: BucketPlace) -> None:
        self._place = place
        self._failure: StorageError | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles callbacks with the experiment; a resumed run makes new ones."""
        return {}

    def get_state(self) -> None:
        """Tune takes a snapshot now. What is raised here Tune would swallow."""
        try:
            self._place.save()
        except StorageError as error:
            self._failure = error

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """The end of Tune's step.

        Raises:
            StorageError: the last copy could not be written.
        """
        if self._failure is not None:
            raise self._failure
