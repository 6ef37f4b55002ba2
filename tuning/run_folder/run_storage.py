"""Where an experiment's run lies: in its run folder, or in a bucket with a working folder on the driver's machine.

What the working folder has is never ahead of the bucket by more than the reports since Tune's last snapshot, which a
resume on another machine makes again. One on the same machine goes on from its own store, unless another machine has
gone on meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from cluster.capacity import ClusterError
from cluster.storage import StorageError, is_uri
from trainables.checkpoints.bucket import BucketStorage
from trainables.checkpoints.storage import FOLDERS, Storage
from tuning.run_folder.bucket import RunBucket
from tuning.run_folder.lease import Lease, held_lease
from tuning.run_folder.run_lock import run_lock
from tuning.spec.models import STORE_FILE, STUDIES, ExperimentSpec
from tuning.spec.store_url import StoreError, sqlite_url

if TYPE_CHECKING:
    from ray.tune import Callback
STATES = "states"  # beside `STUDIES`: what trials would go on from, while a study runs
BUCKET_SNAPSHOT_SECONDS = 10.0  # seconds between two snapshots of Tune's at least: each uploads its files and the store


class RunStorage(Protocol):
    """Of one experiment."""

    snapshot_seconds: float  # between two snapshots of Tune's, at least

    def tune_folder(self, study: str) -> str:
        """Of the study of that name, as Tune calls it."""

    def checkpoint_storage(self, study: str) -> Storage:
        """Of the checkpoints of the study of that name."""

    def callbacks(self) -> list[Callback]:
        """For Tune to call after the recorder."""

    def save(self) -> None:
        """Return when what is recorded would survive this machine."""


def run_storage_of(spec: ExperimentSpec, lease: Lease | None = None) -> RunStorage:
    """Where the run of `spec` lies.

    Args:
        lease: that this driver holds, if it is in a bucket.

    Raises:
        ClusterError: the bucket cannot be opened.
    """
    return BucketRunStorage(spec, lease) if is_uri(spec.cluster.storage) else FolderRunStorage(spec)


def checkpoint_storage_at(storage: str, experiment: str, study: str) -> Storage:
    """Of the checkpoints of a study that was run.

    Raises:
        ClusterError: `storage` is a bucket that cannot be opened.
    """
    return _in_bucket(RunBucket(storage, experiment), study) if is_uri(storage) else FOLDERS


def _in_bucket(bucket: RunBucket, study: str) -> BucketStorage:
    scheme, path = urlsplit(bucket.uri).scheme, bucket.path
    return BucketStorage(bucket.filesystem, f"{scheme}://", f"{path}/{STUDIES}/{study}", f"{path}/{STATES}/{study}")


@contextmanager
def locked_run_storage(spec: ExperimentSpec, *, take_over: bool = False) -> Iterator[RunStorage]:
    """Gives the place of the run of `spec`; in the block no other driver writes there, on this machine or another.

    Args:
        take_over: see `lease.Lease.take`.

    Raises:
        RunFolderError: another driver does; says which.
        ClusterError: it is a bucket that cannot be used from here.
        InputError: the working folder of this machine is somebody else's, or a symbolic link.
    """
    if is_uri(spec.cluster.storage):
        RunBucket(spec.cluster.storage, spec.name).make_folder()
    with (
        run_lock(spec.run_folder, spec.name) as lock,
        held_lease(spec.cluster.storage, spec.name, lock, take_over=take_over) as lease,
    ):
        yield run_storage_of(spec, lease)


class FolderRunStorage:
    """The run folder: every node reaches it, and what is written there is safe."""

    snapshot_seconds = 0.0  # as soon as a trial has changed

    def __init__(self, spec: ExperimentSpec) -> None:
        self._folder = spec.run_folder

    def tune_folder(self, study: str) -> str:
        """See `RunStorage`."""
        return str(self._folder / STUDIES / study)

    def checkpoint_storage(self, study: str) -> Storage:
        """See `RunStorage`."""
        return FOLDERS

    def callbacks(self) -> list[Callback]:
        """See `RunStorage`."""
        return []

    def save(self) -> None:
        """See `RunStorage`."""


class BucketRunStorage:
    """A folder in a bucket.

    Args:
        lease: renewed by each `save`; None: nobody else can be writing there.
    """

    snapshot_seconds = BUCKET_SNAPSHOT_SECONDS

    def __init__(self, spec: ExperimentSpec, lease: Lease | None = None) -> None:
        self._lease = lease
        self._bucket = RunBucket(spec.cluster.storage, spec.name)
        store = spec.run_folder / STORE_FILE
        self._store = store if spec.store_url == sqlite_url(store) else None  # another database is elsewhere anyway
        self._saved = (0, 0)  # time and size of the file

    def tune_folder(self, study: str) -> str:
        """See `RunStorage`."""
        return _in_bucket(self._bucket, study).study

    def checkpoint_storage(self, study: str) -> Storage:
        """See `RunStorage`."""
        return _in_bucket(self._bucket, study)

    def callbacks(self) -> list[Callback]:
        """See `RunStorage`."""
        from tuning.run_folder.store_copies import StoreCopies

        return [StoreCopies(self.save)]

    def save(self) -> None:
        """See `RunStorage`. Copies the store unless it is as it was.

        Raises:
            StorageError: the bucket cannot be written, another driver has taken the run over, or the store is damaged.
        """
        try:
            if self._lease is not None:
                self._lease.keep()
            if self._store is not None and self._store.is_file():
                self._save(self._store)
        except StorageError:
            raise
        except (ClusterError, StoreError) as error:
            raise StorageError(f"{error} Then go on with `tunefleet resume {self._bucket.uri}`.") from error

    def _save(self, store: Path) -> None:
        found = store.stat()
        if (found.st_mtime_ns, found.st_size) != self._saved:
            self._bucket.store.save(store)
        self._saved = (found.st_mtime_ns, found.st_size)
