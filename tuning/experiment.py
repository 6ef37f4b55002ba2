"""Runs an experiment: claim, search, select, test. The only module that knows the order of these stages.

In: a spec. Out: the experiment's outcome; each stage leaves what it found in the study store and in the run folder, and
the next one starts from there:

    claim    the run folder is this process's alone, and holds the resolved spec
    search   every study that has not finished, under Ray Tune: side by side where one leaves slots free
    select   with `confirm:` the best configurations of each study, trained anew with seeds of their own
    test     the chosen models, scored once on the test split

What a resume does is one decision, `tuning.study.resume.plan`, made before a stage starts anything.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.session import connect
from trainables.lookup import trainable_kind
from tuning.checkpoints.storage_needs import require_storage
from tuning.claim import Claimed, claim
from tuning.earlier_trials import earlier_lines, require_same_rows, with_earlier_trials
from tuning.extended_spec import with_another_seed
from tuning.outcome import ExperimentOutcome
from tuning.report.data_summary import data_lines
from tuning.run_folder.provenance import provenance_of, refuse_other_provenance
from tuning.run_folder.run_storage import locked_run_storage
from tuning.selection.evaluations import (
    evaluation_ids,
    lacks_test_rows,
    other_evaluations,
    record_evaluations,
    record_test_rows,
    refuse_other_test_rows,
)
from tuning.spec.loading import load_spec
from tuning.spec.models import ExperimentSpec
from tuning.spec.validation.before_run import require_ending_warmups, require_runnable
from tuning.spec.validation.cautions import cautions
from tuning.study.compiled_code import compiled_code_folder
from tuning.study.data_check import CheckedData, check_data
from tuning.study.packing import pack_session
from tuning.study.precision import Decision, decide_precision
from tuning.study.resume import Search
from tuning.study.study import Study, run_order
from tuning.study.user_studies import add_to_user_studies, read_user_studies
from tuning.study.worker_imports import slot_imports
from tuning.supervision.stop_signals import stoppable
from tuning.tracking.tracking import Tracking
from tuning.tune_compat.settings import tune_settings

if TYPE_CHECKING:
    from cluster.session import Session


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
    """Run an experiment: search, confirm what the searches chose, score it on the test split.

    With `resume` only what is not finished is run. With `until: decided` seeds are added, one after the other.

    Args:
        spec: from `load_spec`, or what that takes: a YAML file, the name of a preset, a mapping.
        progress: show a live table (in a terminal or a notebook) or one line per report (elsewhere) on standard output.
        resume: go on in a run folder that exists; finished studies and finished trials are not run again.
        force: with `resume`, go on also with other versions of libraries, other code, or a spec file that was edited;
            never with another space, metric, budget or other data: what decides results by the spec stays.
        fresh: without `resume`, begin anew where an experiment of this name was run before: all that is left of that
            one, in the run folder and in the store, is removed. What never had a score is, without it, too.
        take_over: of a run in a bucket, or in a PostgreSQL store, go on also if a driver of another machine, or of a
            copy, seems to be alive; it stops.
        trust_fetched: with `resume`, go on also with what was fetched from a cluster, which may then run code here.

    Returns:
        All that was recorded; `compare` takes it.

    Raises:
        SpecError: all mistakes of a spec that had still to be loaded; or a trainable of the user's own cannot be
            imported, a model may not be fetched, an Optuna study of the user's cannot be read, or an experiment to
            start from does not agree.
        RunFolderError: the folder exists already (without `resume` and `fresh`), does not exist (with `resume`), is
            another spec's, is damaged, was fetched (without `trust_fetched`), was made with something else (without
            `force`), or another process runs the experiment.
        ClusterError: the cluster cannot be reached or cannot hold a trial.
        StoreError: the study store cannot be opened or written.
        RepeatedFailure: the first trials of a study failed alike; no other study was started after it.
        Interrupted: stopped from outside.
    """
    spec = load_spec(spec)
    if not resume:  # the spec may be that of another experiment, which was extended, or has started from others
        spec = spec.model_copy(update={"extended": (), "earlier": ()})
    tracking = Tracking.of(spec)  # before Ray starts: it takes the W&B key out of the environment
    require_runnable(spec)
    known = [] if resume else read_user_studies(spec)
    if not resume:
        spec = with_earlier_trials(spec)
    options = {"resume": resume, "force": force, "trust_fetched": trust_fetched, "fresh": fresh}
    with (
        locked_run_storage(spec, take_over=take_over) as storage,
        claim(spec, storage, tracking, progress, **options) as claimed,
    ):
        claimed.print(*known)
        with ready(claimed) as (session, studies):
            shared = search(claimed, studies, session)
            select(claimed, shared)
            test(claimed, shared)
            storage.save()
        outcome = claimed.store.load(spec.name)
        claimed.print(*add_to_user_studies(claimed.spec, outcome))
    if (more := with_another_seed(claimed.spec, outcome)) is None:
        return outcome
    claimed.say(
        f"undecided with {len(claimed.spec.seeds)} seeds; adds seed {more.seeds[-1]} for verdict {more.verdict_number}"
    )
    return run_experiment(more, progress=progress, resume=True, force=force, trust_fetched=trust_fetched)


@contextlib.contextmanager
def ready(claimed: Claimed) -> Iterator[tuple[Session, list[Study]]]:
    """Join or start Ray, as the spec declares it, and plan the studies whose search is owed, in their order.

    Raises:
        ClusterError: see `cluster.session.connect`.
        RunFolderError, StoreError: what is recorded or saved cannot be gone on with.
    """
    spec, studies = claimed.spec, list[Study]()

    def prepare() -> None:
        """Import libraries and plan, which takes a second or two and needs no Ray that runs."""
        import tuning.selection.test_scoring
        import tuning.study.study_runner  # noqa: F401

        studies.extend(owed_studies(claimed))

    trains = spec.trainable == "finetune" or trainable_kind(spec.trainable) == "factory"
    connected = connect(
        spec.cluster,
        run_folder=spec.run_folder,
        modules=spec.own_modules,
        imports=slot_imports(trains=trains),  # torch and transformers; else who knows what a trial needs
        compiled=compiled_code_folder(spec),
        reads=spec.local_inputs,
        prepare=prepare,
    )
    with (
        tune_settings(),
        stoppable(),  # while Ray starts
        connected as session,
        stoppable(),  # and again: Ray has put its own handler in place
    ):
        yield session, studies


def owed_studies(claimed: Claimed) -> Iterator[Study]:
    """Yield what is to be searched: of a resume by its plan, else every study of the spec.

    Raises:
        RunFolderError: what is recorded was made with something else (without `force`), or cannot be gone on with.
        StoreError: the store is damaged.
    """
    spec = claimed.spec
    strategies = {strategy.name: strategy for strategy in spec.strategies}
    if not claimed.resume:
        yield from (Study.of(spec, strategy, seed) for strategy, seed in run_order(spec))
        return
    claimed.store.check()
    if not claimed.force:
        refuse_other_provenance([one.outcome for one in claimed.store.recorded(spec.name)], provenance_of(spec))
    for one in claimed.plan():
        if one.search is not Search.KEEP:
            yield Study.of(spec, strategies[one.study.strategy], one.study.seed, one)


def search(claimed: Claimed, studies: Sequence[Study], session: Session) -> Session:
    """Run the studies, after checks of what would make all of their trials fail; returns Ray as the trials share it.

    Raises:
        ClusterError, InputError: data, model, Trainer or room for checkpoints cannot be used.
        RepeatedFailure, Interrupted, StoreError: see `run_experiment`.
    """
    # Ray Tune takes a second to import: `ready` does that while the nodes of a cluster look at themselves.
    from tuning.study.study_runner import RunContext, run_studies, turns
    from tuning.study.trainer_check import require_trainer

    spec, store = claimed.spec, claimed.store
    measured = spec
    if (precision := decide(claimed, studies, session)) is not None:
        studies = [study.computing_in(precision.precision) for study in studies]
        measured = spec.model_copy(update={"precision": precision.precision})
    checked = read_data(claimed, studies, session)
    data = checked.summary if checked is not None and studies else None
    if checked is not None:
        require_same_rows(spec, checked.fingerprints)
    require_ending_warmups(spec, data)
    if studies:
        require_trainer(spec, session, claimed.say)
    claimed.print(*(() if data is None else data_lines(data, spec.resolved_objective().metric)))
    if checked is not None and spec.test:
        own = evaluation_ids(spec.name, [one.outcome for one in store.recorded(spec.name)]) if claimed.resume else ()
        claimed.print(*(f"WARNING {line}" for line in other_evaluations(spec, checked.rows, own).sentences()))
    session = pack_session(measured, session, [study.most_trials for study in studies], progress=claimed.progress)
    claimed.say(session.describe())
    if precision is not None:
        claimed.say(precision.line)
    claimed.print(claimed.tracking.describe())
    room = require_storage(spec, [study.plan for study in studies], session.slots)
    lines = (room, *turns(studies, session.slots), *(earlier_lines(spec) if studies else ()), *cautions(spec))
    claimed.print(*filter(None, lines))
    context = RunContext(
        session, store, claimed.storage, claimed.tracking, data, progress=claimed.progress, new=not claimed.resume
    )
    run_studies(studies, context)
    if checked is not None and spec.test:
        record_test_rows(spec, store, checked.rows)
    else:  # a copy, or of another machine: the ledger here may not know its evaluations
        record_evaluations(spec, store, evaluation_ids(spec.name, store.load(spec.name).studies))
    return session


def decide(claimed: Claimed, studies: Sequence[Study], session: Session) -> Decision | None:
    """Return the precision of all trials; None if nothing is owed that computes, or the trainable has its own.

    Raises:
        RunFolderError: a node does not compute a recorded bf16 natively (without `force`).
        ClusterError: a node does not answer.
    """
    if not studies and not any(plan.trainings or plan.test for plan in claimed.plan()):
        return None
    spec, store = claimed.spec, claimed.store
    recorded = [one.outcome for one in store.recorded(spec.name)] if claimed.resume else ()
    return decide_precision(spec, session, recorded, force=claimed.force)


def read_data(claimed: Claimed, studies: Sequence[Study], session: Session) -> CheckedData | None:
    """Return the data as a node reads them; None if no study needs them, or the trainable reads its own.

    Raises:
        InputError: the rows cannot be used, or the test rows are others than those that are recorded.
    """
    spec, store = claimed.spec, claimed.store
    if not studies and not lacks_test_rows(spec, store):
        return None
    checked = check_data(spec, session, claimed.say)
    if claimed.resume and checked is not None and spec.test:
        refuse_other_test_rows(spec, store, checked.rows)
    return checked


def select(claimed: Claimed, session: Session) -> None:
    """With `confirm:`, train the best configurations of each study anew, as far as that is owed.

    Raises: see `tuning.selection.confirm.confirm_studies`.
    """
    from tuning.selection.confirm import confirm_studies  # Ray: see `search`

    spec, store = claimed.spec, claimed.store
    if spec.confirm is not None:
        confirm_studies(spec, claimed.plan(), session, store, claimed.storage, claimed.say)


def test(claimed: Claimed, session: Session) -> None:
    """Score the chosen models on the test split, as far as that is owed.

    Raises: see `tuning.selection.test_scoring`.
    """
    from tuning.selection.test_scoring import score_confirmed, score_searched  # Ray: see `search`

    spec, store = claimed.spec, claimed.store
    if spec.confirm is not None:
        score_confirmed(spec, claimed.plan(), session, store, claimed.storage, claimed.say)
    elif spec.test:
        score_searched(spec, claimed.plan(), session, store, claimed.storage)
