"""Frees the syntax trees that tests of the sources share after the last of these tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.sources import nodes_of


def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """Frees the syntax trees of all sources when a test of another folder follows.

    A Trainer collects garbage each time that it trains, and would walk their million objects.
    """
    if nextitem is None or Path(__file__).parent not in nextitem.path.parents:
        nodes_of.cache_clear()
