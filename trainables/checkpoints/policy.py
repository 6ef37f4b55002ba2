"""The checkpoint policy of a study: what states hold, and where they are written. The driver sends it to the slots."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from trainables.checkpoints.storage import FOLDERS, Storage
from trainables.epochs import ROUNDING


@dataclass(frozen=True)
class CheckpointPolicy:
    """Defines where a slot writes the states of its trials, and which states hold the optimizer state.

    Without `study` each state is written beside its manifest, in the folder that Tune moves to the storage path.
    """

    study: Path | None = None  # the study's folder; names its place in the nodes' shared memory, where states go first
    weights_only: bool = False  # no trial continues from a state, so states need no optimizer state
    every_epochs: float | None = None  # with `weights_only`: a full state whenever a multiple of this is passed
    every_seconds: float | None = None  # with `weights_only`: a full state after this much training without one
    state_bytes: int = 0  # the model's weights in float32; 0: unknown until the model is loaded
    storage: Storage = FOLDERS  # where durable copies of states are
    resumed_from: str | None = None  # Tune's folder of the study, if this run resumes it

    def moments_due(self, before: float, now: float, trained: float) -> bool:
        """True if the state at epoch `now` must hold the optimizer state.

        Args:
            before: epoch of the last state that holds it; 0 if none does.
            now: epoch of the state to be written.
            trained: seconds of training since `before`; infinity if the trial ends here.
        """
        if not self.weights_only:
            return True
        if self.every_seconds is not None:
            return self.every_seconds <= trained < math.inf
        every = self.every_epochs
        return every is not None and int(now / every + ROUNDING) > int(before / every + ROUNDING)


BESIDE_THE_MANIFEST = CheckpointPolicy()
