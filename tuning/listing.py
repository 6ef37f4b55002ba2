"""`tunefleet ls`: what there is to choose from, and the studies that were run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tuning.experiments import find_store, names_in
from tuning.store.url import StoreError

if TYPE_CHECKING:
    from tuning.outcome import StudyOutcome

LISTED = ("strategies", "tasks", "presets", "studies")


def list_what(arguments: argparse.Namespace) -> int:
    """Print `arguments.what`, or all but the studies."""
    from trainables.tasks import find_tasks
    from tuning.spec_file import presets
    from tuning.strategies import find_strategies

    if arguments.what == "studies":
        return _ls_studies(arguments)
    listings: dict[str, Iterable[tuple[str, str]]] = {
        "strategies": ((kind, (found.__doc__ or "").partition("\n")[0]) for kind, found in find_strategies().items()),
        "tasks": ((name, task.summary) for name, task in find_tasks().items()),
        "presets": presets().items(),
    }
    for name, rows in listings.items():
        if arguments.what is None:
            print(f"{name}:")
        if arguments.what in (None, name):
            print_columns(sorted(rows), indent=2 if arguments.what is None else 0)
    return 0


def _ls_studies(arguments: argparse.Namespace) -> int:
    from tuning.store.study_store import StudyStore

    if arguments.store:
        names = StudyStore(arguments.store).experiments()
        stores = dict.fromkeys(names, arguments.store)
    else:
        stores = {name: find_store(name, arguments.storage) for name in names_in(arguments.storage)}
    outcomes = []
    for name, url in stores.items():
        try:
            outcomes.append(StudyStore(url).load(name))
        except StoreError as error:  # a run that was stopped before its first trial has recorded nothing yet
            print(f"tunefleet: {name}: {error}", file=sys.stderr)
    rows = [_study_row(outcome.name, study) for outcome in outcomes for study in outcome.studies]
    if rows:
        print_columns([("EXPERIMENT", "STRATEGY", "SEED", "STATE", "TRIALS", "BEST"), *rows])
    elif not stores:
        where = "in this store" if arguments.store else f"in {arguments.storage} (--storage names another folder)"
        print(f"tunefleet: no experiment {where}; start one with `tunefleet run`", file=sys.stderr)
    return 0


def _study_row(experiment: str, study: StudyOutcome) -> tuple[str, ...]:
    best = study.best()
    score = "-" if best is None else f"{study.metric} {best[1].metrics[study.metric]:.4f}"
    return experiment, study.strategy, str(study.seed), str(study.state), str(len(study.trials)), score


def print_columns(rows: Sequence[Sequence[str]], indent: int = 0) -> None:
    """Each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(f"{' ' * indent}{'  '.join(cells)}".rstrip())
