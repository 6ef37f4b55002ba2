"""Copies of the examples of `tuning/examples` to start from: a YAML file or a script, and the Python that it names."""

from __future__ import annotations

import re
from pathlib import Path

from trainables.errors import InputError, nearest
from tuning.spec.file import EXAMPLES, presets

PACKAGE = "tuning.examples."


def examples() -> dict[str, tuple[Path, ...]]:
    """The files of each example by its name: a preset or a script, and the modules beside it that it names."""
    files = {name: EXAMPLES / f"{name}.yaml" for name in presets()}
    for path in sorted(EXAMPLES.glob("*.py")):
        if "__main__" in path.read_text(encoding="utf-8"):
            files[path.stem.replace("_", "-")] = path
    return {name: (path, *_named_in(path)) for name, path in files.items()}


def _named_in(path: Path) -> list[Path]:
    names = set(re.findall(rf"\b{re.escape(PACKAGE)}(\w+)", path.read_text(encoding="utf-8")))
    return [file for name in sorted(names) if (file := EXAMPLES / f"{name}.py") != path]


def copy_example(name: str, folder: Path) -> list[Path]:
    """Write the files of an example into `folder`; they name the modules that lie beside them then.

    Returns:
        What was written, the YAML or the script first.

    Raises:
        InputError: there is no such example, or another file of its name is there; nothing is written then.
    """
    if (sources := examples().get(name)) is None:
        raise InputError("--example", name, "is no example", nearest(name, examples()))
    texts = {folder / source.name: source.read_text(encoding="utf-8").replace(PACKAGE, "") for source in sources}
    for target, text in texts.items():
        if target.exists() and target.read_bytes() != text.encode():  # else another example has brought it along
            raise InputError("--example", name, f"{target} exists already", "go to another folder, or rename that file")
    for target, text in texts.items():
        try:
            target.write_text(text, encoding="utf-8")
        except OSError as error:
            rule = f"{target} cannot be written: {error.strerror}"
            raise InputError("--example", name, rule, "choose another place") from error
    return list(texts)
