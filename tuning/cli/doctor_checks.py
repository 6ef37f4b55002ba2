"""The checks of `tunefleet doctor` on this machine: versions, precision, storage, cache, store, tracking.

In: a spec. Out: findings, each with advice. Nothing is started or changed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.capacity import ClusterError
from cluster.examination import Finding, State, examine_folder
from cluster.storage import is_uri
from trainables.data.cache_folder import FOLDER_VARIABLE, cache_folder
from trainables.errors import InputError
from trainables.wording import counted
from tuning.spec.validation.network_disks import network_disk
from tuning.spec.validation.versions import unsupported

if TYPE_CHECKING:
    from tuning.spec.models import ExperimentSpec

REACH_SECONDS = 5.0  # for one answer of a server outside


def examine_versions() -> Iterator[Finding]:
    """Check that the installed libraries are of supported versions."""
    for mistake in unsupported():
        yield Finding(mistake.path, State.LACKING, f"{mistake.value}: {mistake.rule}", mistake.next_step)


def examine_precision() -> Iterator[Finding]:
    """Check what trials here would compute in with `precision: auto`."""
    try:
        from trainables.machine.native_bf16 import native_bf16

        found = native_bf16(gpus=True)
    except ImportError as error:
        yield Finding("precision", State.LACKING, f"torch cannot be imported: {error}", "install it anew")
        return
    yield Finding("precision", State.FINE, f"{'bf16' if found.native else 'fp32'}: {found.why}")


def examine_storage(spec: ExperimentSpec) -> Iterator[Finding]:
    """Check that run folders can be written, here or in a bucket."""
    storage = spec.cluster.storage
    if not is_uri(storage):
        yield from examine_folder("storage", Path(storage).expanduser().absolute(), "set cluster.storage=FOLDER")
        return
    from cluster.storage import probe_bucket

    try:
        probe_bucket(storage)
    except ClusterError as error:
        yield Finding("storage", State.LACKING, str(error), "set cluster.storage to a place that can be written")
        return
    yield Finding("storage", State.FINE, f"{storage} can be written, read and deleted from")


def examine_cache() -> Iterator[Finding]:
    """Check the folder of tokenised data sets: it can be written, and is on a local disk."""
    step = f"set {FOLDER_VARIABLE} to a folder of yours on a local disk"
    try:
        folder = cache_folder()
    except InputError as error:
        yield Finding("cache", State.LACKING, f"{error.name}: {error.rule}", step)
        return
    if disk := network_disk(folder):
        found = f"{folder} lies on a network disk ({disk}), where locks may not hold"
        yield Finding("cache", State.NOTE, found, step)
    else:
        yield from examine_folder("cache", folder, step)


def examine_store(spec: ExperimentSpec) -> Iterator[Finding]:
    """Check that the study store can be opened."""
    from tuning.spec.store_url import StoreError, masked, sqlite_file
    from tuning.store.study_store import StudyStore

    url = spec.store_url
    if (file := sqlite_file(url)) is not None and not file.exists():
        yield Finding("store", State.FINE, f"{masked(url)}, made by the first run")
        return
    store = StudyStore(url)
    try:
        names = store.experiments()
    except StoreError as error:
        yield Finding("store", State.LACKING, str(error), "mend the URL or the server (TUNEFLEET_STORE, store)")
        return
    finally:
        with contextlib.suppress(StoreError):
            store.close()
    yield Finding("store", State.FINE, f"{masked(url)}: {counted(len(names), 'experiment')}")


def examine_tracking(spec: ExperimentSpec) -> Iterator[Finding]:
    """Check that the server of Weights & Biases answers, if metrics are sent there."""
    from tuning.tracking.tracking import has_key, mode_in_force

    known = has_key(spec.wandb)
    mode, source = mode_in_force(spec.wandb, key=known)
    key = "a key is there" if known else "no key"
    if mode != "online":
        yield Finding("W&B", State.FINE, f"{mode}{f' ({source})' if source else ''}, {key}: nothing is sent")
        return
    server = os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"
    if why := unreachable(server):
        advice = "set wandb.mode=offline and `wandb sync` later; behind a proxy set https_proxy"
        yield Finding("W&B", State.NOTE, f"{key}; {server} cannot be reached: {why}", advice)
    else:
        yield Finding("W&B", State.FINE, f"{key}; {server} answers")


def unreachable(url: str) -> str | None:
    """Returns why no server answers at `url`, in a few words; None: a server answers, whatever it answers."""
    import requests

    try:
        requests.head(url, timeout=REACH_SECONDS, allow_redirects=False)
    except requests.exceptions.ProxyError:
        return "the proxy does not let it through"
    except requests.exceptions.SSLError:
        return "its certificate is not trusted here (behind a company's proxy: REQUESTS_CA_BUNDLE, SSL_CERT_FILE)"
    except requests.exceptions.Timeout:
        return f"no answer within {REACH_SECONDS:g} s"
    except requests.exceptions.RequestException as error:
        return f"no connection ({type(error).__name__})"
    return None
