"""`tunefleet fetch`: an experiment's parcel from a cluster to this machine, through the dashboard's port alone.

A small job packs it there and keeps it until it is stopped; each part is verified as it comes, and the folder appears
here with everything in it or not at all.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from cluster.capacity import ClusterError
from cluster.jobs import POLL_SECONDS, Job, JobRecord, Jobs
from trainables.errors import InputError
from tuning.comparison import compare
from tuning.jobs.parcel import MANIFEST, Manifest, Part, parcel_folder
from tuning.jobs.submission import code, command, metadata
from tuning.jobs.uploads import write_archive
from tuning.report import comparison_json, comparison_markdown
from tuning.results import results_json
from tuning.spec import STORE_FILE
from tuning.store.study_store import StudyStore
from tuning.store.url import sqlite_url

ORIGIN = "fetched.json"  # in a folder that a fetch made: the next one may replace it
PURPOSE = "fetch"  # in the metadata of the job that packs
TRIES = 4  # of one part


def fetch(jobs: Jobs, record: JobRecord, storage: Path, say: Callable[[str], None]) -> Path:
    """Bring what the experiment of the job `record` has recorded to STORAGE/NAME.

    Args:
        say: told about sizes and what is missing.

    Raises:
        InputError: STORAGE/NAME holds something that no fetch made.
        ClusterError: the cluster has nothing, or the connection broke for good.
        OSError: this disk cannot be written.
    """
    name = record.metadata["experiment"]
    target = storage.expanduser().absolute() / name
    if target.exists() and not (target / ORIGIN).is_file():
        step = "choose another folder with --to, or move it away"
        raise InputError("--to", str(target), "holds something that did not come from a cluster", step)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.parent / f".{name}.{uuid.uuid4().hex[:8]}"
    scratch.mkdir()
    try:
        with _packing(jobs, record, scratch) as (node, job):
            manifest = _manifest(jobs, node, job, record)
            say(f"{sum(part.size for part in manifest.parts) / (1 << 20):,.1f} MiB in {len(manifest.parts)} parts")
            parts = [_part(jobs, node, job, part, scratch) for part in manifest.parts]
        _unpack(parts, scratch)
        folder = scratch / name
        _write_reports(folder, name)
        origin = {"job": record.id, "cluster": jobs.dashboard.url, "at": time.time(), "best": manifest.best}
        (folder / ORIGIN).write_text(json.dumps(origin))
        _put_in_place(folder, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    say(f"best weights: {manifest.best}" if manifest.best else "no weights: none are on the cluster's storage yet")
    return target


@contextmanager
def _packing(jobs: Jobs, record: JobRecord, scratch: Path) -> Iterator[tuple[str, str]]:
    """A job that packs, gone at the end with all that it made: its node and its id."""
    name, storage = record.metadata["experiment"], record.metadata["storage"]
    job = f"fetch-{name}-{uuid.uuid4().hex[:8]}"
    archive = scratch / "code.zip"
    write_archive(archive, code())
    words = command(jobs.dashboard, "serve", name, storage)
    jobs.submit(Job(job, words, archive, {**metadata(name, storage), "purpose": PURPOSE}))
    try:
        while (started := jobs.get(job)).state == "pending":
            time.sleep(POLL_SECONDS)
        if started.node is None:
            raise ClusterError(f"{name}: the job that packs it did not start: {started.message}")
        yield started.node, job
    finally:
        if jobs.stop(job).over:
            jobs.forget(job)


def _manifest(jobs: Jobs, node: str, job: str, record: JobRecord) -> Manifest:
    manifest = None
    while manifest is None:
        try:
            manifest = Manifest.parse(_bytes(jobs, node, job, MANIFEST) or b"")
        except ValueError:  # not there yet, or not all of it came
            if (packing := jobs.get(job)).over:
                raise ClusterError(f"{record.id}: the job that packs its results ended: {packing.message}") from None
            time.sleep(POLL_SECONDS)
    if manifest.error is not None:
        raise ClusterError(f"{record.id}: nothing to fetch: {manifest.error}")
    return manifest


def _part(jobs: Jobs, node: str, job: str, part: Part, folder: Path) -> Path:
    """Download one part; a broken one is asked for again."""
    for _ in range(TRIES):
        data = _bytes(jobs, node, job, part.name)
        if data is not None and len(data) == part.size and hashlib.sha256(data).hexdigest() == part.sha256:
            (folder / part.name).write_bytes(data)
            return folder / part.name
        time.sleep(POLL_SECONDS)
    raise ClusterError(f"{part.name} of {job} did not arrive whole in {TRIES} tries. Fetch again.")


def _bytes(jobs: Jobs, node: str, job: str, name: str) -> bytes | None:
    """A file of the parcel; None if it is not there, or the connection broke."""
    try:
        return b"".join(jobs.dashboard.log_file(node, f"{parcel_folder(job)}/{name}"))
    except ClusterError:
        return None


def _unpack(parts: list[Path], folder: Path) -> None:
    with _joined(parts, folder / "parcel.tar").open("rb") as file, tarfile.open(fileobj=file) as tar:
        tar.extractall(folder, filter="data")  # no path out of the folder, no link, no device


def _joined(parts: list[Path], whole: Path) -> Path:
    with whole.open("wb") as file:
        for part in parts:
            file.write(part.read_bytes())
            part.unlink()
    return whole


def _write_reports(folder: Path, name: str) -> None:
    store = StudyStore(sqlite_url(folder / STORE_FILE))
    outcome = store.load(name)
    comparison = compare(outcome, spec=yaml.safe_load(store.spec(name)))
    (folder / "results.json").write_text(results_json(outcome), encoding="utf-8")
    (folder / "comparison.json").write_text(comparison_json(comparison), encoding="utf-8")
    (folder / "comparison.md").write_text(comparison_markdown(comparison), encoding="utf-8")


def _put_in_place(folder: Path, target: Path) -> None:
    old = folder.with_name("replaced")
    if target.exists():
        target.rename(old)
    folder.rename(target)
