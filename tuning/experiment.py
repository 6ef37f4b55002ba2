"""Runs an experiment, study by study, and leaves everything in the study store.

Nothing flows backward: what a study leaves behind is in the store and in the run folder, and compare, report and the
final scoring start from there. Ray Tune takes a second to import; that is done while the nodes of a cluster look at
themselves.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cluster.session import connect
from trainables.lookup import trainable_kind
from tuning.checkpoints.room import claimed_room
from tuning.outcome import ExperimentOutcome, StudyState
from tuning.report.data_summary import data_lines
from tuning.run_folder.folder import claim_run_folder, release_if_unused, with_extensions
from tuning.run_folder.provenance import provenance_of, refuse_other_provenance
from tuning.run_folder.run_storage import RunStorage, locked_run_storage
from tuning.spec.loading import load_spec
from tuning.spec.models import ExperimentSpec
from tuning.spec.validation.before_run import require_ending_warmups, require_runnable
from tuning.spec.validation.cautions import cautions
from tuning.store.study_store import StudyStore
from tuning.study.packing import packed
from tuning.study.resume import recorded_studies
from tuning.study.study import Study, in_order
from tuning.study.worker_imports import slot_imports
from tuning.supervision.stopping import stoppable
from tuning.tracking.tracking import Tracking
from tuning.tune_compat.settings import tune_settings


def run_experiment(
    spec: ExperimentSpec | str | Path | Mapping[str, Any],
    *,
    progress: bool = True,
    resume: bool = False,
    force: bool = False,
    take_over: bool = False,
    trust_fetched: bool = False,
    fresh: bool = False,
) -> ExperimentOutcome:
    """Run every study of `spec` that is not finished, then confirm what they chose and score it on the test split; with
    `until: decided` add seeds, one after the other.

    Args:
        spec: from `load_spec`, or what that takes: a YAML file, the name of a preset, a mapping.
        progress: show a live table (in a terminal or a notebook) or one line per report (elsewhere) on standard output.
        resume: go on in a run folder that exists; finished studies and finished trials are not run again.
        force: with `resume`, go on also with other versions of libraries, other code, or a spec file that was edited;
            never with another space, metric, budget or other data: what decides results by the spec stays.
        fresh: without `resume`, begin anew where an experiment of this name was run before: all that is left of that
            one, in the run folder and in the store, is removed. What never had a score is, without it, too.
        take_over: of a run in a bucket, go on also if a driver of another machine seems to be alive; it stops.
        trust_fetched: with `resume`, go on also with what was fetched from a cluster, which may then run code here.

    Returns:
        All that was recorded; `compare` takes it.

    Raises:
        SpecError: all mistakes of a spec that had still to be loaded; or a trainable of the user's own cannot be
            imported, or a model may not be fetched.
        RunFolderError: the folder exists already (without `resume` and `fresh`), does not exist (with `resume`), is
            another spec's, is damaged, was fetched (without `trust_fetched`), was made with something else (without
            `force`), or another process runs the experiment.
        ClusterError: the cluster cannot be reached or cannot hold a trial.
        StoreError: the study store cannot be opened or written.
        FailedAlike: the first trials of a study failed alike; no other study was started.
        Interrupted: stopped from outside.
    """
    spec = load_spec(spec)
    if not resume:  # the spec of another experiment, which has grown
        spec = spec.model_copy(update={"extended": ()})
    tracking = Tracking.of(spec)  # before Ray starts: it takes the W&B key out of the environment
    require_runnable(spec)
    with locked_run_storage(spec, take_over=take_over) as place:
        say = functools.partial(_say, spec.name) if progress else _keep_quiet
        claim_run_folder(spec, resume=resume, force=force, trust_fetched=trust_fetched, fresh=fresh, say=say)
        if resume:
            spec = with_extensions(spec)
        say(f"recorded in {spec.run_folder}; {spec.cluster.way_in}")
        outcome = _run_claimed(spec, place, tracking, say, progress=progress, resume=resume, force=force)
    from tuning.extension import with_another_seed

    if (more := with_another_seed(spec, outcome)) is None:
        return outcome
    say(f"undecided with {len(spec.seeds)} seeds; adds seed {more.seeds[-1]} for verdict {more.verdict_number}")
    return run_experiment(more, progress=progress, resume=True, force=force)


def _run_claimed(
    spec: ExperimentSpec,
    place: RunStorage,
    tracking: Tracking,
    say: Callable[[str], None],
    *,
    progress: bool,
    resume: bool,
    force: bool,
) -> ExperimentOutcome:
    store = StudyStore(spec.store_url)
    studies: list[Study] = []

    def prepare() -> None:
        """What needs no Ray that runs, and takes a second or two: libraries are imported."""
        import tuning.selection.test_scoring
        import tuning.study.study_runner  # noqa: F401

        recorded = recorded_studies(store, spec.name) if resume else ()
        if not force:
            refuse_other_provenance(recorded, provenance_of(spec))
        before = {(study.strategy, study.seed): study for study in recorded}
        asked = [(*one, before.get((one[0].name, one[1]))) for one in in_order(spec)]
        owed = [one for one in asked if one[2] is None or one[2].state is not StudyState.FINISHED]
        owed.sort(key=lambda one: one[2] is None)  # what was interrupted goes on first
        studies.extend(Study.of(spec, *one) for one in owed)

    trains = spec.trainable == "finetune" or trainable_kind(spec.trainable) == "factory"
    imports = slot_imports() if trains else None  # torch and transformers; else who knows what a trial needs
    with (
        contextlib.nullcontext() if resume else release_if_unused(spec),
        tune_settings(),
        stoppable(),  # while Ray starts
        connect(
            spec.cluster,
            run_folder=spec.run_folder,
            modules=spec.own_modules,
            imports=imports,
            reads=spec.local_inputs,
            prepare=prepare,
        ) as joined,
        stoppable(),  # and again: Ray has put its own handler in place
    ):
        from tuning.selection.looks import (
            looks_of,
            others_looked,
            record_looks,
            refuse_other_rows,
            remember_rows,
            unknown_rows_are_due,
        )
        from tuning.selection.test_scoring import finish_studies
        from tuning.study.data_look import data_look
        from tuning.study.study_runner import run_studies, turns
        from tuning.study.trainer_look import require_trainer

        looked = data_look(spec, joined, say) if studies or unknown_rows_are_due(spec, store) else None
        if resume and looked is not None and spec.test:
            refuse_other_rows(spec, store, looked.rows)
        data = looked.summary if looked is not None and studies else None
        require_ending_warmups(spec, data)
        if studies:
            require_trainer(spec, joined, say)
        for line in data_lines(data, spec.resolved_objective().metric) if data is not None and progress else ():
            _print(line)
        if looked is not None and spec.test and progress:
            own = looks_of(spec.name, recorded_studies(store, spec.name)) if resume else ()
            for line in others_looked(spec, looked.rows, own).sentences():
                _print(f"WARNING {line}")
        session = packed(spec, joined, [study.most_trials for study in studies], progress=progress)
        say(session.describe())
        if progress:
            _print(tracking.describe())
        room = claimed_room(spec, [study.plan for study in studies], session.slots)
        if progress:
            for line in filter(None, (room, *turns(studies, session.slots), *cautions(spec))):
                _print(line)
        run_studies(spec, studies, session, store, place, tracking, data=data, progress=progress, new=not resume)
        if looked is not None and spec.test:
            remember_rows(spec, store, looked.rows)
        else:  # a copy, or of another machine: the ledger here may not know its looks
            record_looks(spec, store, looks_of(spec.name, store.load(spec.name).studies))
        finish_studies(spec, session, store, place, say)
        place.save()
    return store.load(spec.name)


def _say(name: str, line: str) -> None:
    _print(f"{name}: {line}")


def _print(line: str) -> None:
    """Where nobody reads any more the run goes on: what it finds is in the store."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


def _keep_quiet(line: str) -> None:
    """For callers that want no progress."""
