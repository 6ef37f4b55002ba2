"""Ray's private parts that the mends touch."""

from __future__ import annotations

from benchmarks.faults.by_tests import checked
from benchmarks.faults.row import Row, Settings

NUMBER = 13


def measure(settings: Settings) -> Row:
    """As the tests do it."""
    return checked(
        "private parts of Ray",
        "what is used of them is in one module, whose contract tests pass on the Ray that is installed",
        "-",
        ["tests/tuning/tune_compat"],
        "all do what the mends rely on",
    )
