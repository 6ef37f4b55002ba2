"""Reads the text of a spec: YAML files, the presets of the package, and `key=value` overrides. No models here.

How YAML is read: `tuning.core_yaml`. A file in another tool's format is translated (`tuning.spec.formats`):
overrides of its own keys change it before, all others change the spec that it becomes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from trainables.errors import nearest
from tuning.core_yaml import Dumper, load_yaml, plain_copy
from tuning.spec.formats import ForeignFormat, Translation, find_format
from tuning.spec.formats.translation import folder_words
from tuning.spec.mistakes import Mistake, SpecError
from tuning.spec.overrides import apply_overrides

EXAMPLES = Path(__file__).parents[1] / "examples"
DATA_FILES = (".csv", ".tsv", ".txt", ".jsonl", ".parquet", ".gz", ".xlsx")  # endings that no spec has
SHOWN_LINE = 100  # characters of a line that is no YAML
BASE = "base"  # beside a file in another format: the spec that says what such a file has no words for
SAID_BY_FORMATS = ("name", "space", "strategies", "seeds", "objective", "budget", "confirm", "baseline")
LONGEST = 1_000_000  # bytes of a spec file; the longest of ours has 2,000


def presets() -> dict[str, str]:
    """The presets by name, each with its description: the first line of its file."""
    return {path.stem: _first_line(path) for path in sorted(EXAMPLES.glob("*.yaml"))}


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.readline().lstrip("# ").strip()


class RawSpec(NamedTuple):
    """A spec before it is checked.

    Args:
        raw: its fields.
        label: its name for messages.
        translation: of a file in another tool's format; None: it is written as a spec.
    """

    raw: dict[str, Any]
    label: str
    translation: Translation | None = None


def read_source(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> RawSpec:
    """Reads a raw spec.

    Args:
        source: a YAML file, the name of a preset, or a mapping as YAML would give it.
        overrides: `key=value`, the key dotted, with list positions; the value is YAML.

    Raises:
        SpecError: no such file or preset, not YAML, not a mapping, or overrides that lead nowhere.
    """
    if isinstance(source, Mapping):
        raw, label, stem = _plain(source, "the spec"), "the spec", ""
    else:
        path = find_source(source)
        raw, label, stem = parse(read_spec_text(path), str(source)), str(source), path.stem
    translation = None
    if (foreign := find_format(raw)) is not None:
        raw, translation, overrides = _translated(raw, foreign, overrides, label)
        raw.setdefault("name", folder_words(stem) or "sweep")
    mistakes = list(apply_overrides(raw, overrides))
    if mistakes:
        raise SpecError(mistakes, label)
    return RawSpec(raw, label, translation)


def _translated(
    raw: dict[str, Any], foreign: ForeignFormat, overrides: Sequence[str], label: str
) -> tuple[dict[str, Any], Translation, list[str]]:
    """The spec of a file in another format, its translation, and the overrides that are left for that spec.

    Raises:
        SpecError: overrides of the file's own keys lead nowhere, or `base` names no spec.
    """
    inside = [one for one in overrides if re.split("[.=]", one)[0] in foreign.keys - {"name", "budget"}]
    based = [one for one in overrides if one.partition("=")[0] == BASE]
    if mistakes := list(apply_overrides(raw, [*inside, *based])):
        raise SpecError(mistakes, label)
    left = [one for one in overrides if one not in inside and one not in based]
    beside = {key: value for key, value in raw.items() if key not in foreign.keys and key != BASE}
    given = {**_base(raw.get(BASE)), **beside}
    peeked, whole = dict(given), [one for one in left if "." not in one.partition("=")[0]]
    list(apply_overrides(peeked, whole))  # mistakes are found where all are applied
    translation = foreign.translate({key: value for key, value in raw.items() if key in foreign.keys}, peeked)
    return _together(given, translation.spec), translation, left


def _base(source: object) -> dict[str, Any]:
    """The fields of the spec that stands beside a file in another format; what that file says is left out.

    Raises:
        SpecError: there is none of that name, or it is not YAML.
    """
    if source is None:
        return {}
    path = find_source(str(source))
    base = parse(read_spec_text(path), str(source))
    return {key: value for key, value in base.items() if key not in SAID_BY_FORMATS}


def _together(given: Mapping[str, Any], translated: Mapping[str, Any]) -> dict[str, Any]:
    """One spec of what stands beside a file and what the file became; of a section in both, the file's keys count."""
    merged = {**given, **translated}
    for key in ("fixed", "wandb", "cluster"):
        if isinstance(own := given.get(key), Mapping) and key in translated:
            merged[key] = {**own, **translated[key]}
    if isinstance(fixed := merged.get("fixed"), Mapping):
        searched = translated.get("space", {})
        merged["fixed"] = {name: value for name, value in fixed.items() if name not in searched}
    return merged


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
