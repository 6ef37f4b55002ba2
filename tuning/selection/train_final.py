"""Trains the model to keep (`tunefleet train-final`) on training and validation rows, and scores it on the test split.

In: the winner of an experiment. Out: a folder with the model, its card and `best.yaml`; an entry in the study store.
The training follows the configuration's schedule. Its score stays hidden until it is asked for: each evaluation is
recorded, and the best of many final models is a lucky one. The training runs where trials do; its files come back as
bytes, so the folder is on the caller's machine whatever the cluster shares. A folder that is taken is refused before
anything starts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from trainables.checkpoints.manifest import Segment
from trainables.checkpoints.replay import replay
from trainables.data.row_hashes import RowHashes
from trainables.machine.device_memory import cap_device_memory, set_allocator
from trainables.models.files import weight_bytes
from trainables.spec import FINAL, FineTuneSpec, Params, Value
from trainables.training import Scores, Training
from trainables.worker.job_slot import JobCall
from tuning.errors import Interrupted
from tuning.outcome import ExperimentOutcome, FinalModel
from tuning.selection import best_spec
from tuning.selection.candidates import training_spec
from tuning.selection.card import CARD, model_card
from tuning.selection.config_paths import path_notices, shorten_config_paths
from tuning.selection.evaluations import (
    evaluation_ids,
    final_evaluation_id,
    known_evaluations,
    record_evaluations,
    record_test_rows,
)
from tuning.selection.hidden_score import HiddenScore, pack_score
from tuning.selection.kept_model import KeptModel, describe_score
from tuning.selection.model_folder import ModelFolder
from tuning.selection.schedules import segments_of
from tuning.selection.training_jobs import JobResult, TrainingJob, run_jobs
from tuning.selection.winner import Winner
from tuning.spec.models import ExperimentSpec

if TYPE_CHECKING:
    from cluster.session import Session
    from tuning.store.study_store import StudyStore

FINGERPRINT = "data_fingerprint"  # of `finetune`'s rows and labels
BESIDE_WEIGHTS = 1 << 25  # bytes: tokenizer, configuration, card


class TrainedModel(NamedTuple):
    """The files and the scores of a trained model, as a worker returns them."""

    files: Mapping[str, bytes]  # of the model's folder, by path below it
    scores: Scores
    provenance: Mapping[str, Value]
    label_names: tuple[str, ...]  # by class id; empty for regression
    seconds: float
    rows: RowHashes | None = None  # None: a Trainer of the user's own


def model_bytes(spec: ExperimentSpec) -> int:
    """Return the bytes that the folder of the final model takes, rounded up; 0 if the model's size is unknown."""
    weights = None if spec.own else weight_bytes(spec.model, spec.revision)
    return 0 if weights is None else int(weights * 1.05) + BESIDE_WEIGHTS


def train_final_model(
    spec: ExperimentSpec,
    outcome: ExperimentOutcome,
    winner: Winner,
    seed: int,
    target: ModelFolder,
    session: Session,
    store: StudyStore,
    say: Callable[[str], None],
    *,
    for_others: bool = False,
    reveal_test: bool = False,
) -> KeptModel:
    """Train, score, record the evaluation on the test split if there is one, write the folder.

    Args:
        seed: of the training: data order, head, dropout.
        for_others: the folder will be published: nothing in it names a place of this machine.
        reveal_test: show the test score; else it is kept hidden (`tuning.selection.reveal` shows it later).

    Raises:
        InputError: the folder is taken; or model or data cannot be used any more.
        StoreError: the store cannot be written, or the data are not those of the search.
        OSError: the disk cannot be written.
        Interrupted: stopped before the training had ended; nothing is written.
        Exception: what the training ended in.
    """
    target.check(model_bytes(spec))
    writer = store.writer(spec.name, winner.study)
    writer.begin_final()  # a store that cannot be written is found out before the evaluation on test
    say(_announcement(winner, seed))
    trained, seconds = _train(spec, winner, seed, session)
    if (fingerprint := trained.provenance.get(FINGERPRINT)) is not None:
        writer.record_provenance({FINGERPRINT: fingerprint})
    if trained.rows is not None:
        record_test_rows(spec, store, trained.rows)
    cost = seconds * session.devices_per_trial
    model = _final_model(winner, trained, seed, str(target.folder), cost, reveal_test=reveal_test)
    own = evaluation_ids(spec.name, outcome.studies)
    memory = known_evaluations(spec, store, own) if outcome.test_memory is None else outcome.test_memory
    if model.metrics:
        record_evaluations(spec, store, [final_evaluation_id(spec.name, winner.study, model)])
    writer.add_final(model)
    say(describe_score(model, winner.study.metric))
    kept = KeptModel(spec, winner, model, trained.scores, trained.provenance, trained.label_names, len(own), memory)
    for line in path_notices(trained.files, for_others=for_others):
        say(line)
    target.write_or_rescue(_all_files(kept, trained, for_others=for_others))
    return kept


def _announcement(winner: Winner, seed: int) -> str:
    epochs = "1 epoch" if winner.candidate.epoch == 1 else f"{winner.candidate.epoch:g} epochs"
    trial = winner.study.name_of(winner.candidate.trial)
    return (
        f"training the configuration of {winner.study.strategy}, seed {winner.study.seed}, trial "
        f"{trial} for {epochs} on training and validation rows, training seed {seed}"
    )


def _train(spec: ExperimentSpec, winner: Winner, seed: int, session: Session) -> tuple[TrainedModel, float]:
    """Return the model, and the seconds that it took with those in processes that have died."""
    shared = training_spec(spec, winner.study, seed)
    call = JobCall("the final training", build_model, (shared, segments_of(winner.candidate.schedule)))
    ended: list[JobResult[None]] = []
    try:
        run_jobs([TrainingJob(None, call)], spec, session, ended.append)
    except Interrupted as error:
        message = f"{spec.name}: the final training was stopped and nothing is written; the same command begins it anew"
        raise Interrupted(message) from error
    trained: TrainedModel = ended[0].result()
    return trained, trained.seconds + ended[0].lost


def _final_model(
    winner: Winner, trained: TrainedModel, seed: int, folder: str, device_seconds: float, *, reveal_test: bool
) -> FinalModel:
    scores = trained.scores
    hidden = HiddenScore(scores, trained.provenance, trained.label_names)
    return FinalModel(
        folder=folder,
        trial=winner.candidate.trial,
        epoch=winner.candidate.epoch,
        seed=seed,
        metrics=scores.metrics if reveal_test else {},
        rows=scores.rows,
        device_seconds=device_seconds,
        time=time.time(),
        sealed=pack_score(hidden) if scores.metrics and not reveal_test else None,
    )


def _all_files(kept: KeptModel, trained: TrainedModel, *, for_others: bool) -> dict[str, bytes]:
    """Return the model's files with `best.yaml` and the card, by path below the folder."""
    best = best_spec.best_spec(kept.spec, kept.winner, for_others=for_others)
    files = shorten_config_paths(trained.files) if for_others else trained.files
    return {**files, best_spec.FILE: best.encode(), CARD: model_card(kept).encode()}


def build_model(
    spec: FineTuneSpec, segments: tuple[Segment, ...], make: Callable[[Params, FineTuneSpec], Training]
) -> TrainedModel:
    """Train on training and validation rows, score on test, make the files; called on a worker."""
    begun = time.monotonic()
    with TemporaryDirectory(prefix="tunefleet-") as scratch:
        states, weights, folder = (Path(scratch, name) for name in ("states", "weights", "folder"))
        for place in (states, weights, folder):
            place.mkdir()
        set_allocator(expandable_segments=spec.expandable_segments)
        cap_device_memory()
        final = spec.model_copy(update={"trainable": f"{FINAL}{spec.trainable}"})
        training, _ = replay(segments, make, final, states)
        scores = training.score("test")
        training.save(weights, weights_only=True)
        provenance = dict(training.provenance)
        del training  # before the model is built once more: a device may hold one only
        seconds = time.monotonic() - begun
        names = _write_model(weights, segments[-1].params, spec, folder)
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
    return TrainedModel(files, scores, provenance, names, seconds, _rows(spec, segments[-1].params))


def _rows(spec: FineTuneSpec, params: Params) -> RowHashes | None:
    if spec.own:
        return None
    from trainables.data.encoding import prepare_task

    length = params.get("data.max_length")
    return prepare_task(spec, length if isinstance(length, int) else None).row_hashes  # which the training has prepared


def _write_model(weights: Path, params: Params, spec: FineTuneSpec, folder: Path) -> tuple[str, ...]:
    """Write the model's folder; returns the names of the classes by id, as far as they are known."""
    if spec.own:
        from trainables.lookup import build_unmeasured
        from trainables.user_trainer.model_folder import export_trainer_model

        export_trainer_model(build_unmeasured(params, spec), weights, folder)
        return ()
    from trainables.finetune.model_folder import export_model

    return export_model(weights, params, spec, folder)
