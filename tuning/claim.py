"""The first stage of a run: the run folder becomes this process's alone, and holds the resolved spec.

In: a spec and its locked storage. Out: a `Claimed`, which the later stages of `tuning.experiment` work with.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tuning.run_folder.folder import claim_run_folder, release_if_unused, with_extensions
from tuning.run_folder.run_storage import RunStorage
from tuning.selection.read_plan import read_plan
from tuning.spec.models import ExperimentSpec
from tuning.store.study_store import StudyStore
from tuning.study.resume import StudyPlan
from tuning.tracking.tracking import Tracking


@dataclass(frozen=True)
class Claimed:
    """An experiment that no other process can run now.

    Args:
        spec: as it stands in the run folder, extensions included.
        storage: where the run lies.
        store: where it is recorded.
        tracking: W&B, if it is used.
        progress: True: tell on standard output what happens.
        resume, force: see `run_experiment`.
    """

    spec: ExperimentSpec
    storage: RunStorage
    store: StudyStore
    tracking: Tracking
    progress: bool
    resume: bool
    force: bool

    def say(self, line: str) -> None:
        """Print a line that begins with the experiment's name."""
        self.print(f"{self.spec.name}: {line}")

    def print(self, *lines: str) -> None:
        """Print lines; if nobody reads them any more the run goes on: its results are in the store."""
        with contextlib.suppress(OSError):
            for line in lines if self.progress else ():
                print(line, flush=True)

    def plan(self) -> tuple[StudyPlan, ...]:
        """Decide, from what is recorded and saved now, what is kept and what is owed; see `read_plan`."""
        return read_plan(self.spec, self.storage, self.store)


@contextlib.contextmanager
def claim(
    spec: ExperimentSpec,
    storage: RunStorage,
    tracking: Tracking,
    progress: bool,
    *,
    resume: bool,
    force: bool,
    trust_fetched: bool,
    fresh: bool,
) -> Iterator[Claimed]:
    """Make the run folder, or check that the one to be resumed is this spec's.

    A new run that is refused before it has recorded anything leaves no spec in the way of the next one.

    Raises:
        RunFolderError, StoreError: see `run_experiment`.
    """
    claimed = Claimed(spec, storage, StudyStore(spec.store_url), tracking, progress, resume, force)
    claim_run_folder(spec, resume=resume, force=force, trust_fetched=trust_fetched, fresh=fresh, say=claimed.say)
    if resume:
        claimed = replace(claimed, spec=with_extensions(spec))
    claimed.say(f"recorded in {spec.run_folder}; {spec.cluster.way_in}")
    with contextlib.nullcontext() if resume else release_if_unused(spec):
        yield claimed
