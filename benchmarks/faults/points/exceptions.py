"""Exceptions in the user's code."""

from __future__ import annotations

from benchmarks.faults.by_tests import checked
from benchmarks.faults.row import Row, Settings

NUMBER = 9


def measure(settings: Settings) -> Row:
    """As the tests do it."""
    return checked(
        "exceptions",
        "six trials with a ValueError, a KeyError, a RuntimeError, an OSError, a MemoryError and none, "
        "max_failures 2; three strategies whose first trials fail alike",
        "every class is retried as often as max_failures allows; nothing stops for failures that are alike "
        "(read, not measured)",
        ["tests/test_failures.py"],
        "begun once for ValueError and KeyError, three times for RuntimeError and OSError, twice for "
        "MemoryError; one line of cause each; the first three trials failing alike stop the run, and a resume "
        "runs them again",
    )
