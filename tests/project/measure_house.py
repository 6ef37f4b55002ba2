"""Measures how the product is built: sizes, circles of imports, private Ray, repeated names, and the path of the spec.

    python -m tests.project.measure_house [CHECKOUT]

In: a checkout of tunefleet, by default this one; of an older one too, as long as it has the three packages and
`tuning.testing.simulated_ray`. Out: one table on standard output. Imports of the product are read, not run, except for
the last part (`tests.project.spec_path`).
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.project.spec_path import PACKAGES, trace_spec

ROOT = Path(__file__).parents[2]
NOT_COUNTED = ("tuning/api", "tuning/examples")  # the facade repeats names on purpose; examples are for users to copy
PRIVATE_RAY = ("ray._", "ray.core.generated", "ray.tune.execution", "ray.air.execution", "ray.experimental.internal_kv")


def product_files(checkout: Path) -> list[Path]:
    """Returns the product's Python files, without `NOT_COUNTED`, relative to `checkout` and sorted."""
    found = (path.relative_to(checkout) for package in PACKAGES for path in (checkout / package).rglob("*.py"))
    return sorted(path for path in found if not path.as_posix().startswith(NOT_COUNTED))


def module_name(path: Path) -> str:
    """Returns the dotted name of the module in the relative path `path`."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


@dataclass(frozen=True)
class Sizes:
    """The amount of source."""

    files: int
    lines: int
    code: int  # lines that hold a token which is neither a comment nor part of a docstring
    docstrings: int  # lines


def sizes(checkout: Path) -> Sizes:
    """Counts the lines of the product."""
    lines, code, docstrings = 0, 0, 0
    files = product_files(checkout)
    for path in files:
        source = (checkout / path).read_text()
        documented = _docstring_lines(source)
        lines += source.count("\n")
        docstrings += len(documented)
        code += len(_token_lines(source) - documented)
    return Sizes(len(files), lines, code, docstrings)


def _docstring_lines(source: str) -> set[int]:
    found: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or not node.body:
            continue
        first = node.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            found |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return found


def _token_lines(source: str) -> set[int]:
    blank = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {n for token in tokens if token.type not in blank for n in range(token.start[0], token.end[0] + 1)}


def imports(checkout: Path) -> dict[str, set[str]]:
    """Returns which modules of the product each of them imports, lazily or for types alone included."""
    files = {module_name(path): path for path in product_files(checkout)}
    return {name: set(_imported(checkout / path, files)) - {name} for name, path in files.items()}


def _imported(path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if full in known:
                    yield full
                elif node.module in known:
                    yield node.module


def circles(checkout: Path) -> list[tuple[str, list[str]]]:
    """Finds circles of imports between the three packages, and between the children of each folder with sub-folders.

    Returns:
        The folder ("" for the packages) and the children that form the circle, sorted.
    """
    graph = imports(checkout)
    folders = {name.rpartition(".")[0] for name in graph if "." in name}
    folders |= {folder.rpartition(".")[0] for folder in folders}
    found = []
    for folder in sorted(folders):
        children = {name: _child(name, folder) for name in graph}
        inside = {name: child for name, child in children.items() if child is not None}
        if folder and not any(name.count(".") > folder.count(".") + 1 for name in inside):
            continue  # no sub-folder in it
        edges: dict[str, set[str]] = {child: set() for child in inside.values()}
        for name, child in inside.items():
            edges[child] |= {inside[other] for other in graph[name] if other in inside} - {child}
        found += [(folder, sorted(circle)) for circle in _strongly_connected(edges) if len(circle) > 1]
    return found


def _child(name: str, folder: str) -> str | None:
    """Returns the child of `folder` that the module lies in; the folder's own `__init__` is none of them."""
    if not folder:
        return name.partition(".")[0]
    return name[len(folder) + 1 :].partition(".")[0] if name.startswith(f"{folder}.") else None


def _strongly_connected(edges: Mapping[str, set[str]]) -> Iterator[set[str]]:
    reached = {node: _reachable(node, edges) for node in edges}
    left = set(edges)
    while left:
        node = min(left)
        circle = {node} | {other for other in reached[node] if node in reached[other]}
        left -= circle
        yield circle


def _reachable(start: str, edges: Mapping[str, set[str]]) -> set[str]:
    found, pending = set[str](), [start]
    while pending:
        for other in edges[pending.pop()] - found:
            found.add(other)
            pending.append(other)
    return found


def private_ray(checkout: Path) -> Counter[str]:
    """Counts the files that import private parts of Ray, by folder."""
    return Counter(
        path.parent.as_posix()
        for path in product_files(checkout)
        if any(name.startswith(PRIVATE_RAY) or "._" in name for name in _ray_imports(checkout / path))
    )


def _ray_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name == "ray" or name.startswith("ray."))


def duplicated_names(checkout: Path) -> dict[str, list[str]]:
    """Returns the public functions and classes that more than one module defines, with these modules."""
    homes: dict[str, list[str]] = {}
    for path in product_files(checkout):
        for node in ast.parse((checkout / path).read_text()).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name[0] != "_":
                homes.setdefault(node.name, []).append(module_name(path))
    repeated = {name: list(dict.fromkeys(modules)) for name, modules in homes.items()}  # overloads are one definition
    return {name: modules for name, modules in sorted(repeated.items()) if len(modules) > 1}


def table(checkout: Path) -> Iterable[str]:
    """Yields the lines of the table for one checkout."""
    size, found, traced = sizes(checkout), circles(checkout), trace_spec(checkout)
    ray, names = private_ray(checkout), duplicated_names(checkout)
    yield f"files {size.files}, lines {size.lines}: code {size.code}, docstrings {size.docstrings}"
    yield f"circles between the children of a folder: {len(found)}"
    yield from (f"  {folder or 'packages'}: {', '.join(circle)}" for folder, circle in found)
    yield f"files that import private parts of Ray: {ray.total()}"
    yield from (f"  {folder}: {count}" for folder, count in sorted(ray.items()))
    yield f"public names that are defined more than once: {len(names)}"
    yield from (f"  {name}: {', '.join(modules)}" for name, modules in names.items())
    yield (
        f"modules that the spec passes through: {len(traced.modules)}; calls back up: {traced.upward}; "
        f"returns to a module: {traced.reentries}"
    )
    yield from (f"  {module}" for module in traced.modules)


if __name__ == "__main__":
    print("\n".join(table(Path(sys.argv[1]).resolve() if sys.argv[1:] else ROOT)))
