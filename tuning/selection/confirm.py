"""`confirm:` of a spec: the best configurations of each study, trained from the start with several training seeds.

The search's own best score is the luckiest of many. So the winner of a study is chosen anew, by the mean validation
score of trainings that the search has not seen (their seeds are new), and only then its models are scored on the test
split, once. Each training is recorded as it ends: a crash loses those that ran.

    STUDY/confirmed/RANK-SEED/    weights of a training, until the winner's are scored; then nothing is left
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from ray.exceptions import RayError

from trainables.checkpoints.manifest import MOMENTS, CheckpointManifest
from trainables.checkpoints.replay import replay
from trainables.checkpoints.storage import Storage
from trainables.checksums import damage, write_checksums
from trainables.errors import InputError
from trainables.machine import clock
from trainables.machine.device_memory import cap_device_memory
from trainables.progress import waiting
from trainables.reporting import validate_metrics
from trainables.spec import FineTuneSpec, Params, Value
from trainables.training import Scores, Training
from trainables.worker.team import WorkerDied
from tuning.outcome import Confirmation, ScoredRows, StudyOutcome, StudyState
from tuning.selection.candidates import Candidate, candidates, shares_seeds, training_seeds, training_spec
from tuning.selection.looks import look_of_confirmation, record_looks
from tuning.selection.schedules import segments_of
from tuning.selection.side_by_side import Ended, Job, NodesLost, side_by_side
from tuning.spec.models import ExperimentSpec, study_name
from tuning.supervision.failures import TrialFailure

if TYPE_CHECKING:
    from cluster.session import Session
    from tuning.run_folder.run_storage import RunStorage
    from tuning.store.study_store import StudyStore, StudyWriter

FOLDER = "confirmed"  # below the study's
UNSCORED = "no test score: its Trainer has no test rows that give it (a factory may set `trainer.test_dataset`)"


class Trained(NamedTuple):
    """What a training tells."""

    seconds: float
    validation: dict[str, float] | None = None  # None: it failed
    provenance: Mapping[str, Value] = {}
    error: str | None = None


class Kept(NamedTuple):
    """Where the weights of a training are."""

    storage: Storage
    path: str
    manifest: CheckpointManifest

    def put(self, weights: Path) -> None:
        """Copy them there."""
        if self.storage.filesystem is None:
            Path(self.path).mkdir(parents=True, exist_ok=True)
        self.storage.put(weights, self.path, self.manifest, weights_only=True)

    def drop(self) -> None:
        """They are needed no more."""
        self.storage.delete(self.path, self.manifest)


@dataclass
class Confirming:
    """One finished study on its way to a winner."""

    spec: ExperimentSpec
    study: StudyOutcome
    writer: StudyWriter
    place: RunStorage
    seeds: tuple[int, ...]  # of its trainings

    def __post_init__(self) -> None:
        assert self.spec.confirm is not None
        self.candidates = candidates(self.study, self.spec.confirm.top)

    @cached_property
    def name(self) -> str:
        """Of the study, for people."""
        return f"{self.study.strategy}, seed {self.study.seed}"

    def title(self, rank: int, seed: int) -> str:
        """Of one of its trainings, for people."""
        return f"{self.name}, no. {rank}, training seed {seed}"

    @property
    def looked(self) -> bool:
        """Whether the test split has had its look."""
        return any(c.test is not None for c in self.study.confirmations)

    def missing(self) -> Iterator[tuple[Candidate, int]]:
        """What has not been trained yet: one configuration after the other, each with all seeds."""
        known = {(c.rank, c.seed) for c in self.study.confirmations}
        return ((one, seed) for one in self.candidates for seed in self.seeds if (one.rank, seed) not in known)

    def kept(self, rank: int, seed: int) -> Kept:
        """Where the weights of that training are, or will be."""
        schedule = next(one.schedule for one in self.candidates if one.rank == rank)
        name = study_name(self.study.strategy, self.study.seed)
        manifest = CheckpointManifest(
            f"{rank}-{seed}", moments=False, node=None, segments=segments_of(schedule), restore_points=()
        )
        return Kept(
            self.place.checkpoint_storage(name), f"{self.place.tune_folder(name)}/{FOLDER}/{rank}-{seed}", manifest
        )

    def record(self, confirmation: Confirmation) -> None:
        """Write down a training that has ended, and let weights go that can belong to no winner any more."""
        self.writer.set_confirmations(confirmation)
        others = [c for c in self.study.confirmations if (c.rank, c.seed) != (confirmation.rank, confirmation.seed)]
        ordered = sorted([*others, confirmation], key=lambda c: (c.rank, c.seed))
        self.study = replace(self.study, confirmations=tuple(ordered))
        ended = [c for c in ordered if c.rank == confirmation.rank]
        if len(ended) == len(self.seeds):
            self.drop_all_but(self.study.confirmed())

    def drop_all_but(self, winner: tuple[Confirmation, ...]) -> None:
        """Delete the weights of all configurations that are through, save those of `winner`."""
        for one in self.candidates:
            ended = [c for c in self.study.confirmations if c.rank == one.rank]
            if len(ended) == len(self.seeds) and one.rank not in {c.rank for c in winner}:
                for c in ended:
                    self.kept(c.rank, c.seed).drop()


def confirm_studies(
    spec: ExperimentSpec, session: Session, store: StudyStore, place: RunStorage, say: Callable[[str], None]
) -> None:
    """Train what is not confirmed yet of every finished study, then score the winners on the test split, unless `spec`
    is without, or they have been.

    Args:
        say: told one line per training.

    Raises:
        StoreError: the study store cannot be read or written, or the data are not those of the search.
        OSError: weights cannot be written or read, on any node.
        NodesLost: a training or a look at the test split has lost node after node; a resume begins it again.
        InputError: model or data cannot be had any more.
    """
    finished = [s for s in store.load(spec.name).studies if s.state is StudyState.FINISHED and s.trials]
    assert spec.confirm is not None
    count = spec.confirm.seeds
    shared = training_seeds(spec, count) if shares_seeds(spec, count, finished) else None
    ours = [
        Confirming(spec, s, store.writer(spec.name, s), place, shared or training_seeds(spec, count, s.seed))
        for s in finished
    ]
    _train(spec, ours, session, say)
    if spec.test:
        _look_at_test(spec, [one for one in ours if not one.looked], session, store, say)
    for one in ours:
        one.drop_all_but(())


def _train(spec: ExperimentSpec, ours: list[Confirming], session: Session, say: Callable[[str], None]) -> None:
    """All that is missing, of all studies, as one queue.

    Raises:
        NodesLost: by one or more, which are missing still; all others have ended.
    """
    jobs, lost = [], []
    for one in ours:
        for candidate, seed in one.missing():
            given = training_spec(spec, one.study, seed), one.kept(candidate.rank, seed)
            jobs.append(Job((one, candidate, seed), one.title(candidate.rank, seed), train, given))
    with side_by_side(jobs, spec, session) as ended:
        for number, job in enumerate(ended, start=1):
            one, candidate, seed = job.key
            try:
                trained = _outcome(job)
            except NodesLost as error:
                lost.append(error)
                continue
            one.writer.record_provenance(trained.provenance)
            cost = (trained.seconds + job.lost) * session.devices_per_trial
            confirmation = Confirmation(
                *candidate, seed, cost, clock.time(), validation=trained.validation, error=trained.error
            )
            one.record(confirmation)
            scores = confirmation.validation
            told = f"failed: {confirmation.error}" if scores is None else f"{scores[one.study.metric]:.4f}"
            say(
                f"confirming {number}/{len(jobs)}: {one.name}, no. {candidate.rank} (trial "
                f"{one.study.name_of(candidate.trial)}, searched {candidate.searched:.4f}), training seed {seed}: "
                f"{told}"
            )
    if lost:
        raise lost[0]


def _outcome(job: Ended[Any]) -> Trained:
    """What has come of a training. One whose process has died, again and again, has failed, too.

    Raises:
        OSError, InputError, NodesLost: not the configuration's fault.
    """
    try:
        trained: Trained = job.result()
    except (RayError, WorkerDied) as error:
        return Trained(job.seconds - job.lost, error=TrialFailure.of(error).line)
    return trained


def train(spec: FineTuneSpec, kept: Kept, make: Callable[[Params, FineTuneSpec], Training]) -> Trained:
    """On a worker: train along the schedule, score on validation, keep the weights.

    Raises:
        OSError, InputError, WorkerDied: not the configuration's fault.
    """
    begun = clock.monotonic()
    assert spec.objective is not None
    with TemporaryDirectory(prefix="tunefleet-") as scratch:
        states, weights = Path(scratch, "states"), Path(scratch, "weights")
        states.mkdir()
        weights.mkdir()
        try:
            cap_device_memory()
            training, evaluation = replay(kept.manifest.segments, make, spec, states)
            values = kept.manifest.segments[-1].params
            metrics = validate_metrics(evaluation.metrics, spec.objective.metric, evaluation.epoch, values)
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
    """On one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _look_at_test(
    spec: ExperimentSpec, ours: list[Confirming], session: Session, store: StudyStore, say: Callable[[str], None]
) -> None:
    """Score each winner's models; a study's scores are recorded together, once all are there."""
    jobs = []
    for number, one in enumerate(ours):
        trainings = one.study.confirmed()
        if not trainings:
            say(f"{one.name}: no configuration was trained with all its seeds, so none is scored on test")
        for c in trainings:
            given = training_spec(spec, one.study, c.seed), one.kept(c.rank, c.seed)
            jobs.append(Job((number, c), f"test of {one.title(c.rank, c.seed)}", score, given))
    record_looks(spec, store, [look_of_confirmation(spec.name, ours[n].study, c) for n, c in (job.key for job in jobs)])
    seen: dict[int, list[Confirmation]] = {}
    unscored: dict[str, None] = {}
    with side_by_side(jobs, spec, session) as ended:
        for job in ended:
            number, winner = job.key
            scores: Scores = job.result()
            if ours[number].study.metric not in scores.metrics:
                unscored[ours[number].name] = None
                continue
            rows = None if scores.labels is None else ScoredRows(scores.labels, scores.predictions or ())
            scored = seen.setdefault(number, [])
            scored.append(replace(winner, test=scores.metrics, rows=rows, tested_at=clock.time()))
            one = ours[number]
            if len(scored) == len(one.seeds):
                one.writer.set_confirmations(*scored)
                shown = ", ".join(f"{(c.test or {})[one.study.metric]:.4f}" for c in scored)
                say(f"{one.name}: the models of no. {winner.rank} are scored on test, once: {shown}")
    for name in unscored:
        say(f"{name}: {UNSCORED}")


def score(spec: FineTuneSpec, kept: Kept, make: Callable[[Params, FineTuneSpec], Training]) -> Scores:
    """On a worker: a training's scores on the test split. Weights that are lost or damaged are trained again."""
    with TemporaryDirectory(prefix="tunefleet-") as scratch:
        folder = kept.storage.scorable(kept.path, kept.manifest, Path(scratch))
        if folder is None or damage(folder, optional=[MOMENTS]) is not None:
            return replay(kept.manifest.segments, make, spec, Path(scratch))[0].score("test")
        training = make(kept.manifest.segments[-1].params, spec)
        training.restore(folder, weights_only=True)
    return training.score("test")
