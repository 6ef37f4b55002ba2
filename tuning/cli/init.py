"""`tunefleet init`: the commented spec to start from, or one that is written after a user's own data."""

from __future__ import annotations

from pathlib import Path

import click

from trainables.errors import InputError
from tuning.cli.command import Command
from tuning.cli.exit_status import SUCCESS
from tuning.spec.file import EXAMPLES, presets
from tuning.spec.mistakes import SpecError

STARTER = "experiment.yaml"
YAML = (".yaml", ".yml")


@click.command(cls=Command)
@click.argument("file", metavar="[FILE]", required=False, help=f"default: {STARTER}; with --data: NAME.yaml")
@click.option("--example", metavar="NAME", help="copy one of `tunefleet ls presets` here, with its Python")
@click.option("--data", metavar="PATH", help="a file or folder of yours: CSV, TSV, JSON, JSONL, Parquet")
@click.option("--text", metavar="COLUMN", multiple=True, help="of --data: the column that is read; twice for a pair")
@click.option("--label", metavar="COLUMN", help="of --data: the column that is predicted")
@click.option("--encoding", metavar="NAME", help="of --data, where that is not UTF-8, such as cp1252")
def init_command(
    file: str | None,
    example: str | None,
    data: str | None,
    text: tuple[str, ...],
    label: str | None,
    encoding: str | None,
) -> int:
    """Write a commented spec to start from, or one for your own data."""
    if data is None:
        for option, value in (("--text", list(text)), ("--label", label), ("--encoding", encoding)):
            if value:
                raise InputError(option, value, "describes your data", "give --data FILE as well")
        return _write_starter(file or STARTER) if example is None else _copy(example, file)
    if example is not None:
        raise InputError("--example", example, "--data writes a spec of its own", "give one of the two")
    return _write_for_data(data, file, list(text), label, encoding)


def _copy(example: str, file: str | None) -> int:
    from tuning.starting.example_files import copy_example

    if file is not None:
        raise InputError("FILE", file, "an example brings the names of its files", "leave FILE away")
    first, *others = (path.name for path in copy_example(example, Path()))
    run = f"tunefleet run {first}" if first.endswith(YAML) else f"python {first}"
    print(f"{' and '.join([first, *others])} {'are' if others else 'is'} written. Next: read, edit, {run}")
    return SUCCESS


def _write_starter(name: str) -> int:
    target = _target(name)
    _, _, rest = (EXAMPLES / "starter.yaml").read_text(encoding="utf-8").partition("\n")  # the first line is a preset's
    _write(target, rest)
    print(f"{target} is written. Next: edit it, tunefleet validate {target}, tunefleet run {target}")
    _note_suffix(target)
    return SUCCESS


def _write_for_data(data: str, file: str | None, text: list[str], label: str | None, encoding: str | None) -> int:
    from tuning.spec.loading import load_spec
    from tuning.starting.columns import read_rows
    from tuning.starting.data_choices import choose_columns
    from tuning.starting.draft_spec import name_for, spec_text

    rows = read_rows(Path(data).expanduser(), encoding)
    target = _target(file or f"{name_for(rows.path)}.yaml")
    choices = choose_columns(rows, text, label)
    _write(target, spec_text(rows, choices, encoding))
    named = " and ".join(repr(column.name) for column in choices.text)
    print(f"{target} is written: {choices.task} of {named}, label {choices.label.name!r} ({choices.why['task']})")
    for sentence in choices.unsure:
        print(f"  unsure: {sentence}")
    _note_suffix(target)
    try:
        load_spec(target)
    except SpecError as error:
        print("  It does not run yet:")
        for mistake in error.mistakes:
            print(f"    {mistake}")
        print(f"Next: mend that, then tunefleet validate {target}")
    else:
        print(f"Next: look at it, tunefleet run {target}")
    return SUCCESS


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


def _note_suffix(target: Path) -> None:
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
