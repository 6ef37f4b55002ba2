"""Repeats a recorded training from scratch, or from a saved state of it: each segment with its own values.

Between two segments the state is saved and restored through files, as in an exploit. So a replay runs the same code as
the PBT member that it repeats, and on a CPU gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.checkpoints.manifest import Segment
from trainables.epochs import ROUNDING
from trainables.progress import tracker
from trainables.spec import FineTuneSpec, Params

if TYPE_CHECKING:
    from trainables.training import Evaluation, Training


def replay(
    segments: Iterable[Segment],
    make: Callable[[Params, FineTuneSpec], Training],
    spec: FineTuneSpec,
    scratch: Path,
    *,
    begun: float = 0.0,
    place: Path | None = None,
) -> tuple[Training, Evaluation]:
    """Trains through `segments` and evaluates as often as a trial reports.

    Args:
        segments: in order; each ends where a trial reports. Those that end at `begun` or before are skipped, and at
            least one must remain.
        make: builds a Training from params and spec.
        spec: its `report_every_epochs`, and what `make` needs.
        scratch: an existing folder for the states between segments.
        begun: the epoch of the state in `place`.
        place: the folder of a state with optimizer state, to continue from; None: from scratch.

    Returns:
        The training at the end of the last segment, and its last evaluation.
    """
    epoch = begun
    training: Training | None = None
    for number, segment in enumerate(s for s in segments if s.until > begun + ROUNDING):
        if training is not None:
            place = scratch / str(number)
            place.mkdir()
            training.save(place)
            training = None  # before the next is built: a device may have room for one model only
        training = make(segment.params, spec)
        if place is not None:
            training.restore(place)
        # A user's Trainer may stop early, and with another seed earlier than the trial of the search did.
        while epoch < min(segment.until, training.horizon) - ROUNDING:
            evaluation = training.advance(spec.report_every_epochs)
            epoch = evaluation.epoch
            tracker.report(epoch)
    assert training is not None
    return training, evaluation
