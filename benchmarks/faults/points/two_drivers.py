"""Two drivers on one experiment."""

from __future__ import annotations

from benchmarks.faults.by_tests import checked
from benchmarks.faults.row import Row, Settings

NUMBER = 10


def measure(settings: Settings) -> Row:
    """As the tests do it."""
    return checked(
        "two drivers",
        "`tunefleet resume` beside a running driver; then that one is killed",
        "two drivers write the same files (read, not measured)",
        ["tests/test_only_driver.py"],
        "the second is refused and told who holds the folder; a killed one holds nothing",
    )
