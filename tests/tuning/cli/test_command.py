"""The command `tunefleet` as a process: it is installed, starts without heavy libraries, and its reader may leave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.recorded_runs import run_left

pytestmark = pytest.mark.system

HEAVY = {"ray", "torch", "transformers", "datasets", "optuna", "hyperopt", "wandb", "pandas", "scipy", "sklearn"}
QUICK = (["--help"], ["--version"], ["run", "--help"], ["ls"], ["init"])
# One process runs the commands one after the other, and prints after each what it has imported by then.
EACH = """
import contextlib, io, json, sys
from tuning.cli import main
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as said:
        status = main(words)
    print(json.dumps([words, status, bool(said.getvalue()), sorted(name for name in sys.modules if "." not in name)]))
"""


def test_quick_commands_import_no_heavy_library(tmp_path: Path) -> None:
    """The imports are checked in place of the time, which depends on the machine."""
    run_left(tmp_path / "runs", strategies=[{"kind": "grid", "points": 2}], scores=(0.5,))
    command = [sys.executable, "-c", EACH, json.dumps(QUICK)]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, cwd=tmp_path)
    assert shown.stderr == ""
    ended = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [(words, status, said) for words, status, said, _ in ended] == [(words, 0, True) for words in QUICK]
    assert {" ".join(words): HEAVY & set(modules) for words, _, _, modules in ended if HEAVY & set(modules)} == {}


def test_the_installed_command_lists_its_commands() -> None:
    program = Path(sys.executable).with_name("tunefleet")
    shown = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=120, check=True)
    for command in ("run", "validate", "init", "ls", "results", "compare", "export", "resume"):
        assert f"\n  {command} " in shown.stdout


def test_a_reader_that_leaves_early_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "tuning.cli", "ls"],
            stdout=closed,
            stderr=subprocess.PIPE,
            timeout=120,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, b"")
