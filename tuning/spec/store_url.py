"""Parses the URL of a study store, and shows it without its password."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import URL

SECRET_OPTIONS = ("password", "sslpassword")  # that PostgreSQL's client takes after the question mark
DRIVER = "postgresql+psycopg"  # of the `postgres` extra


class StoreError(RuntimeError):
    """The study store has failed; the message gives the reason and the next step."""


def sqlite_url(path: str | Path) -> str:
    """The URL of a SQLite file, with special characters escaped."""
    from sqlalchemy import URL

    absolute = Path(path).expanduser().absolute()
    return URL.create("sqlite", database=str(absolute)).render_as_string()


def sqlite_file(url: str) -> Path | None:
    """The absolute path of the file behind the URL of a SQLite store; None for another database.

    Raises:
        StoreError: not a URL, or of a database that is not supported.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return None
    return Path(parsed.database).expanduser().absolute()


def masked(url: str) -> str:
    """The text `url` without its password, for messages."""
    from sqlalchemy.engine import make_url

    try:
        return without_password(make_url(url))
    except Exception:  # it is no URL: the user sees it all the same, less all that may be a password
        return re.sub(r"://.*@", "://***@", url)


def without_password(url: URL) -> str:
    """The parsed `url` without its password, otherwise as the user typed it."""
    url = url.difference_update_query(SECRET_OPTIONS).set(drivername=url.drivername.removesuffix("+psycopg"))
    return url.render_as_string(hide_password=True)


def parse_url(url: str) -> URL:
    """Parses a URL, and adds the driver that is used here.

    Raises:
        StoreError: not a URL, or of another database than SQLite and PostgreSQL.
    """
    from sqlalchemy.engine import make_url

    try:
        parsed = make_url(url)
    except Exception:  # SQLAlchemy raises ArgumentError or ValueError, and either may quote the password
        raise StoreError(
            f"study store {masked(url)}: is not a URL; "
            "give sqlite:////absolute/path.db or postgresql://USER:PASSWORD@HOST/DATABASE"
        ) from None
    if parsed.drivername in ("postgres", "postgresql", DRIVER):
        return parsed.set(drivername=DRIVER)
    if parsed.get_backend_name() == "postgresql":
        raise StoreError(f"study store {masked(url)}: the driver here is psycopg; begin the URL with postgresql://")
    if parsed.get_backend_name() != "sqlite":
        raise StoreError(
            f"study store {masked(url)}: {parsed.drivername!r} is not supported; use sqlite:/// or postgresql://"
        )
    return parsed
