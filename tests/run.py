"""Runs the tests tier by tier and says what each tier took: `python -m tests.run [--all] [TIER ...]`.

Without `--all` the tests of `system` are those marked `smoke`, one of each kind. Options after `--` go to pytest.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.tiers import ALONE, SLOWEST, TIERS, TIMES, slowest

ROOT = Path(__file__).parents[1]
NONE_COLLECTED = 5  # pytest's exit status
MEMORY = Path("/dev/shm")
ROOM = 2**31  # bytes that must be free there


def main(argv: Sequence[str] | None = None) -> int:
    """Run every tier asked for, also after one that failed; exit status 1 if one has."""
    given = list(sys.argv[1:] if argv is None else argv)
    given, extra = (given[: given.index("--")], given[given.index("--") + 1 :]) if "--" in given else (given, [])
    parser = argparse.ArgumentParser(prog="python -m tests.run", description=__doc__)
    parser.add_argument("tiers", nargs="*", help=f"of {', '.join(TIERS)}; all of them by default")
    parser.add_argument("--all", action="store_true", help="all tests of `system`, not one of each kind")
    options = parser.parse_args(given)
    if unknown := [tier for tier in options.tiers if tier not in TIERS]:
        parser.error(f"{unknown[0]!r} is no tier; the tiers are {', '.join(TIERS)}")
    rows: list[tuple[str, str, float]] = []
    lines, failed = [], []
    for tier in options.tiers or TIERS:
        begun = time.monotonic()
        status, tests = _run(tier, extra, smoke=tier == "system" and not options.all)
        lines.append(f"{tier:7} {len(tests):5} tests {time.monotonic() - begun:7.1f} s")
        rows += tests
        if status not in (0, NONE_COLLECTED):
            failed.append(tier)
    print(f"\nThe {SLOWEST} slowest tests:", *slowest(rows), "\nTiers:", *lines, sep="\n")
    if failed:
        print(f"FAILED: {', '.join(failed)}")
    return 1 if failed else 0


def _run(tier: str, extra: Sequence[str], *, smoke: bool) -> tuple[int, list[tuple[str, str, float]]]:
    print(f"\n{tier}: {TIERS[tier]}", flush=True)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory(dir=_memory()) as place:
        times = Path(folder, "times.json")
        command = [sys.executable, "-m", "pytest", "-q", "-m", f"{tier} and smoke" if smoke else tier]
        if tier in ALONE:
            command += ["-n", "auto", "--maxprocesses", "8", f"--basetemp={Path(place, 'tests')}"]
        done = subprocess.run([*command, *extra], cwd=ROOT, env={**os.environ, TIMES: str(times)}, check=False)
        return done.returncode, [tuple(row) for row in json.loads(times.read_text())] if times.exists() else []


def _memory() -> Path | None:
    """Returns a folder in memory, where SQLite's commits wait for no disk; None: the usual place."""
    with contextlib.suppress(OSError):
        if shutil.disk_usage(MEMORY).free > ROOM and os.access(MEMORY, os.W_OK):
            return MEMORY
    return None


if __name__ == "__main__":
    sys.exit(main())
