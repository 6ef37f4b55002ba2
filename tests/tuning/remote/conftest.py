"""Fixtures of a fetch: where its user works, and what an honest cluster packs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fetching import Member, honest_members


@pytest.fixture
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes a working directory, beside a file that nothing may overwrite."""
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "laptop").mkdir()
    monkeypatch.chdir(tmp_path / "laptop")
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "laptop"


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> list[Member]:
    return honest_members(tmp_path_factory.mktemp("cluster"))
