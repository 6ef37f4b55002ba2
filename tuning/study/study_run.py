"""One study while it runs: its record, its checkpoints, its budget, and Tune's controller of its trials."""

from __future__ import annotations

import contextlib
import logging
import posixpath
import sys
from typing import TYPE_CHECKING, Any

from cluster.storage import StorageError
from trainables.checkpoints.policy import CheckpointPolicy
from trainables.lookup import is_training
from trainables.spec import Objective
from trainables.worker.slot import make_trainable
from trainables.worker.team import builder, workers_for
from tuning.checkpoints.keeper import CheckpointKeeper
from tuning.checkpoints.study_states import open_states
from tuning.errors import Interrupted, RepeatedFailure, RunFolderError
from tuning.run_folder.provenance import provenance_of
from tuning.store.study_writer import StudyWriter
from tuning.study.budget_tracker import BudgetTracker
from tuning.study.packing import sharing_record
from tuning.study.progress import Progress
from tuning.study.recorder import Recorder
from tuning.study.resume import Search
from tuning.study.run_context import RunContext
from tuning.study.study import Study
from tuning.supervision.supervisor import StudySupervisor
from tuning.supervision.watchdog import heartbeat_of
from tuning.tune_compat.slot_pool import Crew, SlotPool
from tuning.tune_compat.snapshots import DamagedSnapshot, Snapshots
from tuning.tune_compat.study_actors import StudyActors
from tuning.tune_compat.tune_run import TrialsPlan, make_controller

if TYPE_CHECKING:
    from tuning.tune_compat.controller import Controller

SLOT = "slot"  # processes of this kind compute trials of any study of an experiment

logger = logging.getLogger(__name__)


class StudyRun:
    """A study whose trials run or are about to: a `tuning.supervision.rounds.Work`.

    Args:
        study: to run or to continue; its record and Tune's folder are put back to where its resume plan goes on.
        context: of the run.
        pool: of the run's processes.

    Raises:
        StoreError: the store cannot be written, or holds a study that should be new.
        RunFolderError: there is something to continue, and Tune cannot go on from it.
    """

    def __init__(self, study: Study, context: RunContext, pool: SlotPool) -> None:
        self.study, self._context = study, context
        session = context.session
        self.session = study.held(session if session.address is None else session.refreshed())
        self._folder = context.storage.tune_folder(study.name)
        self._checkpoints = context.storage.checkpoint_storage(study.name)
        self._by_class = is_training(study.trial.trainable)
        self.ended = False
        with contextlib.ExitStack() as stack:
            self._writer = self._begin_record()
            self._snapshots = stack.enter_context(contextlib.closing(self._put_back()))
            resume, spec = study.resume, study.spec
            self._budget = BudgetTracker(study.limit, self.session.slots, self.session.devices_per_trial, resume.spent)
            self.recorder = Recorder(
                self._writer,
                spec.space_of(study.strategy),
                self._checkpoints,
                self._budget,
                spec.alike_failures,
                resume.unsaved,
            )
            states, policy = stack.enter_context(
                open_states(
                    spec,
                    study.plan,
                    study.folder,
                    self._checkpoints,
                    self.session.slots,
                    None if context.new else self._folder,
                )
            )
            population = study.plan.population
            if study.plan.online is not None:
                stack.callback(study.plan.online.close)
            self._keeper = CheckpointKeeper(
                _objective(study),
                self.recorder.drop_checkpoint,
                pinned=set if population is None else population.pinned,
                states=states,
                keep_best=spec.checkpoint.keep_best,
                storage=self._checkpoints,
                recorded=resume.checkpoints,
                goal=study.trial.goal,
            )
            if population is not None:
                population.report_exploits_to(self.recorder.record_exploit)
            callbacks = [
                self.recorder,
                self._keeper,
                *context.storage.callbacks(),
                *context.tracking.callbacks(study.strategy.name, study.seed, study.plan.online),
            ]
            if context.progress:
                callbacks.append(stack.enter_context(contextlib.closing(self._progress())))
            self._controller = self._make_controller(pool, policy, callbacks)
            self._open = stack.pop_all()

    # Called in rounds.

    @property
    def controller(self) -> Controller:
        """Tune's controller of its trials."""
        return self._controller

    @property
    def most_slots(self) -> int:
        """The number of slots that it may hold: any, if it searches."""
        return sys.maxsize if self.study.strategy.searches else self.session.slots

    def limit(self, trials: int) -> None:
        """Let a population train at most so many members at a time; other trials are started one by one."""
        if self.study.plan.population is not None:
            self.study.plan.population.limit(trials)

    @property
    def spare_slots(self) -> int:
        """The number of slots in which trials wait for others of their population.

        A function's trials keep theirs: such a process computes for no other study.
        """
        population = self.study.plan.population if self._by_class else None
        return 0 if population is None else population.spare_slots()

    def give_slot(self) -> bool:
        """Pause one of these trials; see `tuning.strategies.Population`."""
        return self.study.plan.population is not None and self.study.plan.population.give_slot()

    def charge(self, slots: int) -> None:
        """Charge the study for so many slots from now on."""
        if slots != self._budget.slots:
            self._budget.advance()
            self._budget.slots = slots

    def finish(self) -> None:
        """End the study after its trials.

        Raises:
            Interrupted: some of them have not ended.
            StorageError: the best weights cannot be written.
        """
        self.ended = True
        with self._open:
            self._controller.end()
            by_itself = self._budget.reached or self.study.plan.online is not None
            if not (by_itself or self.recorder.ended >= self.study.most_trials):
                self._keeper.suspend()
                raise Interrupted(self.interruption())
            self.recorder.end_unsaved()
            self._keeper.finish(self._folder)
        self._writer.finish()
        self._context.storage.save()

    # Called when the run ends before the study has.

    def interruption(self) -> str:
        """Return how far the study has come, for the error that ends the run."""
        trials = self.study.plan.trials
        planned = "" if trials is None else f" of {trials}"
        return f"{self._title}: stopped with {self.recorder.ended}{planned} trials ended; everything is kept"

    def suspend(self) -> None:
        """Save where the study is: a resume goes on from there."""
        self._controller.end()
        self._keeper.suspend()

    def abandon(self) -> None:
        """Leave the study as it was at its last snapshot: it, or what it is recorded in, has failed."""
        self._controller.cleanup()
        self._keeper.suspend()

    def close(self) -> None:
        """Free what the study holds besides processes: memory, the screen, threads."""
        self._open.close()

    def has_failed(self, error: Exception) -> bool:
        """True if `error`, which has ended the run, is this study's."""
        return self.recorder.failure is not None or (isinstance(error, RepeatedFailure) and self.recorder.stopping)

    def explained(self, error: Exception) -> Exception:
        """Return the error that has ended the run as the user is to see it."""
        if isinstance(error, RepeatedFailure):
            return RepeatedFailure(f"{self._title}: {error}\n  all logs: {self._folder}")
        # Tune makes an error of its own of what a callback raises, with a traceback for a message.
        return self.recorder.failure or error

    # How it is made.

    def _begin_record(self) -> StudyWriter:
        study, spec, context = self.study, self.study.spec, self._context
        writer = context.store.open_study(
            experiment=spec.name,
            digest=spec.digest(),
            strategy=study.strategy.name,
            kind=study.strategy.kind,
            seed=study.seed,
            objective=_objective(study) if study.trial.goal is None else study.trial.goal.objectives[0],
            slots=self.session.slots,
            devices_per_trial=self.session.devices_per_trial,
            device=self.session.device,
            attributes=sharing_record(self.session) | study.attributes(),
            made_with=provenance_of(spec),
            spec_yaml=spec.to_yaml(),
            limit=study.limit,
            price=spec.budget.price.price if spec.budget.price else None,
            goal=study.trial.goal,
            new=context.new,
        )
        if context.data is not None:
            writer.set_data(context.data)
        return writer

    def _put_back(self) -> Snapshots:
        """Put the study's record and Tune's folder back to where the resume plan goes on."""
        snapshots, resume = Snapshots(self._checkpoints, self._folder), self.study.resume
        if resume.warning:
            logger.warning("%s", resume.warning)
        if (name := resume.snapshot) is not None:
            try:
                snapshots.restore(name)
            except DamagedSnapshot as error:
                reason = f"{name} has been damaged since the run began: {error}. Resume again"
                raise RunFolderError(f"{self._title}: {reason}") from error
            except OSError as error:
                reason = f"cluster.storage: the study's snapshots cannot be used: {error}"
                raise StorageError(f"{self._title}: {reason}") from error
        for trial, position in resume.positions.items():
            self._writer.rewind(trial, position)
        return snapshots

    def _progress(self) -> Progress:
        study = self.study
        return Progress(
            study.strategy.name,
            study.seed,
            study.plan.trials,
            study.trial.epochs,
            _objective(study),
            budget=self._budget,
            shown_failures=self._context.shown_failures,
            screens=self._context.screens,
        )

    def _make_controller(self, pool: SlotPool, policy: CheckpointPolicy, callbacks: list[Any]) -> Controller:
        study, session, plan, trial = self.study, self.session, self.study.plan, self.study.trial
        workers, heartbeat = workers_for(trial.trainable, session.resources.gpus), heartbeat_of(study.spec)
        make = builder(workers, heartbeat, session.devices_per_trial)
        trials = TrialsPlan(
            name=study.name,
            trainable=make_trainable(
                trial, devices=session.devices_per_trial, policy=policy, make=make, heartbeat=heartbeat
            ),
            folder=posixpath.dirname(self._folder),
            filesystem=policy.storage.filesystem,
            resources=session.resources.to_ray(workers),
            callbacks=callbacks,
            most=study.most_trials,
            param_space=plan.param_space,
            searcher=plan.searcher,
            scheduler=plan.scheduler,
            checkpoints=self._by_class,
            # A function that has reported its last epoch has not returned yet: PBT would take it for a living member.
            stop=None if self._by_class else {"finished": True},
            max_failures=study.spec.max_failures,
            resume=self._resume_config(),
            snapshot_seconds=self._context.storage.snapshot_seconds,
        )

        def join(actor: Any) -> None:
            actor.join_study.remote(trial, policy)

        return make_controller(
            trials,
            supervisor=StudySupervisor(self.recorder, self.recorder.record_loss, heartbeat),
            actors=StudyActors(pool, Crew(study.name, SLOT if self._by_class else None, join)),
            snapshots=self._snapshots,
            name_trial=self._writer.name_trial,
            fixed_members=plan.population is not None,
        )

    def _resume_config(self) -> Any:
        from ray.tune import ResumeConfig

        resume = self.study.resume
        if resume.search is not Search.CONTINUE:
            return None
        return ResumeConfig(errored=ResumeConfig.ResumeType.RESUME) if resume.retry_failed else ResumeConfig()

    @property
    def _title(self) -> str:
        return f"{self.study.strategy.name}, seed {self.study.seed}"


def _objective(study: Study) -> Objective:
    assert study.trial.objective is not None  # load_spec fills it in
    return study.trial.objective
