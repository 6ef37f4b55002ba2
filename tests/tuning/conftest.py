"""Fixtures that the tests of the experiment share."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import pytest

if TYPE_CHECKING:
    from tests.support.drivers import Drivers


@pytest.fixture(scope="session", autouse=True)
def revisions_executed_once() -> Iterator[None]:
    """Executes the source of each revision of Optuna's tables once in the run, which has the same result each time.

    Otherwise whoever opens a study store executes all of them, a tenth of the time of a simulated study.
    """
    from alembic import util

    with mock.patch.object(util, "load_python_file", functools.cache(util.load_python_file)):
        yield


@pytest.fixture
def drivers(tmp_path: Path) -> Iterator[Drivers]:
    """Drivers in processes of their own; nothing of them is left at the end."""
    from tests.support.drivers import drivers_in

    with drivers_in(tmp_path) as drivers:
        yield drivers
