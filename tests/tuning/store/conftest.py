"""Stores with and without a study in them, on SQLite and on PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.stores import open_study
from tuning.store.study_store import StudyStore, StudyWriter, sqlite_url


@pytest.fixture
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty store: a file that is not there yet, or (`on_both`) a new database of a server."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return sqlite_url(tmp_path / "new" / "folder" / "study.db")
    database: str = request.getfixturevalue("postgres").new_database()
    return database


@pytest.fixture
def store(store_url: str) -> StudyStore:
    return StudyStore(store_url)


@pytest.fixture
def writer(store: StudyStore) -> StudyWriter:
    return open_study(store)
