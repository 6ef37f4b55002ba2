"""Checks by reading its file that a user's own trainable or space is there. `before_run` imports it."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path

from trainables.errors import nearest
from trainables.metrics import TRAIN_SECONDS
from trainables.spec import SHIPPED, TRAININGS
from tuning.space import NamedSpace
from tuning.spec.mistakes import Mistake
from tuning.spec.validation.draft import Draft


def check_trainable(draft: Draft) -> Iterator[Mistake]:
    """Checks that the trainable is ours, or in a module that is found. Only packages above it are imported."""
    name = draft.spec.trainable
    module, colon, function = name.partition(":")
    if name in TRAININGS or name.startswith(SHIPPED):
        return
    if not (colon and module and function):
        step = nearest(name, TRAININGS) if not colon else "both sides of the colon are needed"
        yield Mistake("trainable", f"must be {', '.join(TRAININGS)} or package.module:name", name, step)
        return
    yield from _missing("trainable", name)


def check_suggested_space(draft: Draft) -> Iterator[Mistake]:
    """Checks a named space, or a function of a trial, as `check_trainable` does."""
    spec = draft.spec
    named = [("space", spec.space.name)] if isinstance(spec.space, NamedSpace) else []
    for path, name in (*named, ("hp_space", spec.hp_space)):
        if name is None or name.startswith(SHIPPED):
            continue
        if all(name.partition(":")):
            yield from _missing(path, name)
        else:
            yield Mistake(path, "must be package.module:function", name, "such as my_module:hp_space")


def _missing(path: str, name: str) -> Iterator[Mistake]:
    """A mistake if `name`, package.module:name at `path` of the spec, is not there."""
    module, _, attribute = name.partition(":")
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        found = None
    if found is None:
        yield Mistake(path, f"no module {module}", name, "is its folder on PYTHONPATH?")
    elif found.origin is not None and found.origin.endswith(".py"):
        yield from _unreadable(path, name, attribute, Path(found.origin))


def check_confirm(draft: Draft) -> Iterator[Mistake]:
    """Checks that confirmations train a class. Imports the user's module."""
    if draft.spec.confirm is not None:
        rule, step = "which runs inside a search only", "make the trainable a class (trainables.training.Training)"
        yield from _refused_of_function(draft, "confirm", rule, f"remove it, or {step}")


def check_measure(draft: Draft) -> Iterator[Mistake]:
    """Checks that there is something to measure costs of. Imports the user's module, as `check_confirm` does."""
    spec = draft.spec
    if spec.measure and spec.trainable == "learning_curve" and set(spec.measure) != {TRAIN_SECONDS}:
        yield Mistake("measure", "a closed form has no model", list(spec.measure), f"leave all but {TRAIN_SECONDS} out")
    if spec.measure:
        step = "have it report these metrics itself, and leave measure out"
        yield from _refused_of_function(draft, "measure", "which reports its metrics itself", step)


def _refused_of_function(draft: Draft, key: str, rule: str, step: str) -> Iterator[Mistake]:
    """A mistake at `key` if the trainable is a function; a missing one is reported elsewhere."""
    name = draft.spec.trainable
    if name in TRAININGS or list(check_trainable(draft)):
        return
    from trainables.lookup import is_training

    try:
        trains = is_training(name)
    except ValueError as error:
        yield Mistake("trainable", str(error))
        return
    if not trains:
        yield Mistake(key, f"{name} is a function, {rule}", next_step=step)


def _unreadable(path: str, name: str, attribute: str, file: Path) -> Iterator[Mistake]:
    try:
        names = defined_names(file.read_bytes())
    except SyntaxError as error:
        rule = f"{file} is no Python: {error.msg}, line {error.lineno}"
        yield Mistake(path, rule, name, f"try it: python -m py_compile {file.name}")
        return
    except (OSError, ValueError):
        return  # reported when it is imported
    if names is not None and attribute not in names:
        yield Mistake(path, f"{file} has no {attribute}", name, nearest(attribute, names) if names else "write it")


def defined_names(source: bytes) -> set[str] | None:
    """The public names that a module's source defines, imports and assigns.

    None if they cannot be known (`from x import *`, `__getattr__`).

    Raises:
        SyntaxError: it is no Python.
        ValueError: it holds null bytes.
    """
    names: set[str] = set()
    for node in _at_top(ast.parse(source).body):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return None if names & {"*", "__getattr__"} else {name for name in names if not name.startswith("__")}


def _at_top(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Every node that is not inside a function or a class."""
    for node in nodes:
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield from _at_top(ast.iter_child_nodes(node))
