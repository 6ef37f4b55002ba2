"""The folder of one experiment: claimed with the resolved spec in it, and never by another experiment."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from cluster.capacity import ClusterError
from tuning.spec import NOT_IN_DIGEST, SPEC_FILE, ExperimentSpec, load_spec
from tuning.store_url import StoreError


class RunFolderError(ValueError):
    """The run folder holds another experiment, or none to resume."""


@contextlib.contextmanager
def unclaimed_if_unused(spec: ExperimentSpec) -> Iterator[None]:
    """A run that its cluster or its store refuses at the start leaves no folder in the way of the next try."""
    try:
        yield
    except (ClusterError, StoreError):
        kept = spec.run_folder / SPEC_FILE
        if list(spec.run_folder.iterdir()) == [kept]:
            kept.unlink()
            spec.run_folder.rmdir()
        raise


def claim_run_folder(spec: ExperimentSpec, *, resume: bool) -> None:
    """Make the run folder with the resolved spec in it, or check that the one that exists is this spec's."""
    kept = spec.run_folder / SPEC_FILE
    if resume:
        if not kept.is_file():
            raise RunFolderError(
                f"name: {spec.name}: nothing to resume in {spec.run_folder}; start it with `tunefleet run`"
            )
        if (before := load_spec(kept)).digest() != spec.digest():
            old, new = before.model_dump(mode="json"), spec.model_dump(mode="json")
            keys = ", ".join(key for key in new if key not in NOT_IN_DIGEST and old[key] != new[key])
            raise RunFolderError(
                f"name: {spec.name}: {kept} is of another spec (different: {keys}); "
                "resume without changes, or choose another name for a new experiment"
            )
        return
    if kept.exists():
        raise RunFolderError(
            f"name: {spec.name}: {spec.run_folder} holds an experiment already; "
            f"go on with `tunefleet resume {spec.name}`, or choose another name (name=...)"
        )
    spec.run_folder.mkdir(parents=True, exist_ok=True)
    kept.write_text(spec.to_yaml())
