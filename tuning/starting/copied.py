"""Copies of what ships in `tuning/examples`, to go on from: a YAML file, and the Python that it names."""

from __future__ import annotations

from pathlib import Path

from trainables.errors import InputError, nearest
from tuning.spec_file import EXAMPLES

PACKAGE = "tuning.examples."


def examples() -> dict[str, tuple[Path, ...]]:
    """Name -> its files: of a preset the YAML and the module that stands beside it, of a script the script."""
    found: dict[str, list[Path]] = {}
    for path in sorted(EXAMPLES.iterdir()):
        if path.suffix in (".yaml", ".py") and path.stem != "__init__":
            found.setdefault(path.stem.replace("_", "-"), []).append(path)
    return {name: tuple(sorted(paths, key=lambda path: path.suffix, reverse=True)) for name, paths in found.items()}


def copy_example(name: str, folder: Path) -> list[Path]:
    """Write the files of an example into `folder`; its YAML names the module that lies beside it then.

    Returns:
        What was written, the YAML first.

    Raises:
        InputError: there is no such example, or a file of its name is there already; nothing is written then.
    """
    if (sources := examples().get(name)) is None:
        raise InputError("--example", name, "is no example", nearest(name, examples()))
    targets = [folder / source.name for source in sources]
    for target in targets:
        if target.exists():
            raise InputError("--example", name, f"{target} exists already", "go to another folder, or rename that file")
    for source, target in zip(sources, targets, strict=True):
        text = source.read_text(encoding="utf-8").replace(PACKAGE, "")
        try:
            target.write_text(text, encoding="utf-8")
        except OSError as error:
            rule = f"{target} cannot be written: {error.strerror}"
            raise InputError("--example", name, rule, "choose another place") from error
    return targets
