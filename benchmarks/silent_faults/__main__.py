"""Runs eleven searches through transformers and through tunefleet: `python -m benchmarks.silent_faults`."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NAME = "silent_faults"
HEADINGS = ("", "expected", "transformers", "tunefleet")


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints and writes; exit status 1 unless tunefleet is right in all that was measured."""
    given = sys.argv[1:] if argv is None else list(argv)
    options = _parse(given)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: as a slot of one core has it
    os.environ["HF_HUB_OFFLINE"] = "1"
    from benchmarks.machine import machine

    rows = _measured(options.case)
    result: dict[str, Any] = {
        "command": shlex.join(["python", "-m", f"benchmarks.{NAME}", *given]),
        "machine": machine(),
        "right": {arm: sum(row[arm]["right"] for row in rows) for arm in HEADINGS[2:]},
        "cases": rows,
    }
    if not options.case:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / f"{NAME}.json").write_text(json.dumps(result, indent=1) + "\n")
        (options.out / f"{NAME}.md").write_text(table(result))
    print(json.dumps(result, indent=1) if options.json else table(result))
    return 0 if result["right"]["tunefleet"] == len(rows) else 1


def table(result: Mapping[str, Any]) -> str:
    """Returns the result as Markdown."""
    rows = result["cases"]
    lines = [f"| {' | '.join(HEADINGS)} |", "|---" * len(HEADINGS) + "|"]
    for row in rows:
        told = (f"{'right' if row[arm]['right'] else '**wrong**'}: {row[arm]['told']}" for arm in HEADINGS[2:])
        cells = (str(row["number"]), row["expected"], *told)
        lines.append("| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |")
    counts = "; ".join(f"{arm} {right} of {len(rows)}" for arm, right in result["right"].items())
    versions = result["machine"]["versions"]
    used = ", ".join(f"{name} {versions[name]}" for name in ("transformers", "ray", "optuna", "torch"))
    return "\n".join([*lines, "", f"Right: {counts}. {used}.", ""])


def _measured(names: Sequence[str]) -> list[dict[str, Any]]:
    from benchmarks.silent_faults.arms import ARMS, measure, measure_apart
    from benchmarks.silent_faults.cases import CASES
    from cluster.local import local_ray
    from cluster.spec import ClusterSpec
    from tuning.study.worker_imports import slot_imports

    rows, how = [], {"transformers": measure_apart, "tunefleet": measure}
    with (
        tempfile.TemporaryDirectory(prefix="tfb-", dir="/tmp", ignore_cleanup_errors=True) as folder,
        local_ray(ClusterSpec(), slot_imports()),  # one for all of tunefleet's searches
    ):
        for number, (name, case) in enumerate(CASES.items(), 1):
            if not names or name in names:
                found = {arm: how[arm](case, arm, Path(folder, f"{name}-{arm}"))._asdict() for arm in ARMS}
                rows.append({"number": number, "name": name, "expected": case.expected, **found})
                right = [arm for arm in ARMS if found[arm]["right"]]
                print(f"{name}: right is {', '.join(right) or 'none'}", file=sys.stderr)
    return rows


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{NAME}", description=__doc__)
    parser.add_argument("case", nargs="*", help="names of cases; nothing is written then (default: all)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="default: %(default)s")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
