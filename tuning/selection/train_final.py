"""`tunefleet train-final`: the model to keep. The chosen configuration is trained on the training and the validation
rows, along its schedule, and scored on the test split, once. The score stays hidden until somebody asks for it: each
look is recorded, and the best of many final models is a lucky one.

The training runs where trials do; its files come back as bytes, so the folder is on the machine of the caller whatever
the cluster shares. Who is asked first is the disk: a folder that is there already is refused before anything starts.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile, mkdtemp
from typing import TYPE_CHECKING, NamedTuple

from trainables.checkpoints.manifest import Segment
from trainables.checkpoints.replay import replay
from trainables.data.row_hashes import RowHashes
from trainables.errors import InputError
from trainables.machine.device_memory import cap_device_memory
from trainables.models.files import weight_bytes
from trainables.spec import FINAL, FineTuneSpec, Params, Value
from trainables.training import Scores, Training
from tuning.outcome import ExperimentOutcome, FinalModel
from tuning.selection import best_spec
from tuning.selection.candidates import training_spec
from tuning.selection.card import CARD, model_card
from tuning.selection.hidden_score import HiddenScore, sealed
from tuning.selection.kept_model import KeptModel, score_in_words
from tuning.selection.looks import earlier_looks, look_of_final, looks_of, record_looks, remember_rows
from tuning.selection.model_places import for_all, places_told
from tuning.selection.schedules import segments_of
from tuning.selection.side_by_side import Job, side_by_side
from tuning.selection.winner import Winner
from tuning.spec.models import ExperimentSpec

if TYPE_CHECKING:
    from cluster.session import Session
    from tuning.store.study_store import StudyStore

FINGERPRINT = "data_fingerprint"  # of `finetune`'s rows and labels
BESIDE_WEIGHTS = 1 << 25  # bytes: tokenizer, configuration, card


class Built(NamedTuple):
    """What comes back from the worker."""

    files: Mapping[str, bytes]  # of the model's folder, by path below it
    scores: Scores
    provenance: Mapping[str, Value]
    label_names: tuple[str, ...]  # by class id; empty for regression
    seconds: float
    rows: RowHashes | None = None  # None: a Trainer of the user's own


@dataclass(frozen=True)
class Target:
    """The folder that a model is written to: with all its files, or not at all."""

    folder: Path
    replace: bool = False  # what an earlier train-final has written there

    def check(self, needed: int = 0) -> None:
        """Look whether the folder could be written now: hours of training, and a look at test, hang on it.

        Args:
            needed: bytes that the model's files will take, as far as known.

        Raises:
            InputError: something is there, no folder can be made there, or the disk has not that much room.
        """
        name, other = str(self.folder), "choose another folder (--out FOLDER)"
        if self.folder.is_symlink():
            raise InputError("--out", name, "is a symbolic link", "name the folder itself")
        if self.folder.exists():
            if not (self.folder / best_spec.FILE).is_file() or not (self.folder / CARD).is_file():
                raise InputError("--out", name, "holds something that train-final has not written", other)
            if not self.replace:
                raise InputError(
                    "--out", name, "holds a model already", "choose another folder, or replace it with --force"
                )
        existing = next(parent for parent in self.folder.parents if parent.exists())
        try:
            scratch = self._scratch(existing)
            scratch.mkdir()
            scratch.rmdir()
            if self.folder.exists():  # it is to be emptied
                with TemporaryFile(dir=self.folder):
                    pass
        except OSError as error:
            rule = f"cannot be written: {existing}: {error.strerror}"
            raise InputError("--out", name, rule, other) from error
        if (free := shutil.disk_usage(existing).free) < needed:
            rule = f"has {free / 1e6:,.0f} MB free on its disk, and the model takes about {needed / 1e6:,.0f} MB"
            raise InputError("--out", name, rule, f"make room, or {other}")

    def _scratch(self, parent: Path) -> Path:
        return parent / f".{self.folder.name}.{uuid.uuid4().hex[:8]}"

    def write_or_rescue(self, files: Mapping[str, bytes]) -> None:
        """Write all `files`, by path below it; keep them in a temporary folder if this one cannot be written any more.

        Raises:
            OSError: the folder could not be written, and where the files are instead.
        """
        try:
            self.write(files)
        except (OSError, InputError) as error:
            rescued = Path(mkdtemp(prefix="tunefleet-model-"), "model")
            Target(rescued).write(files)
            raise OSError(
                f"--out: {self.folder}: {error}. The model is trained and recorded, and its files are in "
                f"{rescued}: move them from there"
            ) from error

    def write(self, files: Mapping[str, bytes]) -> None:
        """All `files`, by path below it.

        Raises:
            InputError: something is there now.
            OSError: the disk cannot be written.
        """
        self.check()
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._scratch(self.folder.parent)
        try:
            scratch.mkdir()
            for name, content in files.items():
                (scratch / name).parent.mkdir(parents=True, exist_ok=True)
                (scratch / name).write_bytes(content)
            if self.folder.exists():
                shutil.rmtree(self.folder)
            scratch.rename(self.folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def model_bytes(spec: ExperimentSpec) -> int:
    """The bytes that the folder of the final model takes, a little more than less; 0 where the size of the model is
    unknown until it is loaded."""
    weights = None if spec.own else weight_bytes(spec.model, spec.revision)
    return 0 if weights is None else int(weights * 1.05) + BESIDE_WEIGHTS


def train_final(
    spec: ExperimentSpec,
    outcome: ExperimentOutcome,
    winner: Winner,
    seed: int,
    target: Target,
    session: Session,
    store: StudyStore,
    say: Callable[[str], None],
    *,
    for_others: bool = False,
    reveal_test: bool = False,
) -> KeptModel:
    """Train, score, record the look at the test split if there is one, write the folder.

    Args:
        seed: of the training: data order, head, dropout.
        for_others: the folder will be published: nothing in it names a place of this machine.
        reveal_test: look at the test score; else it is kept hidden (`finish.reveal` shows it later).

    Raises:
        InputError: the folder is taken; or model or data cannot be had any more.
        StoreError: the store cannot be written, or the data are not those of the search.
        OSError: the disk cannot be written.
        Exception: what the training ended in.
    """
    target.check(model_bytes(spec))
    writer = store.writer(spec.name, winner.study)
    writer.begin_final()  # a store that cannot be written is found out before the look at test
    epochs = "1 epoch" if winner.candidate.epoch == 1 else f"{winner.candidate.epoch:g} epochs"
    trial = next(trial for trial in winner.study.trials if trial.id == winner.candidate.trial)
    say(
        f"training the configuration of {winner.study.strategy}, seed {winner.study.seed}, trial "
        f"{trial.name} for {epochs} on training and validation rows, training seed {seed}"
    )
    shared = training_spec(spec, winner.study, seed)
    job = Job(None, "the final training", build, (shared, segments_of(winner.candidate.schedule)))
    with side_by_side([job], spec, session) as ended:
        (done,) = ended
    built: Built = done.result()
    if (fingerprint := built.provenance.get(FINGERPRINT)) is not None:
        writer.record_provenance({FINGERPRINT: fingerprint})
    if built.rows is not None:
        remember_rows(spec, store, built.rows)
    scored = bool(built.scores.metrics)
    hidden = HiddenScore(built.scores, built.provenance, built.label_names)
    model = FinalModel(
        folder=str(target.folder),
        trial=winner.candidate.trial,
        epoch=winner.candidate.epoch,
        seed=seed,
        metrics=built.scores.metrics if reveal_test else {},
        rows=built.scores.rows,
        device_seconds=(built.seconds + done.lost) * session.devices_per_trial,
        time=time.time(),
        sealed=sealed(hidden) if scored and not reveal_test else None,
    )
    own = looks_of(spec.name, outcome.studies)
    memory = earlier_looks(spec, store, own) if outcome.test_memory is None else outcome.test_memory
    if model.metrics:
        record_looks(spec, store, [look_of_final(spec.name, winner.study, model)])
    writer.add_final(model)
    say(score_in_words(model, winner.study.metric))
    final = KeptModel(spec, winner, model, built.scores, built.provenance, built.label_names, len(own), memory)
    best = best_spec.best_spec(spec, winner, for_others=for_others)
    texts = {best_spec.FILE: best, CARD: model_card(final)}
    for line in places_told(built.files, for_others=for_others):
        say(line)
    files = for_all(built.files) if for_others else built.files
    target.write_or_rescue({**files, **{name: text.encode() for name, text in texts.items()}})
    return final


def build(spec: FineTuneSpec, segments: tuple[Segment, ...], make: Callable[[Params, FineTuneSpec], Training]) -> Built:
    """On a worker: train along the segments on training and validation rows, score on test, make the files."""
    begun = time.monotonic()
    with TemporaryDirectory(prefix="tunefleet-") as scratch:
        states, weights, folder = (Path(scratch, name) for name in ("states", "weights", "folder"))
        for place in (states, weights, folder):
            place.mkdir()
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
    return Built(files, scores, provenance, names, seconds, _rows(spec, segments[-1].params))


def _rows(spec: FineTuneSpec, params: Params) -> RowHashes | None:
    if spec.own:
        return None
    from trainables.data.encoding import prepare_task

    length = params.get("data.max_length")
    return prepare_task(spec, length if isinstance(length, int) else None).row_hashes  # which the training has prepared


def _write_model(weights: Path, params: Params, spec: FineTuneSpec, folder: Path) -> tuple[str, ...]:
    """The names of the classes by id, as far as they are known here."""
    if spec.own:
        from trainables.lookup import build_training
        from trainables.user_trainer.model_folder import export_trainer_model

        export_trainer_model(build_training(params, spec), weights, folder)
        return ()
    from trainables.finetune.model_folder import export_model

    return export_model(weights, params, spec, folder)
