"""Compiled code stays from run to run, in a folder that is closed to other accounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.specs import GOOD
from tuning.spec.loading import load_spec
from tuning.study.compiled_code import compiled_code_folder

pytestmark = pytest.mark.unit


def test_a_local_ray_that_compiles_keeps_the_code_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEFLEET_CACHE", str(tmp_path / "cache"))
    folder = compiled_code_folder(load_spec(GOOD, ["compile=true"]))
    assert folder == tmp_path / "cache" / "compiled"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert compiled_code_folder(load_spec(GOOD, ["compile=true", "cluster.address=10.0.0.1:6379"])) is None
    assert compiled_code_folder(load_spec(GOOD)) is None
