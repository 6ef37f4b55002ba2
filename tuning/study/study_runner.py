"""One study after the other under Ray Tune: product(strategy, seed) -> `tune.run`, with who listens to it."""

from __future__ import annotations

import contextlib
import functools
import posixpath
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from cluster.ray_compat.leaks import LeakCheck
from trainables.checkpoints.policy import CheckpointPolicy
from trainables.lookup import is_training
from trainables.tasks.summary import DataSummary
from trainables.worker.slot import make_trainable
from trainables.worker.team import builder, workers_for
from tuning.checkpoints.keeper import CheckpointKeeper
from tuning.checkpoints.study_states import open_states
from tuning.errors import Interrupted, RepeatedFailure
from tuning.run_folder.provenance import provenance_of
from tuning.run_folder.run_storage import RunStorage
from tuning.spec.models import ExperimentSpec
from tuning.store.study_store import StudyStore, StudyWriter
from tuning.strategies import Plan
from tuning.study.budget_tracker import BudgetTracker
from tuning.study.packing import sharing_record
from tuning.study.progress import Progress
from tuning.study.recorder import Recorder
from tuning.study.resume import to_go_on_from
from tuning.study.study import Study
from tuning.supervision.stopping import stopped_during
from tuning.supervision.supervisor import StudySupervisor
from tuning.supervision.watchdog import heartbeat_of
from tuning.tracking.tracking import Tracking
from tuning.tune_compat.controller import use_controller
from tuning.tune_compat.settings import snapshot_period
from tuning.tune_compat.snapshots import Snapshots
from tuning.tune_compat.tune_run import NoProgressLines, no_reporter, slot_environment, uncounted_callbacks

if TYPE_CHECKING:
    from cluster.session import Session


def run_studies(
    spec: ExperimentSpec,
    studies: Sequence[Study],
    session: Session,
    store: StudyStore,
    place: RunStorage,
    tracking: Tracking,
    *,
    data: DataSummary | None = None,
    progress: bool,
    new: bool,
) -> None:
    """Run or continue `studies`, all of `spec`, in their order; see `run_study`."""
    workers = workers_for(spec.trainable, session.resources.gpus)
    told: dict[str, str] = {}
    for study in studies:
        session.warm_up(study.most_trials, slot_environment(), workers)
        run_study(study, session, store, place, tracking, data=data, progress=progress, new=new, told=told)


def turns(studies: Sequence[Study], slots: int) -> Iterator[str]:
    """A line for each strategy whose population leaves slots waiting."""
    for name, population in {study.strategy.name: study.plan.population for study in studies}.items():
        if population is not None and (told := population.turns(slots)):
            yield f"{name}: {told}"


def trial_folder(trial: Any) -> str:
    """The name of a trial's folder below the study's."""
    return str(trial.trial_id)


def run_study(
    study: Study,
    session: Session,
    store: StudyStore,
    place: RunStorage,
    tracking: Tracking,
    *,
    data: DataSummary | None = None,
    progress: bool,
    new: bool = False,
    told: dict[str, str] | None = None,
) -> None:
    """Run or continue one study (unless it has to be `new`); returns when every trial has ended.

    Args:
        data: what its data came to, for the record.
        told: see `Progress`.

    Raises:
        StoreError: the store cannot be written, or holds a study that should be new.
        FailedAlike: its first trials have failed alike; a resume runs them again.
        Interrupted: stopped before that.
        RunFolderError: there is something to continue, but it is damaged, or Tune cannot go on from it.
    """
    session = study.held(session if session.address is None else session.refreshed())
    storage, folder = place.checkpoint_storage(study.name), place.tune_folder(study.name)
    writer = _open(study, session, store, new=new)
    if data is not None:
        writer.set_data(data)
    snapshots = Snapshots(storage, folder)
    resume = to_go_on_from(study, snapshots, writer)
    before = store.load(study.spec.name).study(study.strategy.name, study.seed)
    plan, trial = study.plan, study.trial
    assert trial.objective is not None
    spending = BudgetTracker(study.limit, session.slots, session.devices_per_trial, before, writer.interrupted_at)
    recorder = Recorder(writer, study.spec.space_of(study.strategy), storage, spending, study.spec.alike_failures)
    objective, name = trial.objective, study.strategy.name
    drawn = Progress(name, study.seed, plan.trials, trial.epochs, objective, spending=spending, told=told)
    concurrency: int | None = session.limit
    pins: Callable[[], set[str]] = set
    if plan.population is not None:  # it keeps to the slots by itself
        plan.population.limit(concurrency)
        plan.population.report_exploits_to(recorder.record_exploit)
        concurrency, pins = None, plan.population.pinned
    limit = _limit(session, plan, spending)
    resumed_from = None if new else folder
    with open_states(study.spec, plan, study.folder, storage, session.slots, resumed_from) as (states, policy):
        keeper = CheckpointKeeper(
            before, pins, recorder.drop_checkpoint, states, study.spec.checkpoint.keep_best, storage
        )
        tracked = tracking.callbacks(study.strategy.name, study.seed)
        callbacks: list[Any] = [recorder, keeper, *place.callbacks(), *tracked, NoProgressLines()]
        try:
            with contextlib.ExitStack() as stack:
                if progress:
                    callbacks.append(stack.enter_context(contextlib.closing(drawn)))
                again = writer.stopped_for_failures
                tune = functools.partial(
                    _tune, study, session, folder, callbacks, concurrency, policy, resume=resume, again=again
                )
                stack.enter_context(contextlib.closing(snapshots))
                followed = use_controller(
                    StudySupervisor(recorder, recorder.record_loss, limit, heartbeat_of(study.spec)),
                    snapshots=snapshots,
                    name_trial=writer.name_trial,
                    fixed_members=plan.population is not None,
                )
                with snapshot_period(plan.trials, place.snapshot_seconds), followed, uncounted_callbacks():
                    stopped = stopped_during(tune)
            if stopped or not (spending.reached or recorder.ended >= study.most_trials):
                planned = "" if plan.trials is None else f" of {plan.trials}"
                raise Interrupted(
                    f"{study.strategy.name}, seed {study.seed}: stopped with {recorder.ended}{planned} trials ended; "
                    "everything is kept"
                )
        except RepeatedFailure as error:
            keeper.suspend()
            raise RepeatedFailure(f"{study.strategy.name}, seed {study.seed}: {error}\n  all logs: {folder}") from None
        except Exception as error:
            keeper.suspend()
            if (failure := recorder.failure) is None or failure is error:
                raise
            raise failure from failure.__cause__  # Tune makes an error of its own of it, with a traceback for a message
        recorder.end_unsaved()
        keeper.finish(folder)
    writer.finish()
    place.save()


def _limit(session: Session, plan: Plan, spending: BudgetTracker) -> Callable[[], int | None]:
    """Tells how many trials the cluster takes now, also everybody else; None where that stays as it is: of a local Ray.

    A population keeps to it by itself; Tune is then told None. Now and then the nodes are looked at for `leaks`: Tune,
    too, drops placement groups while they are made.
    """
    leaks = LeakCheck()

    def limit() -> int | None:
        leaks.look()
        if session.address is None:
            return None
        now = session.refreshed()
        spending.slots = now.slots
        if plan.population is None:
            return now.limit
        plan.population.limit(now.limit)
        return None

    return limit


def _tune(
    study: Study,
    session: Session,
    folder: str,
    callbacks: list[Any],
    concurrency: int | None,
    policy: CheckpointPolicy,
    *,
    resume: bool,
    again: bool,
) -> None:
    """`tune.run`, not `tune.Tuner`: its `restore` brings back pickled callbacks and a scheduler without its state.

    Args:
        again: failed trials of the snapshot run again.
    """
    from ray import tune
    from ray.tune.tune_config import ResumeConfig

    plan, trial = study.plan, study.trial
    by_class = is_training(trial.trainable)
    workers, heartbeat = workers_for(trial.trainable, session.resources.gpus), heartbeat_of(study.spec)
    make = builder(workers, heartbeat)
    tune.run(
        make_trainable(trial, devices=session.devices_per_trial, policy=policy, make=make, heartbeat=heartbeat),
        name=study.name,
        storage_path=posixpath.dirname(folder),
        storage_filesystem=policy.storage.filesystem,
        config=dict(plan.param_space),
        num_samples=study.most_trials,
        search_alg=plan.searcher,
        scheduler=plan.scheduler,
        max_concurrent_trials=concurrency,
        resources_per_trial=session.resources.to_ray(workers),
        checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=int(by_class), checkpoint_at_end=by_class),
        # A function that has told its last epoch has not returned yet: PBT would still take it for a living member.
        stop=None if by_class else {"finished": True},
        max_failures=study.spec.max_failures,
        raise_on_failed_trial=False,
        reuse_actors=True,
        trial_dirname_creator=trial_folder,
        resume=resume,
        resume_config=ResumeConfig(errored=ResumeConfig.ResumeType.RESUME) if resume and again else None,
        callbacks=callbacks,
        progress_reporter=no_reporter(),
        verbose=0,
    )


def _open(study: Study, session: Session, store: StudyStore, *, new: bool) -> StudyWriter:
    spec, objective = study.spec, study.trial.objective
    assert objective is not None
    return store.open_study(
        experiment=spec.name,
        digest=spec.digest(),
        strategy=study.strategy.name,
        kind=study.strategy.kind,
        seed=study.seed,
        objective=objective,
        slots=session.slots,
        devices_per_trial=session.devices_per_trial,
        device=session.device,
        attributes=sharing_record(session) | study.seeds() | study.origins() | study.asked_by() | study.verdicts(),
        made_with=provenance_of(spec),
        spec_yaml=spec.to_yaml(),
        limit=study.limit,
        price=spec.budget.price.price if spec.budget.price else None,
        new=new,
    )
