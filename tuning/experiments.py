"""Experiments that were run: from a name, or a run folder, to the folder and the store. Reads only their spec files."""

from __future__ import annotations

import os
from pathlib import Path

from trainables.errors import nearest
from tuning.spec import SPEC_FILE, STORE_FILE, STORE_VARIABLE
from tuning.spec_file import parse
from tuning.store_url import sqlite_url


class UnknownExperiment(ValueError):
    """No run folder of that name."""


def run_folders(storage: str | Path) -> list[Path]:
    """The run folders below `storage`, by name."""
    return sorted(path.parent for path in Path(storage).expanduser().glob(f"*/{SPEC_FILE}"))


def find_experiment(experiment: str, storage: str | Path) -> Path:
    """The absolute run folder.

    Args:
        experiment: its name, or the path of its run folder.
        storage: where the run folders are, for a name.

    Raises:
        UnknownExperiment: there is none.
    """
    for folder in (Path(storage).expanduser() / experiment, Path(experiment).expanduser()):
        if (folder / SPEC_FILE).is_file():
            return folder.absolute()
    known = [folder.name for folder in run_folders(storage)]
    hint = nearest(experiment, known) if known else "there is none; give --storage where it is elsewhere"
    raise UnknownExperiment(f"{experiment!r}: no experiment of that name in {storage}; {hint}")


def find_store(experiment: str, storage: str | Path) -> str:
    """The URL of the store that the run of `experiment` records into. May hold a password.

    The spec is not checked: its data may be on another machine.

    Raises:
        UnknownExperiment: there is no run folder.
        SpecError: its spec is no YAML.
    """
    folder = find_experiment(experiment, storage)
    raw = parse((folder / SPEC_FILE).read_text(encoding="utf-8"), str(folder / SPEC_FILE))
    return raw.get("store") or os.environ.get(STORE_VARIABLE) or sqlite_url(folder / STORE_FILE)
