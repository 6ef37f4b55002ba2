"""Reads source files for the tests that look at syntax trees: each file is parsed and walked once in a process."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """Returns every node of a file's syntax tree in the order of `ast.walk`: first the module; without the third of
    them that say whether a name is read or set, which the nodes of names hold, too."""
    return tuple(node for node in ast.walk(ast.parse(path.read_text())) if not isinstance(node, ast.expr_context))
