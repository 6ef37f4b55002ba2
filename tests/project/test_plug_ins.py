"""A plug-in is found by being there: a file in the folder of its kind, or an entry point of another package."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainables import tasks
from tuning import load_spec, strategies

pytestmark = pytest.mark.unit

STRATEGY = """
from typing import ClassVar
from tuning.strategies.grid import Grid

class Mine(Grid):
    kind: ClassVar[str] = "mine"
"""
TASK = """
from dataclasses import replace
from trainables.tasks.text_regression import TASKS as OTHERS
TASKS = (replace(OTHERS[0], name="mine"),)
"""


@pytest.fixture(autouse=True)
def _found_anew() -> Iterator[None]:
    """Clears the caches of found plug-ins, as the folders change here."""
    finders, before = (strategies.find_strategies, tasks.find_tasks), set(sys.modules)
    for find in finders:
        find.cache_clear()
    yield
    for find in finders:
        find.cache_clear()
    for name in {name for name in sys.modules if name.rpartition(".")[2] in ("mine", "elsewhere")} - before:
        del sys.modules[name]


def files_of(package: str) -> set[str]:
    return {path.stem for path in Path(package).parent.glob("[a-z]*.py")}


def test_every_file_of_the_strategies_folder_is_a_strategy_of_that_name() -> None:
    assert strategies.find_strategies().keys() == files_of(strategies.__file__)


def test_a_new_file_in_the_strategies_folder_is_a_new_strategy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(STRATEGY)
    monkeypatch.setattr(strategies, "__path__", [*strategies.__path__, str(tmp_path)])
    assert "mine" in strategies.find_strategies()


def test_an_entry_point_of_another_package_is_a_strategy_that_specs_can_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere.py").write_text(STRATEGY)
    info = tmp_path / "elsewhere-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tunefleet.strategies]\nmine = elsewhere:Mine\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert strategies.find_strategies()["mine"].__module__ == "elsewhere"
    space = {"learning_rate": {"choice": [1, 0.5]}}
    raw = {"name": "x", "task": "reviews", "trainable": "learning_curve", "epochs": 1, "space": space}
    assert load_spec(raw | {"strategies": [{"kind": "mine", "points": 2}]}).strategies[0].name == "mine"


def test_two_strategies_of_one_kind_are_refused_with_both_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(STRATEGY.replace('"mine"', '"pbt"'))
    monkeypatch.setattr(strategies, "__path__", [*strategies.__path__, str(tmp_path)])
    with pytest.raises(ValueError, match=r"'pbt' is claimed by tuning.strategies.mine and tuning.strategies.pbt"):
        strategies.find_strategies()


def test_every_file_that_names_tasks_is_found_and_so_is_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, folder = tasks.task_names(), Path(tasks.__file__).parent
    with_tasks = [path for path in folder.glob("[a-z]*.py") if "\nTASKS" in path.read_text()]
    assert {path.stem for path in with_tasks} >= {"text_classification", "text_regression"}
    (tmp_path / "mine.py").write_text(TASK)
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path)])
    tasks.find_tasks.cache_clear()
    assert set(tasks.task_names()) == {*before, "mine"}


def test_two_files_that_name_one_task_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text("from trainables.tasks.text_regression import TASKS\n")
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path)])
    with pytest.raises(ValueError, match="stands in another file already; rename one"):
        tasks.find_tasks()
