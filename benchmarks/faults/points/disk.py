"""The disk of the storage is full in the middle of a run."""

from __future__ import annotations

from benchmarks.faults.by_tests import checked
from benchmarks.faults.row import Row, Settings

NUMBER = 6
ALONE = True  # seconds count


def measure(settings: Settings) -> Row:
    """As the tests do it."""
    return checked(
        "disk full",
        "storage on a small tmpfs, filled in the middle; then freed, and `tunefleet resume`; a trainable of "
        "ours and a function of the user's own",
        "FINDINGS: the last good state is truncated, error.pkl is empty, fit() dies with EOFError",
        ["tests/test_disk_full.py", "tests/test_room.py"],
        "the run ends with the path and how to go on; the resume ends as the undisturbed run; what cannot fit "
        "is refused before it starts",
    )
