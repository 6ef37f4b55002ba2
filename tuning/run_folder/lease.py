"""Allows one driver per run in a bucket, on any machine, by an object there that the driver renews while it runs.

A lock of the file system is released when its process ends; an object is not. So a lease is valid as long as it is
renewed: with every snapshot, and by a thread if a run takes none for a while. Its age is measured by the bucket's own
clock. Buckets have no locks: of two drivers that begin in the same second, each may see only itself. The one that wrote
first finds the other's name when it renews the lease, and stops.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from cluster.capacity import ClusterError
from cluster.storage import StorageError, cloud_errors, is_uri, probe_bucket, without_credentials
from tuning.errors import RunFolderError
from tuning.run_folder.bucket import LEASE, RunBucket
from tuning.run_folder.run_lock import in_use, this_driver

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

LEASE_SECONDS = 300.0  # seconds without a renewal after which a driver counts as dead
RENEWAL_SECONDS = 60.0  # seconds between two renewals at most

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Holder:
    """The driver of an experiment in a bucket, as the lease there names it."""

    token: str  # unique to this start of a driver
    process: int
    host: str
    user: str
    since: str
    lock: str | None  # id of the run lock on its machine: whoever holds that lock now knows that this driver has ended
    lasts: float = LEASE_SECONDS  # seconds without a renewal after which the lease ends

    @classmethod
    def here(cls, lock: str | None, lasts: float = LEASE_SECONDS) -> Holder:
        """Describes this process."""
        return cls(uuid.uuid4().hex, lock=lock, lasts=lasts, **this_driver())

    @classmethod
    def read(cls, data: bytes) -> Holder | None:
        """Parses the bytes of a lease; None if they are incomplete."""
        try:
            return cls(**json.loads(data))
        except (ValueError, TypeError):
            return None

    def __str__(self) -> str:
        return f"process {self.process} of {self.user} on {self.host}, since {self.since}"


class Lease:
    """The lease of one run, in the folder `folder` of a bucket.

    Raises:
        ClusterError: in all methods, the bucket cannot be read or written.
    """

    def __init__(self, filesystem: FileSystem, folder: str, uri: str, own: Holder) -> None:
        self._filesystem, self._folder, self._uri, self._own = filesystem, folder, uri, own
        self._path = f"{folder}/{LEASE}"
        self._turn = (
            threading.Lock()
        )  # the run's thread and the renewing one take turns, so that none reads half a lease

    def take(self, name: str, *, take_over: bool = False) -> None:
        """Acquires the lease, unless another driver holds it.

        Args:
            name: of the experiment.
            take_over: acquire it also from a driver that may run; that driver stops when it notices.

        Raises:
            RunFolderError: another driver holds it; names it, and how to take over.
        """
        other = self._holder()
        if other is not None and not take_over and not self._is_dead(other):
            raise RunFolderError(self._refusal(name, other))
        self.renew()
        if (now := self._holder()) is not None and now.token != self._own.token:
            raise RunFolderError(self._refusal(name, now))

    def renew(self) -> None:
        """Writes the lease again, so that it is new."""
        with cloud_errors(self._uri, "be written"), self._filesystem.open_output_stream(self._path) as output:
            output.write(json.dumps(asdict(self._own)).encode())

    def keep(self) -> None:
        """Renews the lease if it is still this driver's.

        Raises:
            StorageError: another driver has taken it over, and may have ended since.
        """
        with self._turn:
            self._keep()

    def _keep(self) -> None:
        other = self._holder()
        if other is None or other.token != self._own.token:
            who = "another driver, which has ended" if other is None else str(other)
            raise StorageError(
                f"cluster.storage: {without_credentials(self._uri)} was taken over by {who}. This driver writes "
                "nothing more there, and stops: what it has trained since its last snapshot, the other one trains."
            )
        self.renew()

    def give_up(self) -> None:
        """Deletes the lease, unless another driver has taken it over."""
        other = self._holder()
        if other is None or other.token == self._own.token:
            with cloud_errors(self._uri, "be written"), contextlib.suppress(FileNotFoundError):
                self._filesystem.delete_file(self._path)

    def _holder(self) -> Holder | None:
        with cloud_errors(self._uri, "be read"):
            try:
                with self._filesystem.open_input_stream(self._path) as source:
                    return Holder.read(source.read())
            except FileNotFoundError:
                return None

    def _is_dead(self, other: Holder) -> bool:
        """True if this process holds the lock that `other` held, or `other` has not renewed the lease for too long."""
        return (other.lock is not None and other.lock == self._own.lock) or self._age() > other.lasts

    def _age(self) -> float:
        """Returns the seconds since the last renewal, by the clock of the bucket; no machine's clock is trusted."""
        probed = f"{self._folder}/.clock-{self._own.token}"
        with cloud_errors(self._uri, "be written"):
            with self._filesystem.open_output_stream(probed) as output:
                output.write(b".")
            now, written = self._filesystem.get_file_info([probed, self._path])
            self._filesystem.delete_file(probed)
        return (now.mtime - written.mtime).total_seconds() if written.is_file else float("inf")

    def _refusal(self, name: str, other: Holder) -> str:
        left, uri = max(0.0, other.lasts - self._age()), without_credentials(self._uri)
        return (
            f"{in_use(name, uri, str(other))}. If that driver is gone, this is free in {left:.0f} s; or go on now with "
            f"`tunefleet resume {uri} --take-over`"
        )


@contextlib.contextmanager
def held_lease(
    storage: str,
    name: str,
    lock: str | None,
    *,
    take_over: bool = False,
    lasts: float = LEASE_SECONDS,
    renewed: float = RENEWAL_SECONDS,
) -> Iterator[Lease | None]:
    """Holds the lease of an experiment in the block, so that no other machine's driver runs it.

    Yields None if `storage` is a folder, which needs no lease.

    Args:
        storage: of the experiment.
        name: of the experiment.
        lock: from `run_lock`, which keeps out other drivers of this machine.
        take_over: see `Lease.take`.
        lasts: seconds without a renewal after which others may acquire it.
        renewed: seconds between two renewals at most, also if the run itself has nothing to save.

    Raises:
        RunFolderError: another driver holds it.
        ClusterError: the bucket cannot be used from here.
    """
    if not is_uri(storage):
        yield None
        return
    probe_bucket(storage)
    bucket = RunBucket(storage, name)
    lease = Lease(bucket.filesystem, bucket.path, bucket.uri, Holder.here(lock, lasts))
    lease.take(name, take_over=take_over)
    ended = threading.Event()
    renewing = threading.Thread(target=_renew, args=(lease, ended, renewed), name="lease", daemon=True)
    renewing.start()
    try:
        yield lease
    finally:
        ended.set()
        renewing.join()
        try:
            lease.give_up()
        except ClusterError as error:
            logger.warning("%s Others find this run in use for %g s more.", error, lasts)


def _renew(lease: Lease, ended: threading.Event, seconds: float) -> None:
    """Renews the lease until the run ends or has lost it; the driver notices a loss when it saves the next time."""
    while not ended.wait(seconds):
        try:
            lease.keep()
        except StorageError:
            return
        except ClusterError as error:  # the bucket may answer the next time
            logger.warning("%s It is tried again.", error)
