"""Packages import only what the design allows them, read from the sources.

`test_imports` checks in an interpreter what is loaded; `test_circles` and `test_house` hold rules inside the packages.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.support.sources import PACKAGES, ROOT, nodes_of

pytestmark = pytest.mark.unit

ARROWS = {("tuning", "cluster"), ("tuning", "trainables")}
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Returns every module that a file imports; for `from a import b` also `a.b`, as b may be a module."""
    found: list[str] = []
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(found)


def told(path: Path, module: str) -> str:
    """Names the file as the list of breaches shows it."""
    return f"{path.relative_to(ROOT)} imports {module}"


def test_between_the_packages_only_tuning_imports_the_others() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in SOURCES} == set(PACKAGES)
    wrong = []
    for path in SOURCES:
        package = path.relative_to(ROOT).parts[0]
        for module in imports(path):
            other = module.partition(".")[0]
            if other in PACKAGES and other != package and (package, other) not in ARROWS:
                wrong.append(told(path, module))
    assert not wrong, "\n".join(wrong)


def test_the_product_imports_neither_its_tests_nor_its_benchmarks() -> None:
    outside = ("tests", "benchmarks")
    assert not [told(path, name) for path in SOURCES for name in imports(path) if name.partition(".")[0] in outside]


def test_no_module_is_a_drawer_for_everything() -> None:
    drawers = {"utils", "util", "common", "helper", "helpers", "misc", "shared", "tools"}
    assert not [path for path in SOURCES if drawers & {path.stem, path.parent.name}]


def test_no_test_file_imports_another_one() -> None:
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in TESTS if is_test(path)}
    assert "tests.project.test_architecture" in modules
    assert not [told(path, name) for path in TESTS for name in imports(path) if name in modules]


def is_test(path: Path) -> bool:
    return path.stem.startswith("test_")


def test_the_benchmarks_are_imported_by_their_own_tests_alone() -> None:
    wrong = [
        told(path, name)
        for path in TESTS
        if path.parent != ROOT / "tests/benchmarks"
        for name in imports(path)
        if name.partition(".")[0] == "benchmarks"
    ]
    assert not wrong, "\n".join(wrong)
