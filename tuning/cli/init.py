"""`tunefleet init`: the commented spec to start from, or one that is written after a user's own data."""

from __future__ import annotations

import argparse
from pathlib import Path

from trainables.errors import InputError
from tuning.cli.terminal import Add
from tuning.spec.file import EXAMPLES, presets
from tuning.spec.mistakes import SpecError

STARTER = "experiment.yaml"
YAML = (".yaml", ".yml")


def add_init(add: Add) -> None:
    """Declare the subcommand."""
    sub = add("init", _init, "write a commented spec to start from, or one for your own data")
    sub.add_argument("file", metavar="FILE", nargs="?", help=f"default: {STARTER}; with --data: NAME.yaml")
    sub.add_argument("--example", metavar="NAME", help="copy one of `tunefleet ls presets` here, with its Python")
    sub.add_argument("--data", metavar="PATH", help="a file or folder of yours: CSV, TSV, JSON, JSONL, Parquet")
    sub.add_argument(
        "--text",
        metavar="COLUMN",
        action="append",
        default=[],
        help="of --data: what is read; twice for a pair",
    )
    sub.add_argument("--label", metavar="COLUMN", help="of --data: what it predicts")
    sub.add_argument("--encoding", metavar="NAME", help="of --data, where that is not UTF-8, such as cp1252")


def _init(arguments: argparse.Namespace) -> int:
    if arguments.data is None:
        for option in ("text", "label", "encoding"):
            if given := getattr(arguments, option):
                raise InputError(f"--{option}", given, "says something of your data", "give --data FILE as well")
        return _copy(arguments) if arguments.example is not None else _write_starter(arguments.file or STARTER)
    if arguments.example is not None:
        raise InputError("--example", arguments.example, "--data writes a spec of its own", "give one of the two")
    return _write_for_data(arguments)


def _copy(arguments: argparse.Namespace) -> int:
    from tuning.starting.copied import copy_example

    if arguments.file is not None:
        raise InputError("FILE", arguments.file, "an example brings the names of its files", "leave FILE away")
    first, *others = (path.name for path in copy_example(arguments.example, Path()))
    run = f"tunefleet run {first}" if first.endswith(YAML) else f"python {first}"
    print(f"{' and '.join([first, *others])} {'are' if others else 'is'} written. Next: read, edit, {run}")
    return 0


def _write_starter(name: str) -> int:
    target = _target(name)
    _, _, rest = (EXAMPLES / "starter.yaml").read_text(encoding="utf-8").partition("\n")  # the first line is a preset's
    _write(target, rest)
    print(f"{target} is written. Next: edit it, tunefleet validate {target}, tunefleet run {target}")
    _tell_suffix(target)
    return 0


def _write_for_data(arguments: argparse.Namespace) -> int:
    from tuning.spec.loading import load_spec
    from tuning.starting.choices import choose
    from tuning.starting.columns import read_rows
    from tuning.starting.draft_spec import name_for, spec_text

    rows = read_rows(Path(arguments.data).expanduser(), arguments.encoding)
    target = _target(arguments.file or f"{name_for(rows.path)}.yaml")
    choices = choose(rows, arguments.text, arguments.label)
    _write(target, spec_text(rows, choices, arguments.encoding))
    named = " and ".join(repr(column.name) for column in choices.text)
    print(f"{target} is written: {choices.task} of {named}, label {choices.label.name!r} ({choices.why['task']})")
    for sentence in choices.unsure:
        print(f"  unsure: {sentence}")
    _tell_suffix(target)
    try:
        load_spec(target)
    except SpecError as error:
        print("  It does not run yet:")
        for mistake in error.mistakes:
            print(f"    {mistake}")
        print(f"Next: mend that, then tunefleet validate {target}")
    else:
        print(f"Next: look at it, tunefleet run {target}")
    return 0


def _target(name: str) -> Path:
    """The path of the file to write.

    Raises:
        InputError: the name is a preset's, or that of data.
    """
    from trainables.tasks.files import SUFFIXES, file_format

    path = Path(name).expanduser()
    if name in presets():
        step = f"`tunefleet run {name}` runs the preset; `tunefleet init {name}.yaml` writes a spec of your own"
        if f".{name}" in SUFFIXES:
            step += f", and `tunefleet init --data YOUR.{name}` one for your data"
        raise InputError("FILE", name, "is the name of a preset, which a file of that name would hide", step)
    if f".{name.lower()}" in SUFFIXES:
        step = f"`tunefleet init --data YOUR.{name.lower()}` writes a spec for yours; FILE is the spec: {STARTER}"
        raise InputError("FILE", name, "is a kind of data", step)
    if file_format(path) is not None:
        step = f"`tunefleet init --data {name}` writes a spec for it; FILE is the spec, such as {path.stem}.yaml"
        raise InputError("FILE", name, "is a file of data by its name", step)
    return path


def _tell_suffix(target: Path) -> None:
    if target.suffix.lower() not in YAML:
        print(f"  note: {target} has no suffix .yaml, by which editors and people know a spec; you may rename it")


def _write(target: Path, text: str) -> None:
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InputError("FILE", str(target), "exists already", "choose another name") from None
    except OSError as error:
        raise InputError("FILE", str(target), f"cannot be written: {error.strerror}", "choose another place") from error
