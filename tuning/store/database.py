"""The database behind the study store: SQLite by default, PostgreSQL for a team, through Optuna's RDB storage.

Input is a URL; output is an open `optuna.storages.RDBStorage`, or a `StoreError` that names what is wrong with the URL,
the file or the server. No message contains the password of a URL.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.spec.store_url import StoreError, masked, parse_url, without_password

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from sqlalchemy import URL, Engine

log = logging.getLogger(__name__)

LOCK_TIMEOUT = 30.0  # seconds to wait for another process that writes to the same SQLite file
RECONNECT = 60.0  # seconds to wait for a server that went away: it may be restarting
GOOD_COPY = "Restore a good copy, or start under another name (name=...)"
RACES = 10  # attempts to create the tables while other processes create them, too
# Options of libpq: seconds to reach a server, and milliseconds until a silent server counts as gone.
SERVER_OPTIONS = {"connect_timeout": 10, "tcp_user_timeout": 30_000, "application_name": "tunefleet"}
NEXT_STEPS = {  # by a part of the server's message
    "password authentication failed": "check user and password in TUNEFLEET_STORE (or in ~/.pgpass)",
    "no password supplied": "put the URL with the password into TUNEFLEET_STORE, or the password into ~/.pgpass",
    "does not exist": "create it on the server (createdb, createuser), or correct the URL",
    "permission denied": "the user needs to create tables there once: GRANT CREATE ON SCHEMA public TO ...",
    "Connection refused": "is the server up, and does it listen on that address and port?",
    "timeout expired": "is the server up, and does a firewall let this machine through?",
    "resolve host": "check the host in the URL",
}


def open_database(url: str, *, create: bool) -> RDBStorage:
    """Opens the database at `url`. If its server goes away later, the next transaction waits for it.

    Args:
        url: sqlite:///PATH (made absolute) or postgresql://USER:PASSWORD@HOST/DATABASE.
        create: create the file, its folder and the tables if they are missing; otherwise that is an error.

    Raises:
        StoreError: not a URL, no such store, not writable, not a database, another schema, no driver, no server.
    """
    # Optuna logs every study that it creates; errors and warnings stay.
    logging.getLogger("optuna.storages._rdb.storage").setLevel(logging.WARNING)
    parsed = parse_url(url)
    sqlite = parsed.get_backend_name() == "sqlite"
    if sqlite:
        parsed = _sqlite(parsed, create=create)
    with _opening_errors(parsed):
        storage = _opened(parsed, create=create)
    if not sqlite:
        _wait_for_server(storage.engine)
    return storage


def open_server(url: str, **options: Any) -> Engine:
    """Opens the server of a PostgreSQL database, for connections outside of Optuna, each closed when it is left.

    Args:
        url: postgresql://USER:PASSWORD@HOST/DATABASE.
        options: of libpq.

    Raises:
        StoreError: not a URL, no driver, no server.
    """
    from sqlalchemy import NullPool, create_engine

    parsed = parse_url(url)
    with _opening_errors(parsed):
        engine = create_engine(parsed, poolclass=NullPool, connect_args=_server_options(parsed, **options))
        engine.connect().close()
    _wait_for_server(engine)
    return engine


@contextmanager
def _opening_errors(url: URL) -> Iterator[None]:
    """Turns the failure to open a database into a StoreError that names it."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    place = f"study store {without_password(url)}"
    try:
        yield
    except ImportError:
        step = "pip install 'tunefleet[postgres]'"
        raise StoreError(f"{place}: the PostgreSQL driver psycopg is not installed; {step}") from None
    except (SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        raise StoreError(f"{place}: {error_reason(error)}") from None
    except RuntimeError as error:  # raised by the check of the schema
        raise StoreError(f"{place}: {error}") from None


@contextmanager
def database_errors(url: str, action: str) -> Iterator[None]:
    """Turns database failures inside the block into a StoreError that names the store and `action`."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except KeyError:  # Optuna raises it for a missing record
        raise StoreError(
            f"study store {masked(url)}: cannot {action}: the study or the trial was deleted there"
        ) from None
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise StoreError(
            f"study store {masked(url)}: cannot {action}: {error_reason(error)}. "
            "Results that were recorded before are safe; correct this, then `tunefleet resume`."
        ) from None
    except (
        LookupError,
        ValueError,
    ) as error:  # the content is wrong: no JSON, an unknown state, a wrong checksum
        raise StoreError(f"study store {masked(url)}: cannot {action}: {error}. {GOOD_COPY}") from error


def check_sqlite(url: str) -> None:
    """Checks the whole file of a SQLite database, indexes included. Does nothing for a server's database.

    A database of 10,000 reports takes a tenth of a second.

    Raises:
        StoreError: the file is damaged, or no database.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or not Path(parsed.database).is_file():
        return
    if (why := damage_of_sqlite(Path(parsed.database))) is not None:
        raise StoreError(f"study store {parsed.database}: damaged: {why}. {GOOD_COPY}")


def damage_of_sqlite(file: Path) -> str | None:
    """Returns the first damage that SQLite's integrity check finds in a file; None if there is none."""
    try:
        with contextlib.closing(sqlite3.connect(file, timeout=LOCK_TIMEOUT)) as connection:
            found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(1)")]
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if found == ["ok"] else " ".join(found[0].split())


def _opened(url: URL, *, create: bool) -> RDBStorage:
    """Opens the storage.

    If two processes create the tables of a new database, the slower one tries again and finds them.
    """
    import optuna
    from sqlalchemy.exc import DBAPIError, IntegrityError

    options: dict[str, Any] = {"connect_args": {"timeout": LOCK_TIMEOUT}}
    if url.get_backend_name() == "postgresql":
        # A lost connection is detected, and a new one opened.
        options = {"connect_args": _server_options(url), "pool_pre_ping": True}
    # Optuna fills `{SCHEMA_VERSION}` into URLs with str.format: braces of ours must pass through it unchanged.
    literal = url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
    for left in reversed(range(RACES)):
        try:
            return optuna.storages.RDBStorage(literal, options, skip_table_creation=not create)
        except DBAPIError as error:
            if not left or not (isinstance(error, IntegrityError) or "already exists" in str(error)):
                raise
        time.sleep(random.random() / 10)
    raise AssertionError("the last try returns or raises")


def _server_options(url: URL, **more: Any) -> dict[str, Any]:
    """Returns the options of libpq that the user has not set in the URL."""
    return {name: value for name, value in {**SERVER_OPTIONS, **more}.items() if name not in url.query}


def _wait_for_server(engine: Engine) -> None:
    """Makes each later connection wait up to RECONNECT seconds for a server that does not answer."""
    from sqlalchemy import Dialect, event

    @event.listens_for(engine, "do_connect")
    def connect_with_retries(dialect: Dialect, record: Any, args: Any, options: Any) -> Any:
        deadline = time.monotonic() + RECONNECT
        warned = False
        while True:
            try:
                return dialect.connect(*args, **options)
            except dialect.loaded_dbapi.OperationalError as error:
                if time.monotonic() > deadline:
                    raise
                if not warned:
                    shown = without_password(engine.url)
                    log.warning("study store %s: %s; trying for %g s", shown, error_reason(error), RECONNECT)
                warned = True
                time.sleep(0.5)


def _sqlite(url: URL, *, create: bool) -> URL:
    if not url.database or url.database == ":memory:":
        raise StoreError("study store sqlite://: names no file, so it would not outlive the run; give sqlite:///PATH")
    path = Path(url.database).expanduser().absolute()
    if create:
        require_writable(path)
    elif not path.is_file():
        raise StoreError(f"study store {path}: no such file; nothing was recorded there yet, or the path is another")
    return url.set(database=str(path))


def require_writable(path: Path) -> None:
    """Makes the folder of a SQLite file, and checks that the file can be written.

    Raises:
        StoreError: it cannot.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"study store {path}: cannot make its folder: {error.strerror}; choose another path") from None
    # SQLite writes a journal beside the file: the folder has to be writable even where the file exists.
    if not os.access(path.parent, os.W_OK) or (path.exists() and not (path.is_file() and os.access(path, os.W_OK))):
        raise StoreError(f"study store {path}: cannot be written; choose another path or change the permissions")


def error_reason(error: BaseException) -> str:
    """Returns the first line of the database's own error, unwrapped, and the next step if one is known."""
    while error.__cause__ is not None:
        error = error.__cause__
    origin = getattr(error, "orig", None) or error
    text = next(iter(str(origin).strip().splitlines()), "") or type(origin).__name__
    if "no such table" in text or "UndefinedTable" in type(origin).__name__:
        return "holds no studies; it is another program's database, or nothing was recorded there yet"
    step = next((step for part, step in NEXT_STEPS.items() if part in text), None)
    return f"{text}; {step}" if step else text
