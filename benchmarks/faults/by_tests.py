"""Points that the tests of this repository measure: a row from what pytest says of them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

from benchmarks.faults.row import Row
from tests.support.drivers import own_environment

ROOT = Path(__file__).parents[2]


def checked(title: str, done: str, raw_ray: str, tests: Sequence[str], reached: str) -> Row:
    """Run `tests` (files, or pytest's names of single ones), alone.

    Args:
        reached: what it means that they pass.

    Returns:
        Passed where none failed and none was skipped; `figures` names each with its seconds.
    """
    with tempfile.TemporaryDirectory(prefix="tff-", dir="/tmp") as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *tests]
        environment = own_environment()
        done_tests = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if not report.exists():
            raise RuntimeError(f"pytest has written no report: {done_tests.stdout[-300:]}{done_tests.stderr[-300:]}")
        cases = [*ElementTree.parse(report).iter("testcase")]  # our own file
    failed = [_name(case) for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [_name(case) for case in cases if case.find("skipped") is not None]
    passed = len(cases) - len(failed) - len(skipped)
    told = [f"{passed} of {len(cases)} tests pass ({', '.join(tests)})"]
    told += [f"failed: {name}" for name in failed] + [f"skipped: {name}" for name in skipped]
    if passed == len(cases):
        told.insert(0, reached)
    seconds = {_name(case): round(float(case.get("time", 0.0)), 1) for case in cases}
    return Row(title, done, "; ".join(told), raw_ray, bool(cases) and passed == len(cases), {"seconds": seconds})


def _name(case: ElementTree.Element) -> str:
    return f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
