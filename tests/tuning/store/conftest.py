"""A store in a file, without and with a study in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.stores import open_study
from tuning.store.study_store import StudyStore, StudyWriter, sqlite_url


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """Of a file that is not there yet, nor is its folder."""
    return sqlite_url(tmp_path / "new" / "folder" / "study.db")


@pytest.fixture
def store(store_url: str) -> StudyStore:
    return StudyStore(store_url)


@pytest.fixture
def writer(store: StudyStore) -> StudyWriter:
    return open_study(store)
