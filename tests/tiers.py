"""The tiers of the tests: what a test of each may start, and how long each has taken.

Every test bears the marker of one tier; a collection in which one bears none, or two, fails. `unit` and `tune` start no
process: an attempt fails the test that makes it.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

TIERS = {
    "unit": "no Ray and no other process; in parallel",
    "tune": "Tune's controller with our callbacks over simulated actors, in virtual time; no process either",
    "ray": "one Ray session that all tests of the run share",
    "system": "drivers, nodes, disks, servers and browsers of its own",
}
ALONE = ("unit", "tune")  # tiers whose tests start no process
STARTS = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "os.exec"})
SLOWEST = 10
TIMES = "TUNEFLEET_TEST_TIMES"  # names the file into which a run of pytest writes the seconds of its tests


class StartedAProcess(AssertionError):
    """A test of a tier without processes has tried to start one."""


class _Guard:
    """Refuses new processes while a test of `ALONE` runs. Python calls it for each audited event of the interpreter."""

    def __init__(self) -> None:
        self.test = ""  # its name and tier; empty: everything is allowed
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.test and event in STARTS:
            test, self.test = self.test, ""  # to format the error may start one, too
            raise StartedAProcess(f"{test} starts a process ({event} {arguments[:1]}): a test that does is of `system`")


_guard = _Guard()


@contextmanager
def kept_to_its_tier(item: pytest.Item) -> Iterator[None]:
    """In the block, `item` may start what its tier allows."""
    tier = tier_of(item)
    _guard.test = f"{item.nodeid} (of `{tier}`)" if tier in ALONE else ""
    try:
        yield
    finally:
        _guard.test = ""


def tier_of(item: pytest.Item) -> str:
    """The tier of a test that was collected."""
    return next(mark.name for mark in item.iter_markers() if mark.name in TIERS)


def is_of_others(path: Path, expression: str) -> bool:
    """Returns True if the text of the test file shows no test of the one tier that `-m expression` asks for.

    It need not be imported then. Many files import torch, which takes seconds. One that names no tier is collected, and
    `check` tells.
    """
    asked = re.fullmatch(r"(\w+)( and (not )?\w+)*", expression.strip())
    named = TIERS.keys() & set(re.findall(r"\bmark\.(\w+)", path.read_text())) if asked else set()
    return asked is not None and asked[1] in TIERS and bool(named) and asked[1] not in named


def check(items: Iterable[pytest.Item]) -> None:
    """Every test bears the marker of one tier.

    Raises:
        pytest.UsageError: which tests bear none, or several.
    """
    wrong = []
    for item in items:
        found = sorted({mark.name for mark in item.iter_markers()} & TIERS.keys())
        if len(found) != 1:
            wrong.append(f"{item.nodeid}: {', '.join(found) or 'none'}")
    if wrong:
        told = "\n  ".join(wrong[:SLOWEST]) + (f"\n  and {len(wrong) - SLOWEST} more" if len(wrong) > SLOWEST else "")
        raise pytest.UsageError(f"each test bears the marker of one tier ({', '.join(TIERS)}), and not:\n  {told}")


class Times:
    """Collects the seconds of each test over setup, call and teardown; with xdist in the process that reports."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.tiers: dict[str, str] = {}

    def add(self, report: pytest.TestReport) -> None:
        """One phase of one test has ended."""
        self.seconds[report.nodeid] += report.duration
        tier = next((name for name in report.keywords if name in TIERS), None)
        if tier is not None:
            self.tiers[report.nodeid] = tier

    def write(self) -> None:
        """For `tests.run`, if it has asked for them."""
        if (place := os.environ.get(TIMES)) and "PYTEST_XDIST_WORKER" not in os.environ:
            rows = [[self.tiers.get(test, ""), test, seconds] for test, seconds in self.seconds.items()]
            Path(place).write_text(json.dumps(rows))


def slowest(rows: Sequence[tuple[str, str, float]], count: int = SLOWEST) -> list[str]:
    """A line for each of the `count` slowest of (tier, test, seconds)."""
    first = sorted(rows, key=lambda row: -row[2])[:count]
    return [f"{seconds:7.1f} s  {tier:6}  {test}" for tier, test, seconds in first]
