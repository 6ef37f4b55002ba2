"""`tunefleet ls`: the experiments and studies that were run, and what there is to choose from."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cluster.capacity import ClusterError
from trainables.machine import clock
from tuning.cli.terminal import Add
from tuning.run_folder.experiments import experiment_names, find_experiment, store_location
from tuning.spec.mistakes import SpecError
from tuning.spec.store_url import StoreError

if TYPE_CHECKING:
    from tuning.store.summaries import StudySummary

LISTED = ("experiments", "studies", "strategies", "tasks", "presets")


class _Run(NamedTuple):
    """An experiment as it was found."""

    name: str
    studies: tuple[StudySummary, ...]
    planned: int  # studies that its spec asks for
    driver: bool | None  # whether one runs it now; None: its run folder is not here
    began: float | None  # seconds since 1970, where nothing newer is recorded


def add_ls(add: Add) -> argparse.ArgumentParser:
    """Declare it; returns it for the words that name a store."""
    sub = add("ls", list_what, "list the experiments that were run, and the strategies, tasks and presets")
    sub.add_argument("what", nargs="?", choices=LISTED, help="default: all but the studies")
    return sub


def list_what(arguments: argparse.Namespace) -> int:
    """Print `arguments.what`, or all but the studies."""
    from trainables.tasks import find_tasks
    from tuning.spec.file import presets
    from tuning.strategies import find_strategies

    if arguments.what == "studies":
        return _ls_studies(arguments)
    if arguments.what in (None, "experiments"):
        _ls_experiments(arguments, indent=2 if arguments.what is None else 0)
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


def _ls_experiments(arguments: argparse.Namespace, indent: int) -> None:
    if rows := [_experiment_row(run) for run in _runs(arguments)]:
        if indent:
            print("experiments:")
        print_columns([("EXPERIMENT", "STATE", "STUDIES", "TRIALS", "BEST", "LAST SIGN"), *rows], indent=indent)
    elif not indent:
        _tell_none(arguments)
    else:
        print("experiments:\n  none yet; start one with `tunefleet run quickstart`")


def _ls_studies(arguments: argparse.Namespace) -> int:
    runs = list(_runs(arguments))
    rows = [_study_row(run, study) for run in runs for study in run.studies]
    if rows:
        print_columns([("EXPERIMENT", "STRATEGY", "SEED", "STATE", "TRIALS", "BEST"), *rows])
    elif not runs:
        _tell_none(arguments)
    return 0


def _tell_none(arguments: argparse.Namespace) -> None:
    where = "in this store" if arguments.store else f"in {arguments.storage} (--storage names another folder)"
    print(f"tunefleet: no experiment {where}; start one with `tunefleet run`", file=sys.stderr)


def _runs(arguments: argparse.Namespace) -> Iterator[_Run]:
    """Every experiment below the storage, or in the store that was named. One whose store cannot be read is told."""
    from tuning.report.status import find_driver
    from tuning.store.summaries import study_summaries

    if arguments.store:
        by_name: dict[str, list[StudySummary]] = {}
        for study in study_summaries(arguments.store):
            by_name.setdefault(study.experiment, []).append(study)
        for name, recorded in by_name.items():
            yield _Run(name, tuple(recorded), len(recorded), None, None)
        return
    for name in experiment_names(arguments.storage):
        folder = find_experiment(name, arguments.storage)
        studies: tuple[StudySummary, ...] = ()
        planned = 1
        try:
            planned = _planned(folder)
            found = study_summaries(store_location(name, arguments.storage))
            studies = tuple(study for study in found if study.experiment == name)
        except (
            SpecError,
            StoreError,
            ClusterError,
        ) as error:  # damaged, here or in the bucket; or a run was stopped before it had recorded anything
            print(f"tunefleet: {name}: {error}", file=sys.stderr)
        yield _Run(name, studies, planned, find_driver(folder, arguments.storage), _began(folder))


def _planned(folder: Path) -> int:
    from tuning.spec.file import parse, read_text
    from tuning.spec.models import SPEC_FILE

    raw: Mapping[str, Any] = parse(read_text(folder / SPEC_FILE), SPEC_FILE)
    return len(raw.get("strategies") or ()) * len(raw.get("seeds") or (0,))


def _began(folder: Path) -> float | None:
    from tuning.spec.models import SPEC_FILE

    return (folder / SPEC_FILE).stat().st_mtime


def _experiment_row(run: _Run) -> tuple[str, ...]:
    from tuning.outcome import StudyState
    from tuning.report.status import experiment_status

    last = max((study.last_report for study in run.studies if study.last_report is not None), default=run.began)
    finished = sum(study.state is StudyState.FINISHED for study in run.studies)
    return (
        run.name,
        str(experiment_status(run.studies, run.planned, run.driver)),
        f"{finished} of {run.planned}",
        str(sum(study.trials for study in run.studies)),
        _best(run.studies),
        "-" if last is None else f"{age(clock.time() - last)} ago",
    )


def _study_row(run: _Run, study: StudySummary) -> tuple[str, ...]:
    from tuning.report.status import study_status

    state = str(study_status(study, run.driver))
    return run.name, study.strategy, str(study.seed), state, str(study.trials), _best([study])


def _best(studies: Sequence[StudySummary]) -> str:
    """The best validation score of `studies`, which share a metric."""
    scores = [study.best for study in studies if study.best is not None]
    if not scores:
        return "-"
    return f"{studies[0].metric} {(max if studies[0].mode == 'max' else min)(scores):.4f}"


def age(seconds: float) -> str:
    """'40 s', '12 min', '5 h', '3 days'."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def print_columns(rows: Sequence[Sequence[str]], indent: int = 0) -> None:
    """Each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(f"{' ' * indent}{'  '.join(cells)}".rstrip())
