"""How a study's states are kept: where, and which of them hold what an optimizer goes on from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from trainables.checkpoints.storage import FOLDERS, Storage
from trainables.epochs import ROUNDING


@dataclass(frozen=True)
class CheckpointPolicy:
    """How the slots of a study keep states, as the driver tells them.

    Without a study folder each state is written beside its recipe, in the folder that Tune takes.
    """

    study: Path | None = None  # names the study in the nodes' shared memory, where its states go first
    weights_only: bool = False  # no trial goes on from a state: it needs no moments
    every_epochs: float | None = None  # and yet moments, once in so many epochs
    every_seconds: float | None = None  # or when a trial that is to go on has trained so long since it had them last
    state_bytes: int = 0  # of the model's weights in float32; 0: not known before the model is loaded
    storage: Storage = FOLDERS  # where copies of states are found
    left_in: str | None = None  # Tune's folder of a study that is resumed

    def moments_due(self, before: float, now: float, trained: float) -> bool:
        """True if the state at epoch `now` has moments, where the last one that has is of epoch `before`.

        Args:
            trained: seconds since then; infinity where nothing follows.
        """
        if not self.weights_only:
            return True
        if self.every_seconds is not None:
            return self.every_seconds <= trained < math.inf
        every = self.every_epochs
        return every is not None and int(now / every + ROUNDING) > int(before / every + ROUNDING)


BESIDE_THE_RECIPE = CheckpointPolicy()
