"""The README of user_trainer is true: its keyword table is in force, the names in its code exist, scripts run."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tunefleet
from tuning.user_trainer.keywords import as_markdown

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "tuning" / "user_trainer" / "README.md").read_text()


@pytest.mark.unit
def test_the_keyword_table_of_the_page_is_the_one_in_force() -> None:
    assert as_markdown() in PAGE


@pytest.mark.unit
def test_what_the_page_calls_exists() -> None:
    called = set(re.findall(r"tunefleet\.(\w+)\(", PAGE))
    assert called == {"hyperparameter_search", "install"}
    parameters = set(inspect.signature(tunefleet.hyperparameter_search).parameters)
    example = PAGE.partition("best = tunefleet.hyperparameter_search(")[2].partition("\n)")[0]
    assert set(re.findall(r"^ +(\w+)=", example, re.MULTILINE)) - {"storage", "name"} <= parameters


@pytest.mark.system
@pytest.mark.parametrize(
    ("script", "shown"),
    [
        ("own_script", [r"trial \d: accuracy [\d.]+ with {'learning_rate'", r"the Trainer has that model: accuracy"]),
        ("own_search", [r"F1 [\d.]+ with {'learning_rate'", r"epochs 0 to \d", "page: own-search.html"]),
    ],
)
def test_a_script_of_the_examples_runs(script: str, shown: list[str], tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tuning' / 'api'}",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = [sys.executable, str(ROOT / "tuning" / "examples" / f"{script}.py")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for line in shown:
        assert re.search(line, done.stdout), done.stdout
    if script == "own_script":
        first, second = re.findall(r"accuracy (0\.\d+|1\.0+)", done.stdout)[-2:]
        assert first == second
        assert float(first) > 0.5  # it has learned something
