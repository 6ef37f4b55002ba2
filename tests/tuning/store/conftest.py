"""Fixtures of a store in a file, empty and with a study."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.stores import open_study
from tuning.store.study_store import StudyStore, StudyWriter, sqlite_url


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """The URL of a file that does not exist yet, in a folder that does not exist either."""
    return sqlite_url(tmp_path / "new" / "folder" / "study.db")


@pytest.fixture
def store(store_url: str) -> StudyStore:
    return StudyStore(store_url)


@pytest.fixture
def writer(store: StudyStore) -> StudyWriter:
    return open_study(store)
