"""The database behind the study store: SQLite by default, PostgreSQL for a team, through Optuna's RDB storage.

In: a URL. Out: an open `optuna.storages.RDBStorage`, or a `StoreError` that says what is wrong with the URL, the file
or the server. A password in the URL appears in no message.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from sqlalchemy import URL, Connection

LOCK_TIMEOUT = 30.0  # seconds to wait for another process that writes to the same SQLite file


class StoreError(RuntimeError):
    """The study store cannot do what was asked; the message says why and what to do."""


def sqlite_url(path: str | Path) -> str:
    """The URL of a SQLite file; characters that mean something in a URL are escaped."""
    from sqlalchemy import URL

    absolute = Path(path).expanduser().absolute()
    return URL.create("sqlite", database=str(absolute)).render_as_string()


def masked(url: str) -> str:
    """`url` without its password, for messages."""
    from sqlalchemy.engine import make_url

    try:
        return make_url(url).render_as_string(hide_password=True)
    except Exception:  # it is no URL: the user sees it all the same, less all that may be a password
        return re.sub(r"://.*@", "://***@", url)


def connect(url: str, *, create: bool) -> RDBStorage:
    """Open the database at `url`.

    Args:
        url: sqlite:///PATH (made absolute) or postgresql://USER:PASSWORD@HOST/DATABASE.
        create: make the file, its folder and the tables where they are missing; else that is an error.

    Raises:
        StoreError: not a URL, no such store, not writable, not a database, another schema, no driver, no server.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    # It announces every study that it creates; errors and warnings stay.
    logging.getLogger("optuna.storages._rdb.storage").setLevel(logging.WARNING)
    parsed = _parse(url)
    arguments = {}
    if parsed.get_backend_name() == "sqlite":
        parsed = _sqlite(parsed, create=create)
        arguments = {"connect_args": {"timeout": LOCK_TIMEOUT}}
    shown = parsed.render_as_string(hide_password=True)
    # Optuna fills `{SCHEMA_VERSION}` into URLs with str.format: a brace of ours must pass through it unchanged.
    literal = parsed.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
    try:
        return optuna.storages.RDBStorage(literal, arguments, skip_table_creation=not create)
    except ImportError:
        raise StoreError(
            f"study store {shown}: the PostgreSQL driver is not installed; pip install 'tunefleet[postgres]'"
        ) from None
    except (SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        raise StoreError(f"study store {shown}: {_reason(error)}") from None
    except RuntimeError as error:  # the schema check's own type
        raise StoreError(f"study store {shown}: {error}") from None


def set_attribute_and_value(
    storage: RDBStorage, trial: int, name: str, attribute: Mapping[str, Any], step: int, value: float
) -> None:
    """One transaction for what Optuna's public methods do in two: a user attribute and an intermediate value, each
    replacing an earlier one of its name.

    Written into Optuna's tables without its objects, in half the driver's time: this happens at every report.
    `tests/test_store.py` reads what was written with Optuna's own methods.

    Raises:
        KeyError: no such trial.
    """
    from optuna.storages._rdb import models
    from sqlalchemy import select

    trials, values = models.TrialModel.__table__, models.TrialIntermediateValueModel
    stored, kind = values.intermediate_value_to_stored_repr(value)
    with storage.engine.begin() as connection:
        state = connection.execute(select(trials.c.state).where(trials.c.trial_id == trial)).scalar_one_or_none()
        if state is None:
            raise KeyError(trial)
        storage.check_trial_is_updatable(trial, state)
        row = {"trial_id": trial, "key": name, "value_json": json.dumps(attribute)}
        _upsert(connection, models.TrialUserAttributeModel, ("trial_id", "key"), [row])
        row = {"trial_id": trial, "step": step, "intermediate_value": stored, "intermediate_value_type": kind}
        _upsert(connection, values, ("trial_id", "step"), [row])


def set_study_attributes(storage: RDBStorage, study: int, attributes: Mapping[str, Any]) -> None:
    """One transaction for many user attributes of a study, where Optuna's method takes one for each.

    Raises:
        KeyError: no such study.
    """
    from optuna.storages._rdb import models
    from sqlalchemy import select

    studies = models.StudyModel.__table__
    rows = [{"study_id": study, "key": name, "value_json": json.dumps(value)} for name, value in attributes.items()]
    with storage.engine.begin() as connection:
        if connection.execute(select(studies.c.study_id).where(studies.c.study_id == study)).first() is None:
            raise KeyError(study)  # SQLite would take rows of a study that is not there
        _upsert(connection, models.StudyUserAttributeModel, ("study_id", "key"), rows)


def _upsert(connection: Connection, model: Any, key: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    from sqlalchemy.dialects import postgresql, sqlite

    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(model.__table__)
    fresh = {column: insert.excluded[column] for column in rows[0] if column not in key}
    connection.execute(insert.on_conflict_do_update(index_elements=key, set_=fresh), rows)


@contextmanager
def told(url: str, action: str) -> Iterator[None]:
    """Failures of the database inside the block become a StoreError that names the store and `action`."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except KeyError:  # Optuna's own for a record that is not there
        raise StoreError(
            f"study store {masked(url)}: cannot {action}: the study or the trial was deleted there"
        ) from None
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise StoreError(
            f"study store {masked(url)}: cannot {action}: {_reason(error)}. "
            "What was acknowledged before is safe; mend it, then `tunefleet resume`."
        ) from None


def _parse(url: str) -> URL:
    from sqlalchemy.engine import make_url

    try:
        parsed = make_url(url)
    except Exception:  # SQLAlchemy raises ArgumentError or ValueError, and either may quote the password
        raise StoreError(
            f"study store {masked(url)}: is not a URL; "
            "give sqlite:////absolute/path.db or postgresql://USER:PASSWORD@HOST/DATABASE"
        ) from None
    if parsed.get_backend_name() not in ("sqlite", "postgresql", "postgres"):
        raise StoreError(
            f"study store {masked(url)}: {parsed.drivername!r} is not supported; use sqlite:/// or postgresql://"
        )
    if parsed.drivername in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+psycopg")  # the driver of the `postgres` extra
    return parsed


def _sqlite(url: URL, *, create: bool) -> URL:
    if not url.database or url.database == ":memory:":
        raise StoreError("study store sqlite://: names no file, so it would not outlive the run; give sqlite:///PATH")
    path = Path(url.database).expanduser().absolute()
    if create:
        _make_writable(path)
    elif not path.is_file():
        raise StoreError(f"study store {path}: no such file; nothing was recorded there yet, or the path is another")
    return url.set(database=str(path))


def _make_writable(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"study store {path}: cannot make its folder: {error.strerror}; choose another path") from None
    # SQLite writes a journal beside the file: the folder has to be writable even where the file exists.
    if not os.access(path.parent, os.W_OK) or (path.exists() and not (path.is_file() and os.access(path, os.W_OK))):
        raise StoreError(f"study store {path}: cannot be written; choose another path or mend the permissions")


def _reason(error: BaseException) -> str:
    """The database's own first line, from below SQLAlchemy's and Optuna's wrapping."""
    while error.__cause__ is not None:
        error = error.__cause__
    origin = getattr(error, "orig", None) or error
    text = next(iter(str(origin).strip().splitlines()), "") or type(origin).__name__
    if "no such table" in text or "UndefinedTable" in type(origin).__name__:
        return "holds no studies; it is another program's database, or nothing was recorded there yet"
    return text
