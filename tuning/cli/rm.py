"""`tunefleet rm`: an experiment is removed, with its run folder and its studies in the store."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from trainables.errors import InputError
from tuning.cli.command import Command
from tuning.cli.exit_status import FAILED, SUCCESS
from tuning.cli.parameters import experiment_argument, storage_option, store_option
from tuning.run_folder.experiments import UnknownExperiment, experiment_name, find_run


@click.command(cls=Command)
@experiment_argument
@click.option("--yes", is_flag=True, help="remove it without a question")
@storage_option
@store_option
def rm_command(experiment: str, yes: bool, storage: str, store: str | None) -> int:
    """Remove an experiment: its run folder, its checkpoints, its studies in the store."""
    from tuning.run_folder.removal import ExperimentRemoval
    from tuning.run_folder.shipped_removal import ShippedRemoval

    name = experiment_name(experiment)
    try:
        folder, bucket = find_run(experiment, storage)
    except UnknownExperiment:
        if store is None:
            raise
        folder, bucket = None, None  # its studies alone: the run folder is gone, or on another machine
    with _held(name, folder, str(bucket.uri) if bucket else "", store):
        if bucket is not None and folder is not None:
            from tuning.spec.models import STORE_FILE

            bucket.store.update_working_copy(folder / STORE_FILE)
        remains = ExperimentRemoval.of(name, folder, bucket, store)
        if remains.nothing:
            raise UnknownExperiment(f"{name!r}: neither in {storage} nor in that store; `tunefleet ls` shows")
        shipped = None if folder is None else ShippedRemoval.of(folder, bucket)
        for line in (*remains.lines(), *(shipped.lines() if shipped else ())):
            print(line, flush=True)
        if not yes and not _confirmed():
            print("nothing is removed")
            return FAILED
        remains.remove()
        if shipped:
            shipped.remove()
    print(f"{name} is removed")
    return SUCCESS


@contextlib.contextmanager
def _held(name: str, folder: Path | None, uri: str, store: str | None) -> Iterator[None]:
    """Keep others from running the experiment in the block, here or in a copy of its run folder.

    Args:
        name: of the experiment.
        folder: its run folder; None: there is none here, but a store.
        uri: of its run folder in a bucket; empty: it lies in none.
        store: the URL of its store; None: the one that the run folder's spec names.
    """
    from tuning.run_folder.bucket import split_uri
    from tuning.run_folder.lease import held_lease
    from tuning.run_folder.removal import store_recorded_in
    from tuning.run_folder.run_lock import run_lock
    from tuning.run_folder.store_lock import store_lock
    from tuning.spec.store_url import sqlite_file

    with contextlib.ExitStack() as stack:
        if folder is not None:
            storage = split_uri(uri)[0] if uri else str(folder.parent)
            lock = stack.enter_context(run_lock(folder, name))
            stack.enter_context(held_lease(storage, name, lock, take_over=False))
            store = store or store_recorded_in(folder)
        if store is not None and ((file := sqlite_file(store)) is None or file.is_file()):
            stack.enter_context(store_lock(store, name, folder))
        yield


def _confirmed() -> bool:
    """True if the person at the terminal answers yes.

    Raises:
        InputError: there is no terminal.
    """
    if not sys.stdin.isatty():
        raise InputError(
            "--yes", "not given", "without a terminal nobody can confirm it", "add --yes to remove all of it"
        )
    return input("Remove all of this? It cannot be undone. [y/N] ").strip().lower() in ("y", "yes")
