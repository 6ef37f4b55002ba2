"""The folders of each package, and the packages, import each other in no circle.

`test_architecture` holds the arrows between the three packages.
"""

from __future__ import annotations

import ast
import graphlib
import itertools
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.support.sources import ROOT, nodes_of, sources

pytestmark = pytest.mark.unit


def module_of(path: Path) -> str:
    dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return dotted.removesuffix(".__init__")


@cache
def modules() -> Mapping[str, Path]:
    return MappingProxyType({module_of(path): path for path in sources()})


@cache
def imported(path: Path) -> frozenset[str]:
    """The modules of the product that a file imports, wherever in it: lazily and for types alone, too."""
    found, known = set(), modules()
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.add(submodule if submodule in known else node.module)
    return frozenset(found & known.keys())


def children_of(folder: str, known: Mapping[str, Path]) -> dict[str, str]:
    """Returns, by module below `folder`, the file or folder in it that holds the module.

    The package's own `__init__` is left out: it is the folder's public list, and imports what stands below.
    """
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
        for other in imported(known[module]):
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
        arrows[own] |= {other.partition(".")[0] for other in imported(path)} - {own}
    graphlib.TopologicalSorter(arrows).prepare()
