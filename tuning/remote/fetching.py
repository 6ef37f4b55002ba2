"""Fetches an experiment's bundle from a cluster to this machine, through the dashboard's port alone.

A small job packs it there and keeps it until it is stopped. Each part is verified as it arrives, and the folder appears
here with everything in it, or not at all. The cluster is not trusted: see `tuning.remote.unpacking`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.capacity import ClusterError
from cluster.jobs.submission import POLL_SECONDS, JobRecord, JobRequest, Jobs
from trainables.errors import InputError
from trainables.machine.disk import make_closed
from tuning.comparison import compare
from tuning.comparison.text import comparison_json, comparison_markdown
from tuning.core_yaml import parse_recorded_spec
from tuning.outcome import ExperimentOutcome
from tuning.remote.bundle import MANIFEST, BundlePart, Manifest, bundle_folder
from tuning.remote.submission import code_files, job_command, job_metadata
from tuning.remote.unpacking import MANIFEST_BYTES, BundleError, read_manifest, sanitize_spec, unpack
from tuning.remote.uploads import write_archive
from tuning.report.results import results_json
from tuning.run_folder.files import COMPARISON, COMPARISON_JSON, ORIGIN, RESULTS
from tuning.selection.evaluations import evaluation_ids
from tuning.spec.models import SPEC_FILE, STORE_FILE, folder_name
from tuning.spec.store_url import sqlite_url
from tuning.store.evaluation_ledger import EvaluationLedger
from tuning.store.study_store import StudyStore

PURPOSE = "fetch"  # in the metadata of the job that packs
TRIES = 4  # of one part


def fetch_experiment(
    jobs: Jobs, record: JobRecord, storage: Path, say: Callable[[str], None], *, trust_cluster: bool = False
) -> Path:
    """Fetches the results of the experiment of the job `record` to STORAGE/NAME, and returns that folder.

    It replaces an earlier fetch, but keeps the evaluations on test that were recorded here since.

    Args:
        jobs: of the cluster.
        record: the job that ran the experiment.
        storage: folder of run folders on this machine.
        say: called with sizes, what is missing and what was left out.
        trust_cluster: fetch also what may run the cluster's code here when it is loaded: weights in other formats than
            safetensors, and `trust_remote_code` in the spec.

    Raises:
        InputError: STORAGE/NAME holds something that no fetch has made, or its disk is too small.
        BundleError: the cluster sends what no bundle holds; nothing of it stays here.
        ClusterError: the cluster has nothing, or the connection broke for good.
        OSError: this disk cannot be written.
    """
    name = _named(record)
    target = storage.expanduser().absolute() / name
    if os.path.lexists(target) and not (target / ORIGIN).is_file():
        step = "choose another folder with --to, or move it away"
        raise InputError("--to", str(target), "holds something that did not come from a cluster", step)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.parent / f".{name}.{uuid.uuid4().hex[:8]}"
    scratch.mkdir(mode=0o700)
    try:
        with _packing(jobs, record, scratch) as (node, job):
            manifest = _manifest(jobs, node, job, record)
            _refuse_too_much(manifest, scratch)
            say(f"{sum(part.size for part in manifest.parts) / (1 << 20):,.1f} MiB in {len(manifest.parts)} parts")
            parts = [_part(jobs, node, job, part, scratch) for part in manifest.parts]
        make_closed(folder := scratch / name)
        left_out = unpack(_join_parts(parts, scratch / "bundle.tar"), name, scratch, trusted=trust_cluster)
        opened = sanitize_spec(folder / SPEC_FILE, name, trusted=trust_cluster)
        _keep_looks(target, folder, name)
        _record_in_ledger(target.parent, folder, name)
        _write_reports(folder, name)
        origin = {"job": record.id, "cluster": jobs.dashboard.url, "at": time.time(), "best": manifest.best}
        (folder / ORIGIN).write_text(json.dumps(origin))
        _put_in_place(folder, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    say(f"best weights: {manifest.best}" if manifest.best else "no weights: none are on the cluster's storage yet")
    insist = "the same with --trust-cluster, if you trust whoever runs that cluster with this account"
    if left_out:
        say(f"left out, since loading them may run code of the cluster's: {', '.join(sorted(left_out))}; {insist}")
    if opened and not trust_cluster:
        say(f"trust_remote_code is false in the spec that was fetched; {insist}, keeps it true")
    return target


def _named(record: JobRecord) -> str:
    """Returns the experiment's name, as the cluster reports it.

    Raises:
        BundleError: no experiment has such a name.
    """
    name = record.metadata["experiment"]
    try:
        return folder_name(name)
    except ValueError as error:
        raise BundleError(f"{record.id}: its experiment is called {name!r}, which {error}") from error


def _refuse_too_much(manifest: Manifest, scratch: Path) -> None:
    wanted, free = 2 * sum(part.size for part in manifest.parts), shutil.disk_usage(scratch).free
    if wanted > free:
        sizes = f"{wanted / (1 << 20):,.0f} MiB are needed, {free / (1 << 20):,.0f} MiB are free"
        raise InputError("--to", str(scratch.parent), f"has too little room: {sizes}", "choose a larger disk with --to")


@contextmanager
def _packing(jobs: Jobs, record: JobRecord, scratch: Path) -> Iterator[tuple[str, str]]:
    """Runs a job that packs the experiment; yields its node and its id. At the end it is gone with all that it made."""
    name, storage = record.metadata["experiment"], record.metadata["storage"]
    job = f"fetch-{name}-{uuid.uuid4().hex[:8]}"
    archive = scratch / "code.zip"
    write_archive(archive, code_files())
    words = job_command(jobs.dashboard, "serve", name, storage)
    jobs.submit(JobRequest(job, words, archive, {**job_metadata(name, storage), "purpose": PURPOSE}))
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
            manifest = read_manifest(_bytes(jobs, node, job, MANIFEST, MANIFEST_BYTES) or b"")
        except ValueError:  # not there yet, or not all of it came
            if (packing := jobs.get(job)).over:
                raise ClusterError(f"{record.id}: the job that packs its results ended: {packing.message}") from None
            time.sleep(POLL_SECONDS)
    if manifest.error is not None:
        raise ClusterError(f"{record.id}: nothing to fetch: {manifest.error}")
    return manifest


def _part(jobs: Jobs, node: str, job: str, part: BundlePart, folder: Path) -> Path:
    """Downloads one part, again if it arrives damaged."""
    for _ in range(TRIES):
        data = _bytes(jobs, node, job, part.name, part.size)
        if data is not None and len(data) == part.size and hashlib.sha256(data).hexdigest() == part.sha256:
            (folder / part.name).write_bytes(data)
            return folder / part.name
        time.sleep(POLL_SECONDS)
    raise ClusterError(f"{part.name} of {job} did not arrive whole in {TRIES} tries. Fetch again.")


def _bytes(jobs: Jobs, node: str, job: str, name: str, most: int) -> bytes | None:
    """Downloads a file of the bundle; returns None if there is none, or the connection broke.

    Raises:
        BundleError: it is longer than `most` bytes.
    """
    data = bytearray()
    try:
        for piece in jobs.dashboard.log_file(node, f"{bundle_folder(job)}/{name}"):
            data += piece
            if len(data) > most:
                raise BundleError(f"{name} of {job} is longer than the {most:,} bytes that were announced")
    except BundleError:
        raise
    except ClusterError:
        return None
    return bytes(data)


def _join_parts(parts: list[Path], whole: Path) -> Path:
    with whole.open("wb") as file:
        for part in parts:
            file.write(part.read_bytes())
            part.unlink()
    return whole


def _keep_looks(before: Path, folder: Path, name: str) -> None:
    """Copies the evaluations on test by `train-final` since the last fetch from the folder `before` to the new one.

    Raises:
        InputError: the cluster has no study for one of them.
    """
    if not (before / STORE_FILE).is_file():
        return
    with contextlib.closing(StudyStore(sqlite_url(folder / STORE_FILE))) as store:
        known = {(study.strategy, study.seed): study for study in store.load(name).studies}
        for study in _recorded(before, name).studies:
            for model in study.finals:
                now = known.get((study.strategy, study.seed))
                if now is None:
                    whose = f"{study.strategy}, seed {study.seed}, which the cluster lacks"
                    rule = f"holds a look at the test split by {whose}"
                    raise InputError("--to", str(before), rule, "choose another folder, or move it away")
                same = next((one for one in now.finals if one.same_as(model)), None)
                if same is None or (same.hidden and not model.hidden):
                    store.writer(name, now).add_final(model)


def _record_in_ledger(storage: Path, folder: Path, name: str) -> None:
    """Records the experiment's evaluations on test in the ledger of this account.

    Raises:
        StoreError: its record of test rows is damaged, or the ledger cannot be written.
    """
    with contextlib.closing(StudyStore(sqlite_url(folder / STORE_FILE))) as store:
        if (rows := store.test_rows(name)) is not None:
            EvaluationLedger(storage).record(name, rows, evaluation_ids(name, store.load(name).studies))


def _recorded(folder: Path, name: str) -> ExperimentOutcome:
    with contextlib.closing(StudyStore(sqlite_url(folder / STORE_FILE))) as store:
        return store.load(name)


def _write_reports(folder: Path, name: str) -> None:
    store = StudyStore(sqlite_url(folder / STORE_FILE))
    outcome = store.load(name)
    comparison = compare(outcome, spec=parse_recorded_spec(store.spec(name)))
    (folder / RESULTS).write_text(results_json(outcome), encoding="utf-8")
    (folder / COMPARISON_JSON).write_text(comparison_json(comparison), encoding="utf-8")
    (folder / COMPARISON).write_text(comparison_markdown(comparison), encoding="utf-8")


def _put_in_place(folder: Path, target: Path) -> None:
    old = folder.with_name("replaced")
    if target.exists():
        target.rename(old)
    folder.rename(target)
