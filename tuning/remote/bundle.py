"""The bundle of a fetch: the results of an experiment that a laptop needs, in one tar that is sent in parts.

    NAME/spec.yaml                as the run resolved it, recording into the file below
    NAME/study.db                 the experiment's rows, from whatever store they are in
    NAME/studies/...              Tune's own texts (results, parameters, errors); no pickles
    NAME/best/                    the weights behind the best validation score, and their configuration

Ray Jobs transfers no files back. So a job puts the parts where the head's dashboard shows log files, lists their names
and digests in a manifest, and deletes everything when it is stopped.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, cast

from cluster.capacity import ClusterError
from trainables.checkpoints.manifest import MOMENTS
from trainables.checksums import CHECKSUMS, damage
from tuning.comparison import compare
from tuning.comparison.text import best_configuration
from tuning.outcome import ExperimentOutcome
from tuning.run_folder.experiments import find_experiment, find_store
from tuning.run_folder.run_storage import checkpoint_storage_at
from tuning.selection.test_scoring import choose_checkpoint
from tuning.spec.file import dump, parse
from tuning.spec.models import SPEC_FILE, STORE_FILE, study_name
from tuning.spec.store_url import StoreError
from tuning.store.copy import copy_experiment
from tuning.store.study_store import StudyStore

BUNDLE, MANIFEST = "tunefleet-", "manifest.json"
BEST, CONFIGURATION = "best", "best.yaml"
PART_BYTES = 32 << 20  # sent again when a connection breaks
LEASE_SECONDS = 3 * 3600.0  # after which parts that nobody has fetched are deleted
TEXTS = {".json", ".csv", ".txt", ".yaml", ".log"}
STATES = ("checkpoint_", "state-", "weights-")  # folders of checkpoints


@dataclass(frozen=True)
class BundlePart:
    """A piece of the tar, as the manifest lists it."""

    name: str
    size: int  # bytes
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Lists what was packed; written last."""

    parts: tuple[BundlePart, ...] = ()
    best: str | None = None  # describes the weights in the bundle; None: it has none
    error: str | None = None  # why there is no bundle

    def json(self) -> str:
        """Returns the manifest as JSON, which `unpacking.read_manifest` reads."""
        return json.dumps(asdict(self))


def bundle_folder(job: str) -> str:
    """Returns the folder of the bundle of a job, below the log folder of the session."""
    return f"{BUNDLE}{job}"


def serve_bundle(experiment: str, storage: str) -> int:
    """Packs an experiment, and keeps the bundle for the dashboard until the job is stopped. Runs in a job."""
    from cluster.jobs.submission import job_log_folder

    folder = job_log_folder(bundle_folder)
    for abandoned in folder.parent.glob(f"{BUNDLE}*"):  # of a job that was killed
        if time.time() - abandoned.stat().st_mtime > LEASE_SECONDS:
            shutil.rmtree(abandoned, ignore_errors=True)
    folder.mkdir(mode=0o700)  # below plain `ray start` every account of the node can read the logs
    try:
        try:
            manifest = pack_bundle(experiment, storage, folder)
        except (OSError, ValueError, StoreError, ClusterError) as error:
            manifest = Manifest(error=str(error))
        (folder / f".{MANIFEST}").write_text(manifest.json())
        (folder / f".{MANIFEST}").rename(folder / MANIFEST)
        time.sleep(LEASE_SECONDS)
    finally:
        shutil.rmtree(folder)
    return 0


def pack_bundle(experiment: str, storage: str, target: Path) -> Manifest:
    """Writes the parts of the bundle of an experiment into `target`, and returns their manifest.

    Args:
        experiment: its name.
        storage: of its run folder.
        target: an empty folder.

    Raises:
        StoreError: nothing is recorded yet, or the store cannot be read.
        UnknownExperiment: there is no such experiment.
        ClusterError: the storage is a bucket that cannot be read.
        OSError: a file cannot be read or written.
    """
    run, url = find_experiment(experiment, storage), find_store(experiment, storage)
    with tempfile.TemporaryDirectory(prefix="tunefleet-") as scratch:
        copied = Path(scratch) / STORE_FILE
        copy_experiment(url, run.name, copied)
        raw = parse((run / SPEC_FILE).read_text(encoding="utf-8"), SPEC_FILE)
        outcome = StudyStore(url).load(run.name)
        best = _best(outcome, storage, Path(scratch))
        parts = _Parts(target)
        with parts, tarfile.open(fileobj=cast("IO[bytes]", parts), mode="w|") as tar:
            _add_text(tar, f"{run.name}/{SPEC_FILE}", dump(raw | {"store": None}))
            tar.add(copied, f"{run.name}/{STORE_FILE}")
            for path in _texts(run / "studies"):
                tar.add(path, f"{run.name}/{path.relative_to(run).as_posix()}")
            if best is not None:
                _add_text(tar, f"{run.name}/{BEST}/{CONFIGURATION}", best_configuration(compare(outcome)) + "\n")
                for path in _weights(best[1]):
                    tar.add(path, f"{run.name}/{BEST}/{path.name}")
    return Manifest(tuple(parts.done), None if best is None else best[0])


def _best(outcome: ExperimentOutcome, storage: str, scratch: Path) -> tuple[str, Path] | None:
    """Returns a description of the best weights and their folder; None while the storage has none."""
    row = compare(outcome).best
    if row is None or row.best is None:
        return None
    study = outcome.study(row.strategy, row.best.seed)
    choice = choose_checkpoint(study)
    if choice is None:
        return None
    checkpoints = checkpoint_storage_at(storage, outcome.name, study_name(study.strategy, study.seed))
    path = choice.checkpoint.removeprefix(checkpoints.scheme)
    folder = checkpoints.scorable(path, checkpoints.manifest(path), scratch)
    if folder is None or damage(folder, optional=[MOMENTS]) is not None:
        return None
    return f"{row.strategy}, seed {study.seed}, trial {choice.trial.id} after epoch {choice.report.epoch:g}", folder


def _weights(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.is_file() and path.name not in (MOMENTS, CHECKSUMS))


def _texts(studies: Path) -> Iterator[Path]:
    for path in sorted(studies.rglob("*")):
        inside = path.relative_to(studies).parts
        if path.suffix in TEXTS and path.is_file() and not any(part.startswith(STATES) for part in inside):
            yield path


def _add_text(tar: tarfile.TarFile, name: str, text: str) -> None:
    data = text.encode()
    info = tarfile.TarInfo(name)
    info.size, info.mtime = len(data), int(time.time())
    tar.addfile(info, io.BytesIO(data))


class _Parts(contextlib.AbstractContextManager["_Parts"]):
    """A file that is written in parts of `PART_BYTES`; the finished parts are in `done`."""

    def __init__(self, folder: Path) -> None:
        self.done: list[BundlePart] = []
        self._folder, self._buffer = folder, bytearray()

    def write(self, data: bytes) -> int:
        """Writes bytes, as a file does."""
        self._buffer += data
        while len(self._buffer) >= PART_BYTES:
            self._flush(PART_BYTES)
        return len(data)

    def _flush(self, size: int) -> None:
        piece = bytes(self._buffer[:size])
        del self._buffer[:size]
        name = f"part-{len(self.done):05d}"
        (self._folder / name).write_bytes(piece)
        self.done.append(BundlePart(name, len(piece), hashlib.sha256(piece).hexdigest()))

    def __exit__(self, *_: object) -> None:
        if self._buffer:
            self._flush(len(self._buffer))
