"""A trial whose process is killed for want of memory, by the kernel or by Ray's memory monitor."""

from __future__ import annotations

from benchmarks.faults.by_tests import checked
from benchmarks.faults.row import Row, Settings

NUMBER = 4
ALONE = True  # a full memory is felt by all


def measure(settings: Settings) -> Row:
    """As the tests do it."""
    return checked(
        "out of memory",
        "grid of 4 trials, one of which takes memory until it is killed, always, and one that does so once; "
        "killed by the kernel (a cgroup of 1.5 GiB) and by Ray's memory monitor; max_failures 5",
        "measured: the memory monitor's kill ends the whole experiment, whatever max_failures is; one by the "
        "kernel is retried as often as max_failures allows",
        ["tests/test_memory_deaths.py", "tests/test_memory_mark.py"],
        "the three others complete; the hog fails after exactly one retry, told with what it held, what there "
        "was and what to change",
    )
