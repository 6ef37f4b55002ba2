"""Fixtures of the fork server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.workers.forking.server import ForkServer, Imports


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    with ForkServer(tmp_path_factory.mktemp("s") / "forks", Imports(("colorsys",), ("ray",))) as started:
        yield started


@pytest.fixture
def rays_own(tmp_path: Path) -> Path:
    """Replaces Ray's program by one that prints its pid."""
    program = tmp_path / "setup_worker.py"
    program.write_text("import os; print(os.getpid())")
    return program
