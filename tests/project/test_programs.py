"""Programs that stand in texts (of tests that start processes, of papers) import only what exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.support.sources import nodes_of

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
IMPORT = re.compile(r"from ((?:cluster|trainables|tuning|benchmarks|tests)(?:\.\w+)*) import ([\w, ]+)")
FILES = [
    path
    for folder in ("cluster", "trainables", "tuning", "benchmarks", "tests", "docker")
    for suffix in ("py", "md")
    for path in (ROOT / folder).rglob(f"*.{suffix}")
] + [ROOT / "README.md"]


@cache
def source_of(module: str) -> Path | None:
    """Returns the file of a module; None if there is none."""
    place = ROOT / module.replace(".", "/")
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


@cache
def names_in(file: Path) -> frozenset[str]:
    """Returns the names that a file defines, imports or lists for import on first use."""
    found = set()
    for node in nodes_of(file):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.alias):
            found.add(node.asname or node.name)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return frozenset(found)


def is_there(module: str, name: str) -> bool:
    """True if `from module import name` can work."""
    file = source_of(module)
    submodule = f"{module}.{name}"
    if source_of(submodule) is not None or (ROOT / submodule.replace(".", "/")).is_dir():
        return True
    return file is not None and name in names_in(file)


def test_every_import_in_a_text_names_what_is_there() -> None:
    wrong = [
        f"{file.relative_to(ROOT)}: from {module} import {name}"
        for file in FILES
        for module, names in IMPORT.findall(file.read_text())
        for name in (part.split(" as ")[0].strip() for part in names.split(","))
        if name and not is_there(module, name)
    ]
    assert wrong == []
