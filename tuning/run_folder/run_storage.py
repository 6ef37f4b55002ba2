"""The storage of a run: its run folder, or a bucket with a working folder on the driver's machine.

The working folder is ahead of the bucket by the reports since Tune's last snapshot at most; a resume on another machine
computes these again. `locked_run_storage` is the way in: no other driver of this machine (`run_lock`), of another
(`lease`), or of a copy with the same store (`store_lock`), can hold the run meanwhile. A resume on the same machine
continues from its own store, unless another machine has continued the run meanwhile.
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
from tuning.run_folder.store_lock import StoreLock, store_lock
from tuning.spec.models import STORE_FILE, STUDIES, ExperimentSpec
from tuning.spec.store_url import StoreError, sqlite_url

if TYPE_CHECKING:
    from ray.tune import Callback
STATES = "states"  # beside `STUDIES`: what trials would continue from, while a study runs
BUCKET_SNAPSHOT_SECONDS = 10.0  # between two snapshots of Tune's, at least: each uploads files and the store


class RunStorage(Protocol):
    """The storage of one experiment's run."""

    snapshot_seconds: float  # between two snapshots of Tune's, at least

    def tune_folder(self, study: str) -> str:
        """Returns Tune's folder of the study `study`, as a path or a URI."""

    def checkpoint_storage(self, study: str) -> Storage:
        """Returns the storage of the checkpoints of the study `study`."""

    def callbacks(self) -> list[Callback]:
        """Returns the callbacks that Tune calls after the recorder."""

    def save(self) -> None:
        """Returns once the records would survive the loss of this machine."""


def run_storage_of(spec: ExperimentSpec, lease: Lease | None = None, held: StoreLock | None = None) -> RunStorage:
    """Returns the storage of the run of `spec`.

    Args:
        spec: of the experiment.
        lease: the lease that this driver holds, if the run is in a bucket.
        held: the lock that this driver holds in the study store, if that is a server's.

    Raises:
        ClusterError: the bucket cannot be opened.
    """
    return BucketRunStorage(spec, lease, held) if is_uri(spec.cluster.storage) else FolderRunStorage(spec, held)


def checkpoint_storage_at(storage: str, experiment: str, study: str) -> Storage:
    """Returns the storage of the checkpoints of a study that was run.

    Raises:
        ClusterError: `storage` is a bucket that cannot be opened.
    """
    return _in_bucket(RunBucket(storage, experiment), study) if is_uri(storage) else FOLDERS


def _in_bucket(bucket: RunBucket, study: str) -> BucketStorage:
    scheme, path = urlsplit(bucket.uri).scheme, bucket.path
    return BucketStorage(bucket.filesystem, f"{scheme}://", f"{path}/{STUDIES}/{study}", f"{path}/{STATES}/{study}")


@contextmanager
def locked_run_storage(spec: ExperimentSpec, *, take_over: bool = False) -> Iterator[RunStorage]:
    """Locks the storage of the run of `spec` in the block: no other driver writes there, on this machine or another.

    Args:
        spec: of the experiment.
        take_over: see `lease.Lease.take` and `store_lock.StoreLock.take`.

    Raises:
        RunFolderError: another driver runs it; names it.
        ClusterError: it is in a bucket that cannot be used from here.
        StoreError: the study store cannot be reached, or written.
        InputError: the working folder on this machine is another account's, or a symbolic link.
    """
    if is_uri(spec.cluster.storage):
        RunBucket(spec.cluster.storage, spec.name).make_folder()
    with (
        run_lock(spec.run_folder, spec.name) as lock,
        held_lease(spec.cluster.storage, spec.name, lock, take_over=take_over) as lease,
        store_lock(spec.store_url, spec.name, spec.run_folder, take_over=take_over) as held,
    ):
        yield run_storage_of(spec, lease, held)


class FolderRunStorage:
    """A run folder that every node reaches; what is written there is safe at once.

    Args:
        spec: of the experiment.
        held: checked by each `save`; None: no other driver can record into the store.
    """

    snapshot_seconds = 0.0  # as soon as a trial changes

    def __init__(self, spec: ExperimentSpec, held: StoreLock | None = None) -> None:
        self._folder, self._held = spec.run_folder, held

    def tune_folder(self, study: str) -> str:
        """See `RunStorage`."""
        return str(self._folder / STUDIES / study)

    def checkpoint_storage(self, study: str) -> Storage:
        """See `RunStorage`."""
        return FOLDERS

    def callbacks(self) -> list[Callback]:
        """See `RunStorage`."""
        if self._held is None:
            return []
        from tuning.run_folder.storage_callback import StorageCallback

        return [StorageCallback(self.save)]

    def save(self) -> None:
        """See `RunStorage`.

        Raises:
            StorageError: another driver has taken the experiment over in the store.
            StoreError: the store cannot be reached.
        """
        if self._held is not None:
            self._held.keep()


class BucketRunStorage:
    """A folder in a bucket, with a working folder on this machine.

    Args:
        spec: of the experiment.
        lease: renewed by each `save`; None: no other driver can write there.
        held: checked by each `save`; None: no other driver can record into the store.
    """

    snapshot_seconds = BUCKET_SNAPSHOT_SECONDS

    def __init__(self, spec: ExperimentSpec, lease: Lease | None = None, held: StoreLock | None = None) -> None:
        self._lease, self._held = lease, held
        self._bucket = RunBucket(spec.cluster.storage, spec.name)
        store = spec.run_folder / STORE_FILE
        self._store = store if spec.store_url == sqlite_url(store) else None  # another database is not on this machine
        self._saved = (0, 0)  # time and size of the file

    def tune_folder(self, study: str) -> str:
        """See `RunStorage`."""
        return _in_bucket(self._bucket, study).study

    def checkpoint_storage(self, study: str) -> Storage:
        """See `RunStorage`."""
        return _in_bucket(self._bucket, study)

    def callbacks(self) -> list[Callback]:
        """See `RunStorage`."""
        from tuning.run_folder.storage_callback import StorageCallback

        return [StorageCallback(self.save)]

    def save(self) -> None:
        """See `RunStorage`. Copies the store if it has changed.

        Raises:
            StorageError: the bucket cannot be written, another driver has taken the run over, or the store is damaged.
        """
        try:
            if self._lease is not None:
                self._lease.keep()
            if self._held is not None:
                self._held.keep()
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
