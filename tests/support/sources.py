"""Reads source files for the tests that look at syntax trees: each file is parsed and walked once in a process."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import tuning

ROOT = Path(tuning.__file__).parents[1]
PACKAGES = ("cluster", "trainables", "tuning")


def sources() -> Iterator[Path]:
    """Yields every file of the product, but for the examples that users copy."""
    for package in PACKAGES:
        yield from sorted(path for path in (ROOT / package).rglob("*.py") if "examples" not in path.parts)


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """Returns every node of a file's syntax tree in the order of `ast.walk`, first the module.

    The third of them that say whether a name is read or set are left out: the nodes of names hold that, too.
    """
    return tuple(node for node in ast.walk(ast.parse(path.read_text())) if not isinstance(node, ast.expr_context))
