"""Reads the text of a spec: YAML files, the presets of the package, and `key=value` overrides. No models here.

How YAML is read: `tuning.core_yaml`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from trainables.errors import nearest
from tuning.core_yaml import Dumper, load_yaml, plain_copy
from tuning.spec.mistakes import Mistake, SpecError, join_path

EXAMPLES = Path(__file__).parents[1] / "examples"
DATA_FILES = (".csv", ".tsv", ".txt", ".jsonl", ".parquet", ".gz", ".xlsx")  # endings that no spec has
SHOWN_LINE = 100  # characters of a line that is no YAML
LONGEST = 1_000_000  # bytes of a spec file; the longest of ours has 2,000


def presets() -> dict[str, str]:
    """The presets by name, each with its description: the first line of its file."""
    return {path.stem: _first_line(path) for path in sorted(EXAMPLES.glob("*.yaml"))}


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.readline().lstrip("# ").strip()


def read_source(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> tuple[dict[str, Any], str]:
    """Reads a raw spec, and finds its name for messages.

    Args:
        source: a YAML file, the name of a preset, or a mapping as YAML would give it.
        overrides: `key=value`, the key dotted, with list positions; the value is YAML.

    Raises:
        SpecError: no such file or preset, not YAML, not a mapping, or overrides that lead nowhere.
    """
    if isinstance(source, Mapping):
        raw, label = _plain(source, "the spec"), "the spec"
    else:
        path = find_source(source)
        raw, label = parse(read_spec_text(path), str(source)), str(source)
    mistakes = list(_apply_all(raw, overrides))
    if mistakes:
        raise SpecError(mistakes, label)
    return raw, label


def read_spec_text(path: Path) -> str:
    """Reads a spec file's text.

    Raises:
        SpecError: the file cannot be read, or is no text.
    """
    try:
        with path.open("rb") as file:
            read = file.read(LONGEST + 1)
        if len(read) > LONGEST:
            rule = f"longer than {LONGEST:,} bytes, which no spec is"
            raise SpecError([Mistake(str(path), rule, next_step="name the spec's YAML file")])
        return read.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SpecError([Mistake(str(path), f"not text in UTF-8: {error.reason} at byte {error.start}")]) from error


def find_source(source: str | Path) -> Path:
    """Finds the file behind a path or the name of a preset.

    Raises:
        SpecError: there is none; names the nearest preset.
    """
    path = Path(source).expanduser()
    if path.is_file():
        if path.suffix.lower() in DATA_FILES:
            step = f"`tunefleet init --data {source}` writes a spec for it"
            raise SpecError([Mistake(str(source), "is a file of data by its name, not a spec", next_step=step)])
        return path
    preset = EXAMPLES / f"{source}.yaml"
    if preset.is_file() and preset.parent == EXAMPLES:
        return preset
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        step = "`tunefleet init FILE` writes one to start from"
        raise SpecError([Mistake(str(source), f"no such file, looked in {path.absolute().parent}", next_step=step)])
    raise SpecError([Mistake(str(source), "neither a file nor a preset", next_step=nearest(str(source), presets()))])


def parse(text: str, label: str) -> dict[str, Any]:
    """Parses a YAML text whose top level is a mapping.

    Raises:
        SpecError: it is something else; names line and column.
    """
    try:
        raw = load_yaml(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{label}:{mark.line + 1}:{mark.column + 1}" if mark else label
        step = _yaml_step(text.splitlines(), error)
        raise SpecError([Mistake(place, f"not valid YAML: {error.problem}", next_step=step)]) from error
    except yaml.YAMLError as error:
        raise SpecError([Mistake(label, f"not valid YAML: {error}")]) from error
    if not isinstance(raw, dict):
        step = "`tunefleet init` shows the keys that an experiment has"
        raise SpecError([Mistake(label, "must be a mapping of keys to values", next_step=step)])
    return _plain(raw, label)


def _yaml_step(lines: Sequence[str], error: yaml.MarkedYAMLError) -> str:
    """The line at which reading ended, without a password, and what to do about the usual mistakes."""
    mark, problem = error.problem_mark, str(error.problem)
    if mark is None or mark.line >= len(lines):
        return "close the bracket or the quotation mark that is open above"
    if "stands twice" in problem:
        return "keep one of them"
    shown = re.sub(r"//\S*@", "//...@", lines[mark.line])
    line = f"the line is {shown[:SHOWN_LINE]!r}"
    if "\\t" in problem:
        return f"{line}; write blanks in place of tabs"
    if "mapping values are not allowed" in problem:
        return f"{line}; put a text that holds ': ' into quotes, and begin each key in the column of its neighbours"
    if "block end" in problem:
        return f"{line}; begin it in the same column as those above it that stand at its level"
    if "cannot start any token" in problem:
        return f"{line}; put a text that begins with such a character into quotes"
    if "or ']'" in problem or "or '}'" in problem:
        return f"{line}; close the bracket that is open there or above"
    return f"{line}; correct it, or put a text with special characters into quotes"


def dump(raw: Mapping[str, Any]) -> str:
    """Writes YAML that `parse` reads back to the same values.

    It is ASCII, since PyYAML writes some of Unicode's line breaks unescaped.
    """
    return yaml.dump(dict(raw), Dumper=Dumper, sort_keys=False, width=120)


def _plain(raw: Mapping[Any, Any], label: str) -> dict[str, Any]:
    try:
        copied: dict[str, Any] = plain_copy(raw)
    except yaml.YAMLError as error:
        raise SpecError([Mistake(label, f"no spec: {error}")]) from error
    return copied


def _apply_all(raw: dict[str, Any], overrides: Sequence[str]) -> Iterator[Mistake]:
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            yield Mistake(override, "an override must be key=value", next_step="such as epochs=2")
            continue
        try:
            value = plain_copy(load_yaml(text))
        except yaml.YAMLError:
            yield Mistake(key, "not valid YAML", text, "quote it, as in name='a: b'")
            continue
        mistake = _put(raw, list(split_path(key, _searched(raw))), value)
        if mistake:
            yield mistake


def _searched(raw: Mapping[str, Any]) -> set[str]:
    """The names in the space of a raw spec and in those of its strategies."""
    strategies = raw.get("strategies")
    sections = [raw, *(strategies if isinstance(strategies, list) else ())]
    spaces = (section.get("space") for section in sections if isinstance(section, Mapping))
    return {str(name) for space in spaces if isinstance(space, Mapping) for name in space}


def split_path(key: str, names: Collection[str] = ()) -> Iterator[str]:
    """Splits a dotted key into its steps: 'space.loss.margin.uniform' -> 'space', 'loss.margin', 'uniform'.

    Args:
        names: of tunables that the spec has; a new name ends before a key of a dimension.
    """
    parts, section = key.split("."), ""
    while parts:
        count = _name_length(parts, names) if section == "space" else len(parts) if section == "fixed" else 1
        section = ".".join(parts[:count])
        yield section
        parts = parts[count:]


def _name_length(parts: Sequence[str], names: Collection[str]) -> int:
    """The number of parts behind `space` that are the tunable's name: of the longest one that is known."""
    from tuning.space.search_space import KINDS

    known = [count for count in range(1, len(parts) + 1) if ".".join(parts[:count]) in names]
    keys = {field.alias or name for kind in KINDS.values() for name, field in kind.model_fields.items()}
    ends = (count for count in range(1, len(parts)) if parts[count] in keys)
    return known[-1] if known else next(ends, len(parts))


def _put(raw: dict[str, Any], steps: list[str], value: Any) -> Mistake | None:
    """Set one value in place; missing sections are made."""
    here: Any = raw
    for depth, step in enumerate(steps):
        path, last = join_path(*steps[: depth + 1]), depth == len(steps) - 1
        if isinstance(here, list):
            index = _position(step, here)
            if last and step == str(len(here)):
                here.append(value)
                return None
            if index is None:
                return Mistake(path, f"no such position: the list holds {_positions(here)}")
            if last:
                here[index] = value
            here = here[index]
        elif isinstance(here, dict):
            if last:
                here[step] = value
            elif here.get(step) is None:
                here[step] = {}
            here = here[step]
        else:
            return Mistake(path, f"{join_path(*steps[:depth])} is a single value and has no keys", here)
    return None


def _position(step: str, values: Sequence[Any]) -> int | None:
    return int(step) if step.isdecimal() and int(step) < len(values) else None


def _positions(values: Iterable[Any]) -> str:
    count = len(list(values))
    return "nothing" if count == 0 else f"positions 0 to {count - 1}"
