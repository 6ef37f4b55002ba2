"""The rules of the house that can be read off the sources: no circles of imports, no private Ray, no favourites.

`test_architecture` holds the arrows between the three packages.
"""

from __future__ import annotations

import ast
import graphlib
import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

import tuning

pytestmark = pytest.mark.unit

ROOT = Path(tuning.__file__).parents[1]
PACKAGES = ("cluster", "trainables", "tuning")
COMPAT = ("cluster/ray_compat", "tuning/tune_compat")
PRIVATE = ("ray.tune.execution", "ray.core.generated", "ray.tune.experimental", "ray.experimental.internal_kv")
# Runs as a file, by path, in an interpreter that has none of ours: it says so in its first lines.
BY_PATH = "cluster/workers/forking/program.py"
STRATEGIES = "tuning/strategies"


def sources() -> Iterator[Path]:
    """Every file of the product, but for the examples that users copy."""
    for package in PACKAGES:
        yield from sorted(path for path in (ROOT / package).rglob("*.py") if "examples" not in path.parts)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def module_of(path: Path) -> str:
    dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return dotted.removesuffix(".__init__")


def modules() -> dict[str, Path]:
    return {module_of(path): path for path in sources()}


def imported(path: Path, known: Mapping[str, Path]) -> set[str]:
    """The modules of the product that a file imports, wherever in it: lazily and for types alone, too."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.add(submodule if submodule in known else node.module)
    return found & known.keys()


def children_of(folder: str, known: Mapping[str, Path]) -> dict[str, str]:
    """By module below `folder`: the file or folder in it that holds the module. The package's own `__init__` is none:
    it is the folder's public list, and imports what stands below."""
    inside = (module for module in known if module.startswith(f"{folder}."))
    return {module: module.removeprefix(f"{folder}.").partition(".")[0] for module in inside}


def folders(known: Mapping[str, Path]) -> list[str]:
    """The packages, and every folder in them that has folders of its own."""
    packages = {module for module, path in known.items() if path.name == "__init__.py"}
    return sorted({package.rpartition(".")[0] for package in packages if "." in package})


@pytest.mark.parametrize("folder", folders(modules()))
def test_the_children_of_a_folder_import_each_other_in_no_circle(folder: str) -> None:
    known = modules()
    child = children_of(folder, known)
    arrows: dict[str, dict[str, str]] = defaultdict(dict)  # by child, what it imports and where
    for module, own in child.items():
        for other in imported(known[module], known):
            if other in child and child[other] != own:
                arrows[own][child[other]] = f"{module} imports {other}"
    try:
        graphlib.TopologicalSorter(arrows).prepare()
    except graphlib.CycleError as error:
        circle = error.args[1]
        why = [arrows[importer][other] for other, importer in itertools.pairwise(circle)]
        pytest.fail(f"a circle in {folder}: {'; '.join(why)}")


def test_the_three_packages_import_each_other_in_no_circle() -> None:
    known, arrows = modules(), defaultdict[str, set[str]](set)
    for module, path in known.items():
        own = module.partition(".")[0]
        arrows[own] |= {other.partition(".")[0] for other in imported(path, known)} - {own}
    graphlib.TopologicalSorter(arrows).prepare()


def inside(path: Path, *places: str) -> bool:
    return any(path.is_relative_to(ROOT / place) for place in places)


def private_of_ray(path: Path) -> list[str]:
    """What a file imports, or reaches by dots, of Ray's private parts."""
    found = []
    for node in ast.walk(tree(path)):
        dotted = []
        if isinstance(node, ast.Import):
            dotted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            dotted = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            dotted = [ast.unparse(node)]
        found += [name for name in dotted if name.partition(".")[0] == "ray" and is_private(name)]
    return found


def is_private(dotted: str) -> bool:
    return dotted.startswith(PRIVATE) or any(
        part.startswith("_") and not part.endswith("__") for part in dotted.split(".")
    )


def test_private_parts_of_ray_are_used_in_the_compat_folders_alone() -> None:
    wrong = {
        str(path.relative_to(ROOT)): found
        for path in sources()
        if not inside(path, *COMPAT) and (found := private_of_ray(path))
    }
    assert wrong.pop(BY_PATH) == ["ray._private.utils.update_envs"]
    assert not wrong


def test_nobody_outside_the_strategies_looks_for_a_particular_strategy_or_scheduler() -> None:
    """What a population needs is an interface (`tuning.strategies.Population`), so a strategy of another package has
    all that a built-in one has."""
    particular = {
        node.name
        for path in sorted((ROOT / STRATEGIES).rglob("*.py"))
        if path != ROOT / STRATEGIES / "__init__.py"
        for node in tree(path).body
        if isinstance(node, ast.ClassDef)
    }
    assert {"Pbt", "Grid", "PopulationScheduler", "ASHA"} <= particular
    kinds = {path.stem for path in (ROOT / STRATEGIES).glob("[a-z]*.py")}
    wrong = []
    for path in (path for path in sources() if not inside(path, STRATEGIES)):
        own = {node.name for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef)}
        for node in ast.walk(tree(path)):
            asked = names_asked_for(node) & (particular - own)
            taken = strategy_modules(node, kinds)
            if asked or taken:
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}: {', '.join(sorted(asked | taken))}")  # type: ignore[attr-defined]
    assert not wrong, "\n".join(wrong)


def names_asked_for(node: ast.AST) -> set[str]:
    """The names in the second argument of `isinstance` or `issubclass`."""
    if not (isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass")):
        return set()
    return {part.id for part in ast.walk(node.args[1]) if isinstance(part, ast.Name)}


def strategy_modules(node: ast.AST, kinds: set[str]) -> set[str]:
    """Modules of particular strategies, schedulers and searchers that an import names."""
    if not isinstance(node, ast.ImportFrom) or not str(node.module).startswith("tuning.strategies"):
        return set()
    below = str(node.module).removeprefix("tuning.strategies").strip(".").partition(".")[0]
    names = {below} if below else {alias.name for alias in node.names}
    return names & (kinds | {"schedulers", "searchers"})
