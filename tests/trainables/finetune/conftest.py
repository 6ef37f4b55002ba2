"""Fixtures of the fine-tuning: a tiny model in a folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.tiny_models import FAMILIES, write_model


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(FAMILIES[0], tmp_path_factory.mktemp("bert"))


@pytest.fixture
def folder(bert: Path, tmp_path: Path) -> Path:
    """A whole model, to be damaged."""
    return shutil.copytree(bert, tmp_path / "mine")
