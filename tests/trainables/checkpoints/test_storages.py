"""The contract of storages: a folder, a bucket on S3, and one of Google's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.buckets import credentials, google_server, google_storage, s3_server, s3_storage
from trainables.checkpoints.storage import FOLDERS, Storage
from tuning.testing.storage_contract import StorageContract

pytestmark = pytest.mark.unit

Place = tuple[Storage, str]


class TestFolder(StorageContract):
    @pytest.fixture
    def storage(self) -> Storage:
        return FOLDERS

    @pytest.fixture
    def study(self, tmp_path: Path) -> str:
        return str(tmp_path / "study")


class Bucket(StorageContract):
    """A subclass states the fixture `place`."""

    @pytest.fixture
    def storage(self, place: Place) -> Storage:
        return place[0]

    @pytest.fixture
    def study(self, place: Place) -> str:
        return place[1]


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture(scope="module")
def googles() -> Iterator[str]:
    with google_server() as address:
        yield address


class TestS3(Bucket):
    @pytest.fixture
    def place(self, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
        for name, value in credentials(s3).items():
            monkeypatch.setenv(name, value)
        return s3_storage(f"s3://bucket/{tmp_path.name}")


class TestGoogles(Bucket):
    @pytest.fixture
    def place(self, googles: str, tmp_path: Path) -> Place:
        return google_storage(googles, tmp_path.name)
