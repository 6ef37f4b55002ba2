"""Two rules of the house that can be read off the sources: no private parts of Ray, no favourite strategies."""

from __future__ import annotations

import ast
import inspect
import pydoc
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest
import ray

from tests.support.sources import ROOT, nodes_of, sources

pytestmark = pytest.mark.unit

COMPAT = ("cluster/ray_compat", "tuning/tune_compat")
PRIVATE = ("ray.tune.execution", "ray.core.generated", "ray.tune.experimental", "ray.experimental.internal_kv")
# Runs as a file, by path, in an interpreter that has none of ours: it says so in its first lines.
BY_PATH = "cluster/workers/forking/program.py"
# Private names that others than Ray define, too, by whom they are meant where this product uses them.
OF_OTHERS = {
    "_trial_id": "optuna.trial.FrozenTrial",
    "_reduction_factor": "optuna.pruners.SuccessiveHalvingPruner",
}
RAY = Path(ray.__file__).parent
RAYS_LIBRARIES = ("rllib", "data", "serve", "train", "llm")  # which this product does not use
STRATEGIES = "tuning/strategies"


def inside(path: Path, *places: str) -> bool:
    return any(path.is_relative_to(ROOT / place) for place in places)


def private_of_ray(path: Path) -> list[str]:
    """Returns the private parts of Ray that a file imports, names or changes, as far as its text shows."""
    bound = names_from_ray(path)
    inherited = {node: private_names_of(bases) for node, bases in subclasses_of_ray(path, bound)}
    found = []
    for node in nodes_of(path):
        found += [name for name in dotted_names(node, bound) if name.partition(".")[0] == "ray" and is_private(name)]
        found += replaced_by(node, bound)
        if (name := private_name(node)) is not None and name not in defined_here():
            found += [f"{name}, which only Ray defines"] * (name in defined_by_ray())
    for kind, names in inherited.items():
        found += [f"{kind.name}.{name}, which is its base's" for name in sorted(names & private_names_in(kind))]
    return found


def is_private(dotted: str) -> bool:
    return dotted.startswith(PRIVATE) or any(is_private_name(part) for part in dotted.split("."))


def is_private_name(name: str) -> bool:
    return name.startswith("_") and not name.endswith("_")


def names_from_ray(path: Path) -> dict[str, str]:
    """The names that a file binds to something of Ray, wherever in it, with what they stand for."""
    found = {}
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                found |= {alias.asname: alias.name} if alias.asname else {top: top}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return {name: dotted for name, dotted in found.items() if dotted.partition(".")[0] == "ray"}


def dotted_names(node: ast.AST, bound: Mapping[str, str]) -> list[str]:
    """Returns the names that a node imports, reaches by dots, or has in a string, as for `mock.patch` or a path."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module is not None:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Attribute):
        return [reached(node, bound)]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [f"ray.{node.value}" if node.value in ("_private", "_internal") else node.value.replace("/", ".")]
    return []


def reached(node: ast.AST, bound: Mapping[str, str]) -> str:
    """Returns an expression of names and dots, from Ray's module on if its first name was imported from there.

    It is empty if the expression begins with another name than those of Ray.
    """
    if (name := first_name(node)) != "ray" and name not in bound:
        return ""  # as most are, and to write an expression out is slow
    first, dot, rest = ast.unparse(node).partition(".")
    return f"{bound.get(first, first)}{dot}{rest}"


def first_name(node: ast.AST) -> str | None:
    """The name that an expression of dots, calls and subscripts begins with."""
    while isinstance(node, ast.Attribute | ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def last_name(node: ast.AST) -> str:
    """The name that an expression of dots ends with; empty if it ends with something else."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def replaced_by(node: ast.AST, bound: Mapping[str, str]) -> list[str]:
    """Returns what a node sets or deletes in Ray's modules and classes, also by `setattr` or `mock.patch.object`."""
    if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
        dotted = reached(node, bound)
        return [f"{dotted} is set"] if dotted.partition(".")[0] == "ray" and "(" not in dotted else []
    if isinstance(node, ast.Call) and len(node.args) > 1:
        owner, setters = reached(node.args[0], bound), ("setattr", "delattr", "patch.object")
        if owner.partition(".")[0] == "ray" and ast.unparse(node.func).endswith(setters):
            return [f"{owner}.{ast.unparse(node.args[1]).strip(chr(39))} is set"]
    return []


def private_name(node: ast.AST) -> str | None:
    """The private attribute that a node reads or sets, by a dot or by its name as a string (`getattr` and the like)."""
    name = None
    if isinstance(node, ast.Attribute):
        name = node.attr
    elif isinstance(node, ast.Call) and len(node.args) > 1 and last_name(node.func).endswith(("attr", "object")):
        named = node.args[1]
        name = named.value if isinstance(named, ast.Constant) and isinstance(named.value, str) else None
    return name if name is not None and is_private_name(name) else None


@cache
def defined_here() -> frozenset[str]:
    """The private names that the product defines: of functions, classes and variables, and what it sets on `self`."""
    found = set()
    for path in sources():
        compat = inside(path, *COMPAT)
        for node in nodes_of(path):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and not compat:
                found |= {node.attr} if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls") else set()
    return frozenset(found)


@cache
def defined_by_ray() -> frozenset[str]:
    """The private names that Ray Core, Tune and AIR define, without those that are meant of another library here."""
    definition = re.compile(r"(?:\bdef |\bclass |\bself\.|\bcls\.|^ *)(_\w+)\b(?= *[(:=])", re.MULTILINE)
    found = set[str]()
    for path in RAY.rglob("*.py"):
        if path.relative_to(RAY).parts[0] not in RAYS_LIBRARIES and "thirdparty_files" not in path.parts:
            found |= set(definition.findall(path.read_text(errors="replace")))
    return frozenset(found - OF_OTHERS.keys())


def subclasses_of_ray(path: Path, bound: Mapping[str, str]) -> Iterator[tuple[ast.ClassDef, list[type]]]:
    """The classes in a file that derive from one of Ray's, with those."""
    for node in nodes_of(path):
        if isinstance(node, ast.ClassDef):
            bases = [reached(base, bound) for base in node.bases]
            found = [pydoc.locate(base) for base in bases if base.partition(".")[0] == "ray"]
            if found:
                yield node, [kind for kind in found if isinstance(kind, type)]


def private_names_in(kind: ast.ClassDef) -> set[str]:
    """The private attributes that a class reads, sets or defines anywhere in it."""
    found = {name for node in ast.walk(kind) if (name := private_name(node)) is not None}
    for node in kind.body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            found |= {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and not is_read(part)}
    return found


def is_read(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Load)


def private_names_of(kinds: list[type]) -> set[str]:
    """The private names in the sources of classes and of their bases in Ray."""
    rays = {base for kind in kinds for base in kind.__mro__ if base.__module__.partition(".")[0] == "ray"}
    return {name for kind in rays for name in re.findall(r"\b_\w+", inspect.getsource(kind)) if is_private_name(name)}


def test_private_parts_of_ray_are_used_in_the_compat_folders_alone() -> None:
    wrong = {
        str(path.relative_to(ROOT)): found
        for path in sources()
        if not inside(path, *COMPAT) and (found := private_of_ray(path))
    }
    assert set(wrong.pop(BY_PATH)) == {"ray._private.utils.update_envs", "ray.actor.ActorClassID is set"}
    assert not wrong


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from ray._private import state", ["ray._private.state"]),
        ("import ray as r\nr._raylet", ["ray._raylet"]),
        ("from ray.tune.execution import tune_controller", ["ray.tune.execution.tune_controller"]),
        ("from ray import actor\nactor.ActorClassID = None", ["ray.actor.ActorClassID is set"]),
        ("import ray\nsetattr(ray, 'get', None)", ["ray.get is set"]),
        ("import ray\nmock.patch.object(ray.actor, 'exit_actor')", ["ray.actor.exit_actor is set"]),
        ("mock.patch('ray.actor.ActorClass._remote')", ["ray.actor.ActorClass._remote"]),
        ("place / '_private'", ["ray._private"]),
        ("decorated._function", ["_function, which only Ray defines"]),
        ("getattr(handle, '_ray_actor_language', 0)", ["_ray_actor_language, which only Ray defines"]),
        (
            "from ray.tune.schedulers import FIFOScheduler\nclass Own(FIFOScheduler):\n    _metric = 'loss'",
            ["Own._metric, which is its base's"],
        ),
        (
            "from ray.tune.schedulers import FIFOScheduler\nclass Own(FIFOScheduler):\n    own = _loss = 0",
            [],
        ),
        ("import ray\nray.get(pair._asdict())", []),
    ],
)
def test_what_of_rays_private_parts_a_text_shows(tmp_path: Path, text: str, found: list[str]) -> None:
    (tmp_path / "one.py").write_text(text)
    assert private_of_ray(tmp_path / "one.py") == found


def test_nobody_outside_the_strategies_looks_for_a_particular_strategy_or_scheduler() -> None:
    """A population uses an interface, `tuning.strategies.Population`, so that one of another package has all of it."""
    particular = {
        node.name
        for path in sorted((ROOT / STRATEGIES).rglob("*.py"))
        if path != ROOT / STRATEGIES / "__init__.py"
        for node in nodes_of(path)
        if isinstance(node, ast.ClassDef)
    }
    assert {"Pbt", "Grid", "PopulationScheduler", "ASHA"} <= particular
    kinds = {path.stem for path in (ROOT / STRATEGIES).glob("[a-z]*.py")}
    wrong = []
    for path in (path for path in sources() if not inside(path, STRATEGIES)):
        own = {node.name for node in nodes_of(path) if isinstance(node, ast.ClassDef)}
        for node in nodes_of(path):
            asked = names_asked_for(node) & (particular - own)
            taken = strategy_modules(node, kinds)
            if asked or taken:
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}: {', '.join(sorted(asked | taken))}")  # type: ignore[attr-defined]
    assert not wrong, "\n".join(wrong)


def names_asked_for(node: ast.AST) -> set[str]:
    """The names in the second argument of `isinstance` or `issubclass`."""
    if not (isinstance(node, ast.Call) and last_name(node.func) in ("isinstance", "issubclass")):
        return set()
    return {part.id for part in ast.walk(node.args[1]) if isinstance(part, ast.Name)}


def strategy_modules(node: ast.AST, kinds: set[str]) -> set[str]:
    """Modules of particular strategies, schedulers and searchers that an import names."""
    if not isinstance(node, ast.ImportFrom) or not str(node.module).startswith("tuning.strategies"):
        return set()
    below = str(node.module).removeprefix("tuning.strategies").strip(".").partition(".")[0]
    names = {below} if below else {alias.name for alias in node.names}
    return names & (kinds | {"schedulers", "searchers"})
