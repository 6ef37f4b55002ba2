"""Kills runs, and measures what they lose: `python -m benchmarks.faults all`, or one point by its name.

Each point is a file in `points`; one that says ALONE is measured alone, one that takes long says its MINUTES. A result
replaces that point's row of an earlier one, the other rows stay.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import os
import pkgutil
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.faults import points
from benchmarks.faults.experiments import STRATEGIES
from benchmarks.faults.row import Row, Settings
from benchmarks.machine import machine

ALL = "all"
AT_A_TIME = 2  # points whose seconds do not count
MOST_TOLD = 300  # characters of an error in the table
HEADINGS = ("point", "what was done", "tunefleet", "raw Ray")


def main(argv: Sequence[str] | None = None) -> int:
    """Measures the requested points; exit status 1 if one has not passed or could not be measured."""
    given = sys.argv[1:] if argv is None else list(argv)
    options = _parse(given)
    found = find_points()
    names = [*found] if options.point == ALL else [options.point]
    file = options.out / "faults.json"
    result: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"points": {}}
    command = command_of(given)
    passed, begun = True, time.monotonic()
    for name, row, seconds in _rows({name: found[name] for name in names}, options):
        passed &= row.passed
        print(f"{name}: {seconds / 60:.1f} min, {'passed' if row.passed else 'NOT passed'}", flush=True)
        load = round(os.getloadavg()[0], 2)
        result["points"][name] = {
            "number": found[name].NUMBER,
            **row._asdict(),
            "command": command,
            "minutes": round(seconds / 60, 1),
            "machine": machine(),
            "load_after": load,
        }
        options.out.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(result, indent=1) + "\n")
        file.with_suffix(".md").write_text(table(result["points"]))
    print(table({name: result["points"][name] for name in names}))
    print(f"{(time.monotonic() - begun) / 60:.1f} min in all")
    return 0 if passed else 1


def find_points() -> dict[str, ModuleType]:
    """Returns the points by the names of their files, in the order of their numbers."""
    modules = {
        module.name: importlib.import_module(f"{points.__name__}.{module.name}")
        for module in pkgutil.iter_modules(points.__path__)
    }
    return dict(sorted(modules.items(), key=lambda item: item[1].NUMBER))


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns the rows as a Markdown table, by number."""
    lines = [f"| {' | '.join(HEADINGS)} |", "|---" * len(HEADINGS) + "|"]
    for row in sorted(rows.values(), key=lambda row: row["number"]):
        verdict = "" if row["passed"] else "**not passed:** "
        cells = (f"{row['number']} {row['title']}", row["done"], f"{verdict}{row['tunefleet']}", row["raw_ray"])
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _rows(named: Mapping[str, ModuleType], options: argparse.Namespace) -> Iterator[tuple[str, Row, float]]:
    """Yields the rows as they are done, each with its seconds: those whose seconds count one after the other, then the
    rest, two at a time, the long ones first."""
    alone = {name: point for name, point in named.items() if getattr(point, "ALONE", False)}
    for name, point in alone.items():
        yield name, *_measured(point, options)
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        left = [(name, point) for name, point in named.items() if name not in alone]
        left.sort(key=lambda item: -getattr(item[1], "MINUTES", 0))
        others = {pool.submit(_measured, point, options): name for name, point in left}
        for done in as_completed(others):
            yield others[done], *done.result()


def _measured(point: ModuleType, options: argparse.Namespace) -> tuple[Row, float]:
    say, begun = functools.partial(print, flush=True), time.monotonic()
    seeds, strategies = range(options.seeds), options.strategies.split(",")
    with tempfile.TemporaryDirectory(prefix="tff-", dir="/tmp", ignore_cleanup_errors=True) as place:
        settings = Settings(Path(place), seeds, strategies, options.kill_points, options.cases, options.minutes, say)
        try:
            row: Row = point.measure(settings)
        except Exception as problem:  # the other points go on
            told = " ".join(f"{type(problem).__name__}: {problem}".split())[:MOST_TOLD]
            row = Row(point.__name__.rpartition(".")[2], "could not be measured", told, "", False, {})
    return row, time.monotonic() - begun


def command_of(given: Sequence[str]) -> str:
    """Returns the command to repeat the measurement, without the folder for results, which is this machine's."""
    place = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    place.add_argument("--out")
    return shlex.join(["python", "-m", "benchmarks.faults", *place.parse_known_args(given)[1]])


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("point", choices=[ALL, *find_points()])
    parser.add_argument("--seeds", type=int, default=5, help="of moments, per strategy (default: %(default)s)")
    parser.add_argument("--strategies", default=",".join(STRATEGIES), help="default: %(default)s")
    parser.add_argument("--kill-points", type=int, default=10, help="of decisions, per strategy (default: %(default)s)")
    parser.add_argument("--cases", type=int, default=100, help="of damage (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=30.0, help="of the soak (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="default: %(default)s")
    options = parser.parse_args(argv)
    if unknown := [name for name in options.strategies.split(",") if name not in STRATEGIES]:
        parser.error(f"--strategies: {unknown[0]!r} is none of {', '.join(STRATEGIES)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
