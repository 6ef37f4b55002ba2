"""What may import what, and that a plug-in is found by being there: read from the sources, not from a list."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import trainables
import tuning

ROOT = Path(tuning.__file__).parents[1]
PACKAGES = ("cluster", "trainables", "tuning")
ARROWS = {("tuning", "cluster"), ("tuning", "trainables")}
HEAVY = {"torch", "transformers", "datasets", "accelerate", "ray", "optuna", "hyperopt", "wandb", "scipy", "sklearn"}
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
# What reading, checking and listing experiments imports: none of it may wait for a heavy library.
LIGHT = [
    *("cluster.spec", "cluster.capacity"),
    *("trainables.errors", "trainables.spec", "trainables.epochs", "trainables.models", "trainables.model_files"),
    *(f"trainables.tasks.{path.stem}" for path in sorted((ROOT / "trainables/tasks").glob("[a-z]*.py"))),
    *(
        "tuning.cli",
        "tuning.spec",
        "tuning.spec_file",
        "tuning.space",
        "tuning.checks.spec_checks",
        "tuning.checks.machine",
    ),
    *(f"tuning.strategies.{path.stem}" for path in sorted((ROOT / "tuning/strategies").glob("[a-z]*.py"))),
]


def imports(path: Path) -> Iterator[str]:
    """Every module that a file names, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield str(node.module)


def python(code: str, *folders: Path) -> str:
    """What `code` prints in a process of its own, with `folders` in front of the path."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*folders, ROOT))), "PYTHONSAFEPATH": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.unit
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_between_the_packages_only_tuning_imports_the_others(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    others = {name.partition(".")[0] for name in imports(path)} & set(PACKAGES) - {package}
    assert {(package, other) for other in others} <= ARROWS


@pytest.mark.unit
def test_no_module_is_a_drawer_for_everything() -> None:
    drawers = {"utils", "util", "common", "helper", "helpers", "misc", "shared", "tools"}
    assert not [path for path in SOURCES if drawers & {path.stem, path.parent.name}]


@pytest.mark.system
def test_the_cluster_imports_without_torch_and_without_the_other_packages() -> None:
    modules = [f"cluster.{path.stem}" for path in (ROOT / "cluster").glob("[a-z]*.py")]
    assert len(modules) > 1
    loaded = python(f"import sys, {', '.join(modules)}; print(*sys.modules)").split()
    assert not {name.partition(".")[0] for name in loaded} & {
        "torch",
        "transformers",
        "datasets",
        "trainables",
        "tuning",
    }


@pytest.mark.system
def test_what_reads_a_spec_imports_nothing_heavy() -> None:
    loaded = python(f"import sys, {', '.join(LIGHT)}; print(*sys.modules)").split()
    assert not {name.partition(".")[0] for name in loaded} & HEAVY


PLUG_IN = """
from typing import ClassVar
from tuning.strategies.grid import Grid

class Mine(Grid):
    kind: ClassVar[str] = "mine"
"""
LIST = "from tuning.strategies import find_strategies; print(*find_strategies())"


@pytest.mark.system
def test_every_file_of_the_strategies_folder_is_a_strategy_of_that_name() -> None:
    files = {path.stem for path in (ROOT / "tuning/strategies").glob("[a-z]*.py")}
    assert set(python(LIST).split()) == files


@pytest.mark.system
def test_a_new_file_in_the_strategies_folder_is_a_new_strategy(tmp_path: Path) -> None:
    shutil.copytree(Path(tuning.__file__).parent, tmp_path / "tuning", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tuning/strategies/mine.py").write_text(PLUG_IN)
    assert "mine" in python(LIST, tmp_path).split()


@pytest.mark.system
def test_an_entry_point_of_another_package_is_a_strategy_that_specs_can_name(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.py").write_text(PLUG_IN)
    info = tmp_path / "elsewhere-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tunefleet.strategies]\nmine = elsewhere:Mine\n")
    assert "mine" in python(LIST, tmp_path).split()
    read = (
        "from tuning import load_spec; space = {'learning_rate': {'choice': [1, 0.5]}};"
        "raw = {'name': 'x', 'task': 'reviews', 'trainable': 'learning_curve', 'epochs': 1, 'space': space};"
        "print(load_spec(raw | {'strategies': [{'kind': 'mine', 'points': 2}]}).strategies[0].name)"
    )
    assert python(read, tmp_path).strip() == "mine"


@pytest.mark.system
def test_two_strategies_of_one_kind_are_refused_with_both_places(tmp_path: Path) -> None:
    shutil.copytree(Path(tuning.__file__).parent, tmp_path / "tuning", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tuning/strategies/mine.py").write_text(PLUG_IN.replace('"mine"', '"pbt"'))
    told = python(
        LIST.replace("print(*find_strategies())", "\ntry: find_strategies()\nexcept ValueError as e: print(e)"),
        tmp_path,
    )
    assert "'pbt' is claimed by tuning.strategies.mine and tuning.strategies.pbt" in told


@pytest.mark.system
def test_every_file_that_names_tasks_is_found_and_so_is_a_new_one(tmp_path: Path) -> None:
    listing = "from trainables.tasks import task_names; print(*task_names())"
    folder = Path(trainables.__file__).parent
    shutil.copytree(folder, tmp_path / "trainables", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "trainables/tasks/mine.py").write_text(
        "from dataclasses import replace\n"
        "from trainables.tasks.text_regression import TASKS as OTHERS\n"
        "TASKS = (replace(OTHERS[0], name='mine'),)\n"
    )
    assert set(python(listing, tmp_path).split()) == {*python(listing).split(), "mine"}
    names = [path for path in (folder / "tasks").glob("[a-z]*.py") if "\nTASKS" in path.read_text()]
    assert {path.stem for path in names} >= {"text_classification", "text_regression"}
