"""Reads what is recorded and what is saved of an experiment, and makes the resume plan of it.

In: the spec, the study store, the storage. Out: the plans of all studies. This is the I/O around the pure decision in
`tuning.study.resume`; it changes nothing. The stages of `tuning.experiment` all use it: the search of a resume, the
confirmations and the evaluation on test.
"""

from __future__ import annotations

from cluster.storage import StorageError
from tuning.outcome import StudyOutcome, StudyState
from tuning.run_folder.run_storage import RunStorage
from tuning.selection.candidates import planned_trainings
from tuning.spec.models import ExperimentSpec, study_name
from tuning.store.study_store import StudyStore
from tuning.study.resume import Saved, SpecifiedStudy, StudyPlan, plan
from tuning.study.study import run_order
from tuning.tune_compat.snapshots import find_snapshots


def read_plan(spec: ExperimentSpec, storage: RunStorage, store: StudyStore) -> tuple[StudyPlan, ...]:
    """Decide what is kept and what is owed of each study, from what is there now; see `tuning.study.resume.plan`.

    Raises:
        RunFolderError, StoreError: what is recorded or saved cannot be continued.
        StorageError: the storage cannot be read.
    """
    recorded = store.recorded(spec.name)
    outcomes = {(one.outcome.strategy, one.outcome.seed): one.outcome for one in recorded}
    trainings = planned_trainings(spec, outcomes.values())
    studies = [
        SpecifiedStudy(strategy.name, seed, trainings.get((strategy.name, seed), ()), spec.test)
        for strategy, seed in run_order(spec)
    ]
    finished = {key for key, outcome in outcomes.items() if outcome.state is StudyState.FINISHED}
    saved = {one.key: read_saved(storage, one, outcomes.get(one.key)) for one in studies if one.key not in finished}
    return plan(studies, recorded, saved, store.shown)


def read_saved(storage: RunStorage, study: SpecifiedStudy, recorded: StudyOutcome | None) -> Saved:
    """Look for Tune's snapshots of the study, and for the checkpoints that are recorded of it. Changes nothing.

    Raises:
        StorageError: the storage cannot be read.
    """
    name = study_name(study.strategy, study.seed)
    place = storage.checkpoint_storage(name)
    paths = [] if recorded is None else [path for trial in recorded.trials for path in trial.checkpoints.values()]
    try:
        there = frozenset(path for path in paths if place.exists(path.removeprefix(place.scheme)))
        return Saved(find_snapshots(place, storage.tune_folder(name)), there)
    except OSError as error:
        raise StorageError(
            f"{study.strategy}, seed {study.seed}: cluster.storage: the study's snapshots cannot be used: {error}"
        ) from error
