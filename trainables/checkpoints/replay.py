"""Training along a schedule once more, from the start or from a state on the way: each stretch with its own values.

Between two stretches the state goes through files, as it does in an exploit: a trial's values are read where it is
built, and its optimizer gets them again where it is restored. So a replay takes the way that a PBT member took.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.checkpoints.manifest import Segment
from trainables.epochs import ROUNDING
from trainables.progress import pulse
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
    """Train through `segments`, reporting as a trial does.

    Args:
        segments: in order, each to a position where a trial reports; those that end at `begun` or before are passed
            over, and one at least must be left.
        make: builds a Training from params and spec.
        scratch: an existing folder for the states between segments.
        begun: the epoch of the state to go on from.
        place: the folder of that state, with moments; None: from the start.

    Returns:
        The training at the end of the last segment, and its last evaluation.
    """
    epoch = begun
    training: Training | None = None
    for number, segment in enumerate(s for s in segments if s.until > begun + ROUNDING):
        if training is not None:
            place = scratch / str(number)
            place.mkdir()
            training.save(place, moments=True)
            training = None  # before the next is built: a device may hold one model only
        training = make(segment.params, spec)
        if place is not None:
            training.restore(place)
        # A Trainer of the user's own may end by itself, and with another seed earlier than the trial of the search did.
        while epoch < min(segment.until, training.horizon) - ROUNDING:
            evaluation = training.advance(spec.report_every_epochs)
            epoch = evaluation.epoch
            pulse.report(epoch)
    assert training is not None
    return training, evaluation
