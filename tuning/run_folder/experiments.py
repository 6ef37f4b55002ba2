"""Finds the run folder and the store of an experiment from its name, spec file, run folder or URI.

Reads only spec files. From a bucket, the spec and a copy of the store are downloaded to this machine.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.spec import ClusterSpec
from cluster.storage import is_uri
from trainables.errors import nearest
from trainables.machine.disk import write_whole
from tuning.run_folder.bucket import RunBucket, bucket_names, split_uri
from tuning.spec.file import parse, read_spec_text
from tuning.spec.models import SPEC_FILE, STORE_FILE, STORE_VARIABLE
from tuning.spec.store_url import sqlite_url

if TYPE_CHECKING:
    from tuning.outcome import ExperimentOutcome


class UnknownExperiment(ValueError):
    """There is no run folder with that name."""


def experiment_names(storage: str | Path) -> list[str]:
    """Returns the names of the experiments below `storage`, sorted.

    Raises:
        ClusterError: it is a bucket that cannot be read.
    """
    if is_uri(str(storage)):
        return bucket_names(str(storage))
    return sorted(path.parent.name for path in Path(storage).expanduser().glob(f"*/{SPEC_FILE}"))


def find_experiment(experiment: str, storage: str | Path) -> Path:
    """Returns the absolute run folder; for an experiment in a bucket, the working folder here, with its spec.

    Args:
        experiment: its name, its spec file, or the path or the URI of its run folder.
        storage: where the run folders are, for a name.

    Raises:
        UnknownExperiment: there is none.
        ClusterError: it is in a bucket that cannot be read.
    """
    given, (experiment, storage) = experiment, _by_name(experiment, storage)
    if (bucket := _bucket_of(experiment, storage)) is not None:
        if (text := bucket.spec()) is not None:
            write_whole(bucket.make_folder() / SPEC_FILE, text.encode())  # a run on this machine may read it now
            return bucket.folder
    else:
        for folder in (Path(storage).expanduser() / experiment, Path(experiment).expanduser()):
            if (folder / SPEC_FILE).is_file():
                return folder.absolute()
    searched, name = split_uri(experiment) if is_uri(experiment) else (storage, experiment)
    known = experiment_names(searched)
    hint = nearest(name, known) if known else "there is none; give --storage where it is elsewhere"
    if given != experiment:
        hint = f"`tunefleet run {given}` runs it; {hint}"
    raise UnknownExperiment(f"{name!r}: no experiment of that name in {_storage_text(searched)}; {hint}")


def _storage_text(storage: str | Path) -> str:
    return str(storage) if is_uri(str(storage)) else str(Path(storage).expanduser().absolute())


def _by_name(experiment: str, storage: str | Path) -> tuple[str, str | Path]:
    """Returns `experiment` and `storage`; for a spec file, the name in it, and its storage unless another is given."""
    path = Path(experiment).expanduser()
    if is_uri(experiment) or path.suffix not in (".yaml", ".yml") or not path.is_file():
        return experiment, storage
    if path.name == SPEC_FILE:  # of a run folder
        return str(path.absolute().parent), storage
    raw = parse(read_spec_text(path), experiment)
    if not isinstance(name := raw.get("name"), str):
        raise UnknownExperiment(f"{experiment!r}: is a file without the name of an experiment; give the name")
    cluster = raw.get("cluster")
    own = cluster.get("storage") if isinstance(cluster, dict) else None
    return name, str(own) if own is not None and str(storage) == ClusterSpec().storage else storage


def experiment_name(experiment: str) -> str:
    """Returns the name of an experiment from that name, its spec file, or the path or URI of its run folder."""
    return split_uri(experiment)[1] if is_uri(experiment) else Path(_by_name(experiment, "")[0]).name


def storage_of(experiment: str, storage: str | Path) -> str:
    """Returns the `cluster.storage` with which a resume finds the experiment now, also if it was moved.

    Raises:
        UnknownExperiment: there is no such experiment.
        ClusterError: it is in a bucket that cannot be read.
    """
    folder = find_experiment(experiment, storage)
    if is_uri(experiment):
        return split_uri(experiment)[0]
    _, storage = _by_name(experiment, storage)
    return str(storage if is_uri(str(storage)) else folder.parent)


def find_run(experiment: str, storage: str | Path) -> tuple[Path, RunBucket | None]:
    """Returns the run folder, as `find_experiment` does, and the run's bucket if it lies in one.

    Raises:
        UnknownExperiment: there is no such experiment.
        ClusterError: it is in a bucket that cannot be read.
    """
    return find_experiment(experiment, storage), _bucket_of(*_by_name(experiment, storage))


def find_store(experiment: str, storage: str | Path) -> str:
    """Returns the URL of the store that the run of `experiment` records into; it may hold a password.

    For a run in a bucket that records into a SQLite file it is the URL of a copy, at most as old as Tune's last
    snapshot. The spec is not checked: its data may be on another machine.

    Raises:
        UnknownExperiment: there is no run folder.
        SpecError: its spec is no YAML.
        ClusterError: it is in a bucket that cannot be read.
    """
    location = store_location(experiment, storage)
    return sqlite_url(location) if isinstance(location, Path) else location


def load_experiment(experiment: str, storage: str | Path, store: str | None = None) -> tuple[ExperimentOutcome, str]:
    """Loads all that is recorded of an experiment; returns it with the resolved spec, as YAML.

    Args:
        experiment, storage: as for `find_experiment`.
        store: the URL of the store; default: the one that its run records into.

    Raises:
        StoreError: it is in no store, or the store cannot be read.
        UnknownExperiment, SpecError, ClusterError: see `find_store`.
    """
    from tuning.store.study_store import StudyStore

    name = experiment_name(experiment)
    with contextlib.closing(StudyStore(store or find_store(experiment, storage))) as opened:
        return opened.load(name), opened.spec(name)


def store_location(experiment: str, storage: str | Path) -> str | Path:
    """Returns the store that `find_store` finds: the path of the run's own file, or the URL of another store.

    Raises:
        UnknownExperiment, SpecError, ClusterError: see `find_store`.
    """
    folder = find_experiment(experiment, storage)
    raw = parse(read_spec_text(folder / SPEC_FILE), str(folder / SPEC_FILE))
    if url := raw.get("store") or os.environ.get(STORE_VARIABLE):
        return str(url)
    if (bucket := _bucket_of(*_by_name(experiment, storage))) is None:
        return folder / STORE_FILE
    copy = folder / "read" / STORE_FILE  # not the working copy, to which a run on this machine may write
    bucket.store.fetch(copy)
    return copy


def _bucket_of(experiment: str, storage: str | Path) -> RunBucket | None:
    if is_uri(experiment):
        return RunBucket(*split_uri(experiment))
    return RunBucket(str(storage), experiment) if is_uri(str(storage)) else None
