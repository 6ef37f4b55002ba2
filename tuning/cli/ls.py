"""`tunefleet ls`: the experiments and studies that were run, and what there is to choose from."""

from __future__ import annotations

from collections.abc import Iterable

import click

from tuning.cli.command import Command
from tuning.cli.exit_status import SUCCESS
from tuning.cli.output import print_columns, print_message
from tuning.cli.parameters import storage_option, store_option
from tuning.report.listing import EXPERIMENT_COLUMNS, STUDY_COLUMNS, ListedExperiment, listed_experiments

LISTED = ("experiments", "studies", "strategies", "tasks", "presets")


@click.command(cls=Command)
@click.argument(
    "what",
    type=click.Choice(LISTED),
    metavar="[WHAT]",
    required=False,
    help=f"{', '.join(LISTED[:-1])} or {LISTED[-1]} (default: all but the studies)",
)
@storage_option
@store_option
def ls_command(what: str | None, storage: str, store: str | None) -> int:
    """List the experiments that were run, and the strategies, tasks and presets."""
    if what == "studies":
        _print_studies(storage, store)
    if what in (None, "experiments"):
        _print_experiments(storage, store, indent=2 if what is None else 0)
    for name in ("strategies", "tasks", "presets"):
        if what is None:
            print(f"{name}:")
        if what in (None, name):
            print_columns(sorted(_choices(name)), indent=2 if what is None else 0)
    return SUCCESS


def _choices(kind: str) -> Iterable[tuple[str, str]]:
    """The names of that kind that a spec can give, each with a line about it."""
    from trainables.tasks import find_tasks
    from tuning.spec.file import presets
    from tuning.strategies import find_strategies

    if kind == "strategies":
        return ((name, (found.__doc__ or "").partition("\n")[0]) for name, found in find_strategies().items())
    if kind == "tasks":
        return ((name, task.summary) for name, task in find_tasks().items())
    return presets().items()


def _print_experiments(storage: str, store: str | None, indent: int) -> None:
    if rows := [experiment.row() for experiment in _found(storage, store)]:
        if indent:
            print("experiments:")
        print_columns([EXPERIMENT_COLUMNS, *rows], indent=indent)
    elif not indent:
        _report_none(storage, store)
    else:
        print("experiments:\n  none yet; start one with `tunefleet run quickstart`")


def _print_studies(storage: str, store: str | None) -> None:
    experiments = _found(storage, store)
    if rows := [row for experiment in experiments for row in experiment.study_rows()]:
        print_columns([STUDY_COLUMNS, *rows])
    elif not experiments:
        _report_none(storage, store)


def _found(storage: str, store: str | None) -> list[ListedExperiment]:
    """Every experiment; one that cannot be read is among them, and named on standard error."""
    experiments = list(listed_experiments(storage, store))
    for experiment in experiments:
        if experiment.problem is not None:
            print_message(f"{experiment.name}: {experiment.problem}")
    return experiments


def _report_none(storage: str, store: str | None) -> None:
    where = "in this store" if store else f"in {storage} (--storage names another folder)"
    print_message(f"no experiment {where}; start one with `tunefleet run`")
