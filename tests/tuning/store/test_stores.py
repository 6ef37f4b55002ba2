"""Runs the contract tests of study stores on a file and on a PostgreSQL server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tuning.testing.store_contract import StoreContract

if TYPE_CHECKING:
    from tests.support.postgres_server import PostgresServer


@pytest.mark.unit
class TestSQLite(StoreContract):
    """Runs the contract on SQLite; `store_url` is the fixture of the other store tests."""


@pytest.mark.system
@pytest.mark.postgres
class TestPostgreSQL(StoreContract):
    @pytest.fixture
    def store_url(self, postgres: PostgresServer) -> Iterator[str]:
        url = postgres.new_database()
        yield url
        postgres.remove_database(url)
