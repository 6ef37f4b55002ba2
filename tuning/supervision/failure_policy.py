"""When the first trials of a study all fail alike, it is the code or the machine, not their values: the run stops.

The rule, looked at whenever a trial has failed for good:

    at least `alike_failures` (3) trials of the study have ended, and every one that has ended failed;
    with one cause: type and message are equal once words with digits in them (numbers, ids, addresses) are blanked;
    no trial that still runs has reported anything.

Not what goes by a trial's values: scores that are not finite, and memory that ran out.
"""

from __future__ import annotations

from collections.abc import Iterable

from tuning.outcome import TrialState
from tuning.supervision.failures import MEMORY_TWICE, blanked

BY_VALUES = ("NonFiniteScore:", "DeviceMemoryError:")


def failed_alike(trials: Iterable[tuple[TrialState, int, str | None]], most: int) -> str | None:
    """What is to be told of the failures, by the rule above; None: the study goes on.

    Args:
        trials: of the study: state, number of reports, and the error of a failed one.
        most: so many end it.
    """
    errors = []
    for state, reports, error in trials:
        if state is TrialState.FAILED:
            errors.append(error or "")
        elif state is not TrialState.RUNNING or reports:
            return None
    if len(errors) < most or errors[0].startswith(BY_VALUES) or MEMORY_TWICE in errors[0]:
        return None
    if len(set(map(blanked, errors))) > 1:
        return None
    return f"the first {len(errors)} trials failed alike: {errors[0]}"
