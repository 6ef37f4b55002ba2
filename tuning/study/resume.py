"""What a resumed run finds of the runs before it: the studies in the store, and where Tune goes on in one of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from cluster.storage import StorageError
from tuning.errors import RunFolderError
from tuning.outcome import StudyOutcome
from tuning.store.study_store import StudyStore, StudyWriter
from tuning.study.study import Study
from tuning.tune_compat.snapshots import Snapshots

logger = logging.getLogger(__name__)


def recorded_studies(store: StudyStore, experiment: str) -> Sequence[StudyOutcome]:
    """The studies so far; none where the run was stopped before anything was recorded.

    Raises:
        StoreError: the store is damaged.
    """
    store.check()
    return store.load(experiment).studies if experiment in store.experiments() else ()


def to_go_on_from(study: Study, snapshots: Snapshots, writer: StudyWriter) -> bool:
    """Whether Tune has saved the study before; then what it goes on from is where it looks for it.

    Raises:
        RunFolderError: it has, and nothing of that is whole.
        StoreError: the store has lost what the snapshot knows.
    """
    name = f"{study.strategy.name}, seed {study.seed}"
    try:
        found, said = snapshots.newest()
        if found is None:
            return False
        writer.require_events(found.positions)
        if said:
            told = "%s: %s: %d reports are told again, where their checkpoints are whole, or trained again"
            logger.warning(told, name, said, writer.reports_after(found.positions))
        snapshots.restore(found)
    except RunFolderError as error:
        raise RunFolderError(f"{name}: {error}") from None
    except OSError as error:
        raise StorageError(f"{name}: cluster.storage: the study's snapshots cannot be used: {error}") from error
    return True
