"""Whether a trial that has failed is started again.

`max_failures` bounds what chance may mend. What the same code, values and seed raise again is not tried again. A trial
that ran out of memory is, once at most, whatever `max_failures` is: a neighbour's need may have been the reason, and a
second time it is the trial's own. One that hangs is, too, for the first time: mostly it was the machine, a network or a
lock. Node losses are not failures, see `supervisor`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from ray.tune.experiment import Trial

from tuning.supervision.failures import Raised
from tuning.tune_compat.internals import forget_restore

logger = logging.getLogger(__name__)


class Retries:
    """Of one study, in this run: after a resume a trial may run out of memory, or hang, once more."""

    def __init__(self) -> None:
        self._out_of_memory: set[str] = set()
        self._hung: set[str] = set()

    def hung(self, trial: Trial) -> bool:
        """Told of each time, before its failure; whether it is started again."""
        if trial.trial_id not in self._hung:
            self._hung.add(trial.trial_id)
            trial.max_failures += 1  # for good, as below
        return bool(trial.run_metadata.num_failures < trial.max_failures)

    @contextlib.contextmanager
    def deciding(self, trial: Trial, error: Exception) -> Iterator[None]:
        """In the block Tune decides by `trial.max_failures`, which is what it should go by for `error`."""
        raised, allowed = Raised.of(error), trial.max_failures
        if raised.out_of_memory and trial.trial_id not in self._out_of_memory:
            self._out_of_memory.add(trial.trial_id)
            logger.warning("%s: %s; it is started once more", trial.trial_id, raised.message.partition("\n")[0])
            trial.max_failures = allowed = allowed + 1  # for good: Tune counts this failure
        elif raised.out_of_memory or raised.repeated:
            forget_restore(trial)
            trial.max_failures = 0
        try:
            yield
        finally:
            trial.max_failures = allowed
