"""The table of promises in tests/README.md: every promise of the README is in it, and what it names is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sources import nodes_of

pytestmark = pytest.mark.unit

TESTS = Path(__file__).parents[1]
PROMISE = re.compile(r"^- \*\*(.+?)\.?\*\*", re.MULTILINE)  # an entry that begins in bold


def rows() -> Iterator[tuple[str, list[str]]]:
    """Yields each promise of the table, and the tests that it names."""
    table = (TESTS / "README.md").read_text().partition("| promise | held by |")[2]
    for line in table.strip().splitlines()[1:]:
        promise, held = line.strip("|").split("|", 1)
        yield promise.strip(), re.findall(r"`([^`]+)`", held.partition("measured:")[0] or held)


def test_every_promise_of_the_readme_is_in_the_table() -> None:
    readme = (TESTS.parent / "README.md").read_text()
    section = readme.partition("## What it does that others do not")[2].partition("\n## ")[0]
    promised = PROMISE.findall(section)
    assert len(promised) > 10
    told = [promise for promise, _ in rows()]
    assert [one for one in promised if not any(promise.startswith(one) for promise in told)] == []


def test_the_tests_that_the_table_names_are_there() -> None:
    missing = []
    for promise, named in rows():
        for one in named:
            path, _, test = one.partition("::")
            place = TESTS / path
            found = place.is_dir() and any(place.rglob("test_*.py"))
            if place.is_file():
                names = {node.name for node in nodes_of(place) if isinstance(node, ast.FunctionDef)}
                found = not test or test in names
            if not found:
                missing.append(f"{promise}: {one}")
    assert missing == []
