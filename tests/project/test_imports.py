"""Parts that must be quick to start load no heavy package, checked in fresh interpreters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tuning
from tuning.spec.loading import load_spec

pytestmark = pytest.mark.system

ROOT = Path(tuning.__file__).parents[1]
HEAVY = {
    *("torch", "transformers", "datasets", "accelerate", "ray", "optuna", "hyperopt", "wandb", "scipy", "sklearn"),
    *("numpy", "pandas"),
}
CLUSTER = sorted(f"cluster.{path.stem}" for path in (ROOT / "cluster").glob("[a-z]*.py"))
# What reading, checking and listing experiments imports: none of it may wait for a heavy library.
LIGHT = [
    *("cluster.spec", "cluster.capacity"),
    *(
        "trainables.errors",
        "trainables.spec",
        "trainables.epochs",
        "trainables.models.encoders",
        "trainables.models.files",
    ),
    "trainables.training",
    *(f"trainables.tasks.{path.stem}" for path in sorted((ROOT / "trainables/tasks").glob("[a-z]*.py"))),
    *("tunefleet", "tuning.cli.app", "tuning.spec.models", "tuning.spec.file", "tuning.space"),
    *("tuning.spec.validation.spec_checks", "tuning.spec.validation.machine"),
    *(f"tuning.strategies.{path.stem}" for path in sorted((ROOT / "tuning/strategies").glob("[a-z]*.py"))),
]
PRESETS = ["quickstart", "rte-reference"]
# One interpreter for all of it; what only starts a cluster loads more, and comes last.
PROGRAM = f"""
import importlib, json, sys
told = {{}}
for name in {LIGHT}:
    importlib.import_module(name)
told["light"] = sorted(sys.modules)
from tuning.spec.loading import load_spec
told["digests"] = [load_spec(preset).digest() for preset in {PRESETS}]
told["presets"] = sorted(sys.modules)
for name in {CLUSTER}:
    importlib.import_module(name)
told["cluster"] = sorted(sys.modules)
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tuning/api'}", "PYTHONSAFEPATH": "1"}
    environment.pop("TUNEFLEET_STORE", None)
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def packages(modules: list[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def test_what_reads_a_spec_imports_nothing_heavy(loaded: dict[str, Any]) -> None:
    assert set(LIGHT) <= set(loaded["light"])
    assert not packages(loaded["light"]) & HEAVY


def test_reading_a_preset_imports_nothing_heavy(loaded: dict[str, Any]) -> None:
    assert not packages(loaded["presets"]) & HEAVY


def test_the_cluster_imports_without_torch_and_without_what_trains(loaded: dict[str, Any]) -> None:
    """The cluster is imported without torch; that it imports no other package is read by `test_architecture`."""
    assert len(CLUSTER) > 1
    assert set(CLUSTER) <= set(loaded["cluster"])
    assert not packages(loaded["cluster"]) & {"torch", "transformers", "datasets"}


def test_the_digest_of_a_spec_is_the_same_in_another_process(
    loaded: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TUNEFLEET_STORE", raising=False)
    assert loaded["digests"] == [load_spec(preset).digest() for preset in PRESETS]
