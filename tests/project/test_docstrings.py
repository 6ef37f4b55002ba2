"""Docstrings stand by themselves, as far as words show it: who reads the first line needs nothing around it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.sources import nodes_of

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
FOLDERS = ("cluster", "trainables", "tuning", "benchmarks", "tests/support", "tests/project")
FOR_TESTS = ("tuning/testing", "tests/support")  # where functions begin with what they do
# A first word that leans on a line before it, or on the name below which it stands.
LEANING = re.compile(
    r"(It|Its|They|Their|Them|He|His|And|But|Or|Also|As|Of|If|Both|Not|Nor|Which|Whose|Whether|Is|Are|Has|So|Then|"
    r"Else|Likewise|Otherwise|One of them|Same|The same|The other|The others)\b"
)
CLAUSE = re.compile(r"(What|Who|Why|How|Where)\b")  # a first word that begins a clause, such as "What it holds."
ENDS = (".", ":", "?", "`")
DOING = re.compile(r"(\w+s\b|True |Called |See `)")


class Documented(NamedTuple):
    """A module, a class or a function with a docstring."""

    place: str  # path, line and name
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    first: str  # the first paragraph, on one line

    @property
    def does(self) -> bool:
        """True for a function that is called; of what is read like an attribute the docstring says what it is."""
        if not isinstance(self.node, ast.FunctionDef | ast.AsyncFunctionDef):
            return False
        return not any("property" in ast.unparse(one) for one in self.node.decorator_list)


def documented(*folders: str) -> Iterator[Documented]:
    """Yields all that has a docstring below these folders, apart from tests, whose names say it."""
    for path in sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        yield from among(nodes_of(path), path.relative_to(ROOT).as_posix())


def among(nodes: Iterable[ast.AST], place: str) -> Iterator[Documented]:
    """Yields all that has a docstring among the nodes of a source."""
    for node in nodes:
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        name = getattr(node, "name", "")
        if (text := ast.get_docstring(node)) is not None and not name.startswith("test_"):
            first = " ".join(text.partition("\n\n")[0].split())
            yield Documented(f"{place}:{getattr(node, 'lineno', 1)} {name}", node, first)


def faults_of(one: Documented) -> list[str]:
    """Names what shows that a first paragraph is a fragment."""
    found = []
    if LEANING.match(one.first):
        found.append("leans on what stands before it")
    if CLAUSE.match(one.first):
        found.append("is a clause")
    if one.first[0].islower() and not one.first.startswith("tunefleet"):
        found.append("begins in the middle")
    if not one.first.endswith(ENDS):
        found.append("has no end")
    return found


def test_every_first_paragraph_is_a_sentence_by_itself() -> None:
    wrong = [f"{one.place}: {fault}: {one.first}" for one in documented(*FOLDERS) for fault in faults_of(one)]
    assert not wrong, "\n".join(wrong)


def test_a_function_for_tests_begins_with_what_it_does() -> None:
    wrong = [f"{one.place}: {one.first}" for one in documented(*FOR_TESTS) if one.does and not DOING.match(one.first)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("It runs in one slot.", "leans"),
        ("As if the power had failed.", "leans"),
        ("The same of an experiment with one study.", "leans"),
        ("Of what the others say.", "leans"),
        ("What stands behind it.", "is a clause"),
        ("and then the rest.", "begins"),
        ("Returns the rest, which", "has no end"),
    ],
)
def test_fragments_are_found(text: str, fault: str) -> None:
    (one,) = among(ast.walk(ast.parse(f'"""{text}"""')), "here.py")
    assert [found for found in faults_of(one) if found.startswith(fault)]


def test_whole_sentences_pass() -> None:
    for text in ("Returns the rest.", "`read_plan` decides.", "Oftener than once.", "20 steps:\n\n    more"):
        (one,) = among(ast.walk(ast.parse(f'"""{text}"""')), "here.py")
        assert faults_of(one) == []
