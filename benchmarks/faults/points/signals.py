"""Ctrl-C, SIGTERM, a closed terminal, a machine that sleeps, a clock set back, an output that nobody reads."""

from __future__ import annotations

from benchmarks.faults.by_tests import checked
from benchmarks.faults.row import Row, Settings

NUMBER = 11


def measure(settings: Settings) -> Row:
    """As the tests do it."""
    return checked(
        "signals and clocks",
        "SIGINT, SIGTERM and SIGHUP in the middle of a study, to the driver, its group or all processes, then "
        "a resume; all processes stopped for 6 s, "
        "the clock set back by an hour, the output closed",
        "FINDINGS: SIGTERM saves nothing",
        ["tests/test_resume.py", "tests/test_asleep.py"],
        "status 130 and how to go on, no process left, the resumed outcome is the undisturbed one; asleep or "
        "with the clock set back no false alarm and no wrong cost",
    )
