"""Refuses to go on with a run folder that does not know what its study store holds.

The folder's spec names the seeds and strategies, the store what was seen of them. Where both lie in one folder they go
together; a PostgreSQL store may serve several copies of a folder, of which one was extended.
"""

from __future__ import annotations

import contextlib

from tuning.errors import RunFolderError
from tuning.spec.models import SPEC_FILE, STORE_FILE, ExperimentSpec, study_name
from tuning.spec.store_url import sqlite_url
from tuning.store.study_store import StudyStore


def refuse_unseen_records(kept: ExperimentSpec, spec: ExperimentSpec, *, grows: bool) -> None:
    """Check that the run folder's spec names all that is recorded, and that an extension counts what may be seen of it.

    Args:
        kept: the spec in the run folder.
        spec: that of the run.
        grows: true if it extends `kept`.

    Raises:
        RunFolderError: studies are recorded that `kept` does not name; or a test score is recorded, which the extension
            does not count as seen.
        StoreError: the store is damaged, or cannot be read.
    """
    if not grows and spec.store_url == sqlite_url(spec.run_folder / STORE_FILE):
        return
    with contextlib.closing(StudyStore(spec.store_url)) as store:
        store.check()
        if spec.name not in store.experiments():
            return
        outcome = store.load(spec.name)
    named = {(strategy.name, seed) for strategy in kept.strategies for seed in kept.seeds}
    if unknown := [study for study in outcome.studies if (study.strategy, study.seed) not in named]:
        names = ", ".join(study_name(study.strategy, study.seed) for study in unknown)
        raise RunFolderError(
            f"name: {spec.name}: {store.shown} holds studies that {spec.run_folder / SPEC_FILE} does not name: {names}."
            " The experiment was extended in another copy of this folder; go on in that one"
        )
    if grows and outcome.has_test_score and not spec.extended[-1].judged:
        raise RunFolderError(
            f"name: {spec.name}: has got a test score that this extension does not count: see it with `tunefleet "
            f"resume {spec.resumed_as}`, then extend it again"
        )
