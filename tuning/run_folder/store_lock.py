"""Allows one driver per experiment in one study store, which several copies of a run folder may record into.

A run lock keeps out drivers of the same folder, a lease those of the same bucket; neither knows of a copy elsewhere.
The store does. On PostgreSQL it is an advisory lock of a transaction that stays open, on a connection of its own: the
server releases it as soon as the driver ends, however it ends, and within two minutes where its machine or the network
is lost. The name of that connection (`application_name`, which every account may read) names the holder. A SQLite file
outside of the run folder has a lock file beside it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.storage import StorageError
from tuning.errors import RunFolderError
from tuning.run_folder.run_lock import Driver, describe_driver, in_use, locked_file, this_driver
from tuning.spec.models import STORE_FILE
from tuning.spec.store_url import masked, sqlite_file
from tuning.store.database import database_errors, open_server, require_writable

if TYPE_CHECKING:
    from sqlalchemy import Connection

NAME_BYTES = 63  # of a connection's name; PostgreSQL cuts off what is longer
LOST_SECONDS = 120  # without a sign of the driver's machine, after which the server releases the lock
ENDING_SECONDS = 10.0  # that the server has to end a connection that is taken over
ALIVE = {  # settings of the transaction: it stays open while the driver is alive, and no longer
    "idle_in_transaction_session_timeout": "0",
    "tcp_keepalives_idle": str(LOST_SECONDS // 2),
    "tcp_keepalives_interval": str(LOST_SECONDS // 12),
    "tcp_keepalives_count": "6",
}
KEEPALIVE = {"keepalives_idle": LOST_SECONDS // 2}  # of the driver's end: a firewall forgets silent connections
KEY = "select hashtextextended('tunefleet ' || current_schema() || ' ' || :name, 0)"
TAKE = "select pg_try_advisory_xact_lock(:key)"
HOLDER = """
select pid, application_name from pg_locks join pg_stat_activity using (pid)
where locktype = 'advisory' and granted and objsubid = 1
and database = (select oid from pg_database where datname = current_database())
and (cast(classid as bigint) << 32) | cast(objid as bigint) = :key
"""


class StoreLock:
    """The lock of one experiment in a PostgreSQL store.

    Args:
        url: of the store.
        name: of the experiment.

    Raises:
        StoreError: in all methods, the server cannot be reached.
    """

    def __init__(self, url: str, name: str) -> None:
        self._url, self._name = url, name
        self._engine = open_server(url, **KEEPALIVE)
        self._own = _connection_name(this_driver())
        self._connection: Connection | None = None
        self._lost: StorageError | None = None

    def take(self, *, take_over: bool = False) -> None:
        """Acquires the lock, unless another driver holds it.

        Args:
            take_over: acquire it also from a driver that may run; that driver stops when it notices.

        Raises:
            RunFolderError: another driver holds it; names it.
        """
        deadline = time.monotonic() + ENDING_SECONDS
        while (holder := self._try(end_other=take_over)) is not None:
            if not take_over or time.monotonic() > deadline:
                raise RunFolderError(
                    f"{in_use(self._name, masked(self._url), holder)}. If its machine is lost, this is free within "
                    f"{LOST_SECONDS} s; or go on now with --take-over, which ends that driver's hold of the store"
                )
            time.sleep(0.1)

    def keep(self) -> None:
        """Checks that this driver still holds the lock; acquires it again if the server was restarted meanwhile.

        Raises:
            StorageError: another driver has taken it over.
        """
        from sqlalchemy import text
        from sqlalchemy.exc import DBAPIError

        if self._lost is None and self._connection is not None:
            try:
                self._connection.execute(text("select 1"))
                return
            except DBAPIError:  # the server was restarted, or has ended this connection
                self.release()
        if self._lost is None and (holder := self._try()) is not None:
            self._lost = StorageError(
                f"name: {self._name}: {masked(self._url)} was taken over by {holder}. This driver records nothing more "
                "there, and stops: what it has trained since its last snapshot, the other one trains."
            )
        if self._lost is not None:
            raise self._lost

    def release(self) -> None:
        """Releases the lock; the next driver finds it free once this returns."""
        from sqlalchemy.exc import DBAPIError

        connection, self._connection = self._connection, None
        if connection is not None:
            with connection, contextlib.suppress(DBAPIError):  # of a lost connection the server has released it
                connection.rollback()

    def _try(self, *, end_other: bool = False) -> str | None:
        """Acquires the lock if it is free; returns None then, else who holds it."""
        from sqlalchemy import text

        with database_errors(self._url, f"lock {self._name}"), contextlib.ExitStack() as stack:
            connection = stack.enter_context(self._engine.connect())
            for setting, value in {**ALIVE, "application_name": self._own}.items():
                connection.execute(
                    text("select set_config(:setting, :value, true)"), {"setting": setting, "value": value}
                )
            key = connection.scalar(text(KEY), {"name": self._name})
            if connection.scalar(text(TAKE), {"key": key}):
                self._connection = connection
                stack.pop_all()
                return None
            found = connection.execute(text(HOLDER), {"key": key}).first()
            if found is not None and end_other:
                connection.execute(text("select pg_terminate_backend(:pid)"), {"pid": found.pid})
        return "another process" if found is None else _holder(found.application_name)


def _connection_name(driver: Driver) -> str:
    """Returns the name of a driver's connection; `_holder` reads it. A long name of a host is cut off."""
    since = driver["since"].removesuffix(" UTC")
    text = f"tunefleet {driver['process']} {since} {driver['user']} {driver['host']}"
    return text.encode(errors="replace")[:NAME_BYTES].decode(errors="ignore")


def _holder(connection: str) -> str:
    """Describes the driver whose connection has that name."""
    try:
        _, process, day, hour, user, host = connection.split(" ", 5)
        return describe_driver(Driver(process=int(process), host=host, user=user, since=f"{day} {hour} UTC"))
    except ValueError:  # it is not named yet, or by a pooler of connections
        return f"another process ({connection})" if connection else "another process"


@contextlib.contextmanager
def store_lock(url: str, name: str, folder: Path | None, *, take_over: bool = False) -> Iterator[StoreLock | None]:
    """Holds the lock of an experiment in its study store in the block.

    Yields None where the store is a file. That of the run folder needs no lock besides the folder's.

    Args:
        url: of the store.
        name: of the experiment.
        folder: its run folder; None: it has none here.
        take_over: see `StoreLock.take`; of a file, a driver that holds it is alive, and is not taken over from.

    Raises:
        RunFolderError: another driver holds it; names it.
        StoreError: the store cannot be reached, or written.
    """
    if (file := sqlite_file(url)) is not None:
        if folder is not None and file == (folder / STORE_FILE).absolute():
            yield None
            return
        require_writable(file)
        with locked_file(file.with_name(f".{file.name}.{name}.lock"), name, str(file)):
            yield None
        return
    lock = StoreLock(url, name)
    lock.take(take_over=take_over)
    try:
        yield lock
    finally:
        lock.release()
