"""Decides whether a trial that has failed starts again.

`max_failures` bounds what chance may mend. An error that the same code, values and seed raise again is not retried. A
trial that ran out of memory starts again once, whatever `max_failures` is: a neighbour's need may have been the reason,
and a second time it is the trial's own. So does one whose GPU accepted no process, since the GPU's MPS server was not
ready. A trial that hangs starts again the first time, too: mostly it was the machine, a network or a lock. Node losses
are not failures, see `supervisor`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Protocol

from ray.tune.experiment import Trial

from tuning.supervision.failures import TrialFailure
from tuning.tune_compat.internals import forget_restore

logger = logging.getLogger(__name__)


class Retries(Protocol):
    """Decides which failed trials start again, by their `max_failures`."""

    @property
    def no_more(self) -> str:
        """Says why a trial that hung does not start again."""

    def allow_restart(self, trial: Trial) -> bool:
        """Counts a hang of `trial`; call it before the failure is recorded.

        Returns:
            True if the trial will start again.
        """

    def applied(self, trial: Trial, error: Exception) -> contextlib.AbstractContextManager[None]:
        """A block in which Tune decides by `trial.max_failures`, set to what holds for `error`."""


class RetryPolicy:
    """The retries of one study in one run: after a resume a trial may run out of memory, or hang, once more."""

    no_more = "not restarted again: raise max_failures to allow that"

    def __init__(self) -> None:
        self._out_of_memory: set[str] = set()
        self._not_ready: set[str] = set()
        self._hung: set[str] = set()

    def allow_restart(self, trial: Trial) -> bool:
        """Counts a hang of `trial`; call it before the failure is recorded.

        Returns:
            True if the trial will start again.
        """
        if trial.trial_id not in self._hung:
            self._hung.add(trial.trial_id)
            trial.max_failures += 1  # for good, as below
        return bool(trial.run_metadata.num_failures < trial.max_failures)

    @contextlib.contextmanager
    def applied(self, trial: Trial, error: Exception) -> Iterator[None]:
        """A block in which Tune decides by `trial.max_failures`, set to what holds for `error`."""
        raised, allowed = TrialFailure.of(error), trial.max_failures
        seen = self._out_of_memory if raised.out_of_memory else self._not_ready if raised.device_not_ready else None
        if seen is not None and trial.trial_id not in seen:
            seen.add(trial.trial_id)
            logger.warning("%s: %s; it is started once more", trial.trial_id, raised.message.partition("\n")[0])
            trial.max_failures = allowed = allowed + 1  # for good: Tune counts this failure
        elif raised.out_of_memory or raised.repeated:
            forget_restore(trial)
            trial.max_failures = 0
        try:
            yield
        finally:
            trial.max_failures = allowed
