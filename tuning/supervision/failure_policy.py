"""Stops a run whose first trials all fail alike: it is the code or the machine, not their values.

The rule, applied whenever a trial has failed for good:

    at least `alike_failures` (3) trials of the study have ended, and every one that has ended failed;
    with one cause: type and message are equal once words with digits in them (numbers, ids, addresses) are blanked;
    no trial that still runs has reported anything.

The rule leaves out what depends on a trial's values: scores that are not finite, and memory that ran out.
"""

from __future__ import annotations

from collections.abc import Iterable

from tuning.outcome import TrialState
from tuning.supervision.failures import MEMORY_TWICE, without_details

BY_VALUES = ("NonFiniteScore:", "DeviceMemoryError:")


def repeated_failure(trials: Iterable[tuple[TrialState, int, str | None]], most: int) -> str | None:
    """The message with which the study stops by the rule above; None if it goes on.

    Args:
        trials: of the study: state, number of reports, and the error of a failed one.
        most: how many failed trials stop it.
    """
    errors = []
    for state, reports, error in trials:
        if state is TrialState.FAILED:
            errors.append(error or "")
        elif state is not TrialState.RUNNING or reports:
            return None
    if len(errors) < most or errors[0].startswith(BY_VALUES) or MEMORY_TWICE in errors[0]:
        return None
    if len(set(map(without_details, errors))) > 1:
        return None
    return f"the first {len(errors)} trials failed alike: {errors[0]}"
