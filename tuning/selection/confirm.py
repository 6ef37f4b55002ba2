"""Confirms a search (`confirm:`): trains the best configurations of each study from the start with several seeds.

In: the resume plans of the studies. Out: confirmations in the study store. The best score of a search is the luckiest
of many. So the winner of a study is chosen anew, by the mean validation score of trainings with new seeds; only then
its models are scored on the test split (`tuning.selection.test_scoring`). Each training is recorded as it ends: a crash
loses those that ran.

    STUDY/confirmed/RANK-SEED/    weights of a training, until the winner's are scored; then nothing is left
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from ray.exceptions import RayError

from trainables.checkpoints.manifest import CheckpointManifest
from trainables.checkpoints.replay import replay
from trainables.checkpoints.storage import Storage
from trainables.checksums import write_checksums
from trainables.errors import InputError
from trainables.machine import clock
from trainables.machine.device_memory import cap_device_memory, set_allocator
from trainables.progress import waiting
from trainables.reporting import validate_metrics
from trainables.spec import FineTuneSpec, Params, Value
from trainables.training import Training
from trainables.worker.job_slot import JobCall
from trainables.worker.team import WorkerDied
from tuning.outcome import Confirmation
from tuning.selection.candidates import Candidate, candidates, training_spec
from tuning.selection.schedules import segments_of, unseeded
from tuning.selection.training_jobs import JobLost, JobResult, TrainingJob, run_jobs
from tuning.spec.models import ExperimentSpec, study_name
from tuning.study.resume import Search, StudyPlan
from tuning.supervision.failures import TrialFailure

if TYPE_CHECKING:
    from cluster.session import Session
    from tuning.run_folder.run_storage import RunStorage
    from tuning.store.study_store import StudyStore

FOLDER = "confirmed"  # below the study's


class Trained(NamedTuple):
    """The result of a training."""

    seconds: float  # that its function took; 0 if its process died in it
    validation: dict[str, float] | None = None  # None: it failed
    provenance: Mapping[str, Value] = {}
    error: str | None = None


class TrainedWeights(NamedTuple):
    """A place for the weights of a training, with the manifest from which they can be trained again."""

    storage: Storage
    path: str
    manifest: CheckpointManifest

    def put(self, weights: Path) -> None:
        """Copy the local folder `weights` there."""
        if self.storage.filesystem is None:
            Path(self.path).mkdir(parents=True, exist_ok=True)
        self.storage.put(weights, self.path, self.manifest, weights_only=True)

    def drop(self) -> None:
        """Delete them; they may be gone already."""
        self.storage.delete(self.path, self.manifest)


class StudyConfirmation:
    """Leads one study from the end of its search to a winner.

    Args:
        spec: of the experiment, with `confirm`.
        plan: of the study: which trainings and whether an evaluation on test are owed.
        store: where it is recorded.
        storage: where the run lies.
    """

    def __init__(self, spec: ExperimentSpec, plan: StudyPlan, store: StudyStore, storage: RunStorage) -> None:
        assert spec.confirm is not None
        assert plan.recorded is not None
        self.spec, self.plan, self.study, self._storage = spec, plan, plan.recorded, storage
        self.writer, self.seeds = store.writer(spec.name, self.study), spec.confirm.seeds
        # Each training has a seed of its own, also where one was searched.
        chosen = candidates(self.study, spec.confirm.top)
        self.candidates = {one.rank: one._replace(schedule=unseeded(one.schedule)) for one in chosen}

    @property
    def name(self) -> str:
        """The study's name for people."""
        return f"{self.study.strategy}, seed {self.study.seed}"

    def title(self, rank: int, seed: int) -> str:
        """The name of one of its trainings for people."""
        return f"{self.name}, no. {rank}, training seed {seed}"

    def weights(self, rank: int, seed: int) -> TrainedWeights:
        """Return the place of the weights of a training, which may not be there yet."""
        name = study_name(self.study.strategy, self.study.seed)
        segments = segments_of(self.candidates[rank].schedule)
        manifest = CheckpointManifest(f"{rank}-{seed}", moments=False, node=None, segments=segments, restore_points=())
        path = f"{self._storage.tune_folder(name)}/{FOLDER}/{rank}-{seed}"
        return TrainedWeights(self._storage.checkpoint_storage(name), path, manifest)

    def record(self, confirmation: Confirmation) -> None:
        """Record a training that has ended, and delete weights that can belong to no winner any more."""
        self.writer.set_confirmations(confirmation)
        others = [c for c in self.study.confirmations if (c.rank, c.seed) != (confirmation.rank, confirmation.seed)]
        ordered = sorted([*others, confirmation], key=lambda c: (c.rank, c.seed))
        self.study = replace(self.study, confirmations=tuple(ordered))
        if sum(c.rank == confirmation.rank for c in ordered) == self.seeds:
            self.drop_all_but(self.study.confirmed())

    def drop_all_but(self, winner: tuple[Confirmation, ...]) -> None:
        """Delete the weights of every configuration whose trainings have all ended, except those of `winner`."""
        for rank in self.candidates.keys() - {c.rank for c in winner}:
            ended = [c for c in self.study.confirmations if c.rank == rank]
            if len(ended) == self.seeds:
                for c in ended:
                    self.weights(c.rank, c.seed).drop()


def confirm_studies(
    spec: ExperimentSpec,
    plans: Sequence[StudyPlan],
    session: Session,
    store: StudyStore,
    storage: RunStorage,
    say: Callable[[str], None],
) -> None:
    """Train what is owed of all studies whose search is over, as one queue.

    Args:
        plans: of the studies.
        say: called with one line per training.

    Raises:
        StoreError: the study store cannot be read or written, or the data are not those of the search.
        OSError: weights cannot be written, on any node.
        JobLost: trainings have lost node after node; all others have ended, and a resume begins these again.
        InputError: model or data cannot be used any more.
        Interrupted: stopped before all had ended.
    """
    jobs = []
    for one in study_confirmations(spec, plans, store, storage):
        for rank, seed in one.plan.trainings:
            given = training_spec(spec, one.study, seed), one.weights(rank, seed)
            call = JobCall(one.title(rank, seed), train_candidate, given)
            jobs.append(TrainingJob((one, one.candidates[rank], seed), call))
    lost, numbers = list[JobLost](), itertools.count(1)

    def receive(job: JobResult[tuple[StudyConfirmation, Candidate, int]]) -> None:
        number = next(numbers)
        try:
            line = _record(job, session)
        except JobLost as error:
            lost.append(error)
        else:
            say(f"confirming {number}/{len(jobs)}: {line}")

    run_jobs(jobs, spec, session, receive)
    if lost:
        raise lost[0]


def _record(job: JobResult[tuple[StudyConfirmation, Candidate, int]], session: Session) -> str:
    """Record a training that has ended; returns a line about it.

    Raises:
        OSError, InputError, JobLost: see `_result`.
    """
    one, candidate, seed = job.key
    trained = _result(job)
    one.writer.record_provenance(trained.provenance)
    cost = (trained.seconds + job.lost) * session.devices_per_trial
    scores = trained.validation
    one.record(Confirmation(*candidate, seed, cost, clock.time(), validation=scores, error=trained.error))
    result = f"failed: {trained.error}" if scores is None else f"{scores[one.study.metric]:.4f}"
    return (
        f"{one.name}, no. {candidate.rank} (trial {one.study.name_of(candidate.trial)}, searched "
        f"{candidate.searched:.4f}), training seed {seed}: {result}"
    )


def study_confirmations(
    spec: ExperimentSpec, plans: Sequence[StudyPlan], store: StudyStore, storage: RunStorage
) -> list[StudyConfirmation]:
    """Return the studies whose search is over and has trials."""
    return [
        StudyConfirmation(spec, plan, store, storage)
        for plan in plans
        if plan.search is Search.KEEP and plan.recorded is not None and plan.recorded.trials
    ]


def _result(job: JobResult[Any]) -> Trained:
    """Return the result of a training. One whose process has died a second time has failed, too.

    Raises:
        OSError, InputError, JobLost: not the configuration's fault.
    """
    try:
        trained: Trained = job.result()
    except (RayError, WorkerDied) as error:
        return Trained(0.0, error=TrialFailure.of(error).line)
    return trained


def train_candidate(
    spec: FineTuneSpec, kept: TrainedWeights, make: Callable[[Params, FineTuneSpec], Training]
) -> Trained:
    """Train along the schedule, score on validation, keep the weights; called on a worker.

    Raises:
        OSError, InputError: not the configuration's fault.
        WorkerDied: one of several processes has died, which may be chance: it starts once more.
    """
    begun = clock.monotonic()
    with TemporaryDirectory(prefix="tunefleet-") as scratch:
        states, weights = Path(scratch, "states"), Path(scratch, "weights")
        states.mkdir()
        weights.mkdir()
        try:
            set_allocator(expandable_segments=spec.expandable_segments)
            cap_device_memory()
            training, evaluation = replay(kept.manifest.segments, make, spec, states)
            values = kept.manifest.segments[-1].params
            metrics = validate_metrics(evaluation.metrics, spec, evaluation.epoch, values)
        except (OSError, InputError, WorkerDied):
            raise
        except Exception as error:  # the same values fail again: it is recorded, and the others go on
            return Trained(clock.monotonic() - begun, error=described(error))
        training.save(weights, weights_only=True)
        write_checksums(weights)
        kept.drop()  # of a training that ended, and was not recorded
        with waiting():  # an upload may take any time
            kept.put(weights)
    return Trained(clock.monotonic() - begun, metrics, dict(training.provenance))


def described(error: Exception) -> str:
    """Return type and message of an error on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
