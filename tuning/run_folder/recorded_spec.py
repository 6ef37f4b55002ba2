"""Loads the spec of an experiment that is to be continued from its run folder."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from tuning.run_folder.experiments import find_experiment, find_store, storage_of
from tuning.run_folder.files import ORIGIN
from tuning.run_folder.folder import refuse_changed, refuse_fetched
from tuning.spec.loading import load_spec
from tuning.spec.mistakes import SpecError
from tuning.spec.models import SPEC_FILE, ExperimentSpec
from tuning.store.study_store import StudyStore


def load_recorded_spec(
    experiment: str,
    storage: str | Path,
    overrides: Sequence[str] = (),
    *,
    force: bool = False,
    trust_fetched: bool = False,
) -> ExperimentSpec:
    """Return the spec in the run folder of `experiment`, with `overrides`.

    Args:
        experiment: its name, its spec file, or the path or the URI of its run folder.
        storage: where the run folders are, for a name.
        overrides: texts `key=value`.
        force: load also a spec that is damaged or was edited.
        trust_fetched: load also that of a run that was fetched from a cluster.

    Raises:
        UnknownExperiment: there is no such run folder.
        RunFolderError: it was fetched, or its spec file was edited, and nobody has allowed that.
        SpecError: it is no valid spec.
        ClusterError: it is in a bucket that cannot be read.
    """
    folder = find_experiment(experiment, storage)
    if not trust_fetched:
        refuse_fetched(folder)
    if not force:  # before it is read: a damaged one may be no spec any more, or another experiment's
        store = functools.partial(find_store, experiment, storage)
        refuse_changed(folder / SPEC_FILE, lambda: StudyStore(store()).spec(folder.name))
    here = f"cluster.storage={storage_of(experiment, storage)}"
    try:
        return load_spec(folder / SPEC_FILE, [here, *overrides])
    except SpecError as error:
        if (folder / ORIGIN).is_file():  # its data, or its model, may lie on the cluster alone
            error.add_note("it was fetched: on its cluster the same `tunefleet submit` goes on with --resume, --extend")
        raise
