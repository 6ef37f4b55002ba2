"""A step that hangs: a stopped process, a sleep that does not end."""

from __future__ import annotations

from benchmarks.faults.by_tests import checked
from benchmarks.faults.row import Row, Settings

NUMBER = 8


def measure(settings: Settings) -> Row:
    """As the tests do it."""
    return checked(
        "hung step",
        "SIGSTOP of one trial's process and an endless sleep in another's, with two others beside them; "
        "heartbeat of 2 s",
        "no heartbeat: Tune waits for ever (read, not measured)",
        ["tests/test_hang.py"],
        "both are found without a false alarm, killed and started again from their checkpoints, the others unharmed",
    )
