"""The strategy that the README shows keeps the contract by the line that the README shows, in another one's tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[3] / "tuning" / "README.md").read_text()
ENTRY_POINT = "[tunefleet.strategies]\nrandom_search = random_search:RandomSearch\n"


def block(part: str) -> str:
    """The README's Python with that in it."""
    fenced = (text.partition("\n") for text in README.split("```")[1::2])
    (found,) = [code for language, _, code in fenced if language == "python" and part in code]
    return found


@pytest.mark.system
def test_the_readmes_strategy_keeps_the_contract_in_a_package_of_its_own(tmp_path: Path) -> None:
    """As its author has it: installed with an entry point, strict markers, no configuration of ours."""
    (tmp_path / "random_search.py").write_text(block("class RandomSearch"))
    mine = "from random_search import RandomSearch\n" + block("StrategyContract")
    (tmp_path / "test_random_search.py").write_text(mine)
    installed = tmp_path / "mine-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(ENTRY_POINT)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--strict-markers", "-p", "no:cacheprovider", "."],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
