"""Finds the modules that must be pickled by value, because workers cannot import them.

These are modules beside the user's script, in its working directory, or in a folder added with `sys.path.append`.
Installed modules (also with `pip install -e`) and those on PYTHONPATH are imported by workers.
"""

from __future__ import annotations

import contextlib
import os
import site
import sys
import sysconfig
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle

OURS = frozenset({"cluster", "trainables", "tuning", "tunefleet"})  # every worker has them
MAIN = ("__main__", "__mp_main__")  # cloudpickle always pickles these by value


_registry = threading.RLock()  # guards cloudpickle's registry, which is global


@contextlib.contextmanager
def by_value() -> Iterator[None]:
    """In the block, cloudpickle pickles the user's local modules by value, as it does with `__main__`."""
    with _registry:
        before = cloudpickle.list_registry_pickle_by_value()
        modules = [sys.modules[name] for name in sorted(own_modules() - before)]
        for module in modules:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            for module in modules:
                cloudpickle.unregister_pickle_by_value(module)


def travels_by_value(function: Any) -> bool:
    """True if cloudpickle pickles the function by value within a block of `by_value`."""
    root = str(function.__module__).partition(".")[0]
    return root in MAIN or root in cloudpickle.list_registry_pickle_by_value() or "<locals>" in function.__qualname__


def own_modules() -> set[str]:
    """The top-level names of imported modules that a new interpreter would not find."""
    added, installed = _resolved(sys.path) - _resolved(_linked_or_named()), _resolved(_installed())
    return {
        name
        for name, module in list(sys.modules.items())
        if "." not in name
        and name not in OURS
        and name not in MAIN
        and (root := _root(module)) in added
        and not any(root == place or place in root.parents for place in installed)
    }


def _root(module: object) -> Path | None:
    """The folder that a top-level module or package was found in."""
    origin = getattr(module, "__file__", None)
    if not isinstance(origin, str):
        return None
    path = Path(origin).resolve()
    return path.parent.parent if path.stem == "__init__" else path.parent


def _installed() -> list[str]:
    own = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return [*own, *site.getsitepackages(), site.getusersitepackages()]


def _linked_or_named() -> list[str]:
    """The folders that .pth files and PYTHONPATH add to the path of every interpreter."""
    linked = [line for folder in _installed() for line in _linked(Path(folder))]
    return [*linked, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]


def _linked(folder: Path) -> Iterator[str]:
    """Yields the folders that the .pth files in `folder` name."""
    for file in folder.glob("*.pth"):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            for line in map(str.strip, file.read_text().splitlines()):
                if line and not line.startswith(("#", "import ", "import\t")):
                    yield str(folder / line)


def _resolved(folders: list[str]) -> set[Path]:
    return {Path(folder or ".").resolve() for folder in folders}
