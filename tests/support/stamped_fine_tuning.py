"""The real trial, with a note of the process that it is in. Not in `stamped`, because this module imports torch."""

from __future__ import annotations

from pathlib import Path

from tests.support.stamped import stamp
from trainables.finetune.finetune import FineTuning
from trainables.spec import FineTuneSpec, Params


class StampedFineTuning(FineTuning):
    """Notes its values and its process in a file beside the data, with the suffix .log."""

    def __init__(self, params: Params, spec: FineTuneSpec) -> None:
        super().__init__(params, spec)
        assert spec.data.path is not None
        stamp(str(Path(spec.data.path).with_suffix(".log")), params=dict(params))
