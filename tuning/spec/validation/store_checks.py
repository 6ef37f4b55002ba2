"""Checks the study store of a spec."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from trainables.errors import InputError
from tuning.spec.mistakes import Mistake, join_path
from tuning.spec.validation.draft import Draft
from tuning.spec.validation.network_disks import network_disk

VARIABLE, STUDY_VARIABLE = "TUNEFLEET_STORE", "TUNEFLEET_OPTUNA_STORAGE"


def check_url(draft: Draft) -> Iterator[Mistake]:
    """Checks that the store is a URL, and that the spec holds no password."""
    if draft.spec.store is not None:
        yield from _url_mistakes("store", draft.spec.store, VARIABLE)


def _url_mistakes(path: str, url: str, variable: str) -> Iterator[Mistake]:
    parts = urlsplit(url)
    if not parts.scheme or "://" not in url:
        yield Mistake(path, "must be a database URL", url, "such as sqlite:///studies.db or postgresql://host/name")
    elif parts.password is not None or {"password", "sslpassword"} & parse_qs(parts.query).keys():
        shown = f"{parts.scheme}://{parts.username or ''}:***@{parts.hostname or ''}{parts.path}"
        step = f"remove it, and put the whole URL into the environment variable {variable}"
        yield Mistake(path, "a password must not stand in a spec, which is copied into the run folder", shown, step)


def check_user_studies(draft: Draft) -> Iterator[Mistake]:
    """Checks that the database of a user's own Optuna study is a URL without a password."""
    for place, strategy in draft.strategies():
        url = None if strategy.user_study is None else strategy.user_study.storage
        if url is not None:
            yield from _url_mistakes(join_path(place, "storage"), url, STUDY_VARIABLE)


def check_disk(draft: Draft) -> Iterator[Mistake]:
    """Checks that SQLite writes to a disk of this machine; by default its file lies in the run folder."""
    url, variable = draft.spec.store, os.environ.get(VARIABLE)
    if url or variable:
        path, given = "store" if url else VARIABLE, url or variable or ""
        if not given.startswith("sqlite:///"):
            return
        file = Path(urlsplit(given).path[1:]).expanduser()
    else:
        path, given = "cluster.storage", draft.spec.cluster.storage
        try:
            file = draft.spec.run_folder
        except InputError:  # the checks of the cache's folder report it
            return
    if disk := network_disk(file.absolute()):
        where = "it" if url or variable else f"the study store in {file}"
        rule = (
            f"{where} lies on a network disk ({disk}), where SQLite's locks do not hold and its file can be corrupted"
        )
        step = (
            "keep it on a disk of this machine, store=sqlite:////var/tmp/studies.db, or on a server, "
            f"{VARIABLE}=postgresql://USER:PASSWORD@HOST/DATABASE; all else may stay where it is"
        )
        yield Mistake(path, rule, given, step)
