"""Ray's private parts that the mends touch."""

from __future__ import annotations

from benchmarks.faults.by_tests import checked
from benchmarks.faults.row import Row, Settings

NUMBER = 13


def measure(settings: Settings) -> Row:
    """As the tests do it."""
    return checked(
        "private parts of Ray",
        "what is used of them is in one module; the sources that each mend relies on are held by their digests",
        "-",
        ["tests/test_ray_internals.py"],
        "all are as in the Ray that they were read in",
    )
