"""The text of a spec: YAML files, the presets that ship with the package, and `key=value` overrides. No models here.

YAML is read by the core schema of version 1.2: `1e-5` is a number, `no` and `on` are texts, `010` is ten; and a key
that stands twice is a mistake.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from trainables.errors import nearest
from tuning.checks.mistakes import Mistake, SpecError, join

EXAMPLES = Path(__file__).parent / "examples"
FREE_KEYS = ("space", "fixed")  # below these stand names of tunables, which may have a dot of their own
NAME_GROUPS = ("model", "data")


class _Loader(yaml.SafeLoader):
    """SafeLoader with the core schema of YAML 1.2 and without duplicate keys."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own attribute)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_core_int(self, node: yaml.ScalarNode) -> int:
        text = self.construct_scalar(node)
        return int(text, {"0x": 16, "0o": 8}.get(text[:2], 10))


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), [*_first, ""])
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_core_int)


class _Dumper(yaml.SafeDumper):
    """Quotes exactly the texts that `_Loader` would read as something else."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def presets() -> dict[str, str]:
    """The shipped experiments: name -> the first line of the file, its description."""
    return {path.stem: _first_line(path) for path in sorted(EXAMPLES.glob("*.yaml"))}


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.readline().lstrip("# ").strip()


def read_source(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> tuple[dict[str, Any], str]:
    """The raw spec and what to call it in messages.

    Args:
        source: a YAML file, the name of a preset, or a mapping as YAML would give it.
        overrides: `key=value`, the key dotted, with list positions; the value is YAML.

    Raises:
        SpecError: no such file or preset, not YAML, not a mapping, or overrides that lead nowhere.
    """
    if isinstance(source, Mapping):
        raw, label = _copy(source), "the spec"
    else:
        path = find_source(source)
        raw, label = parse(read_text(path), str(source)), str(source)
    mistakes = list(_apply_all(raw, overrides))
    if mistakes:
        raise SpecError(mistakes, label)
    return raw, label


def read_text(path: Path) -> str:
    """A spec file's text.

    Raises:
        SpecError: it is none.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SpecError([Mistake(str(path), f"not text in UTF-8: {error.reason} at byte {error.start}")]) from error


def find_source(source: str | Path) -> Path:
    """The file behind a path or the name of a preset.

    Raises:
        SpecError: there is none; with the nearest preset.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return path
    preset = EXAMPLES / f"{source}.yaml"
    if preset.is_file() and preset.parent == EXAMPLES:
        return preset
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        step = "`tunefleet init FILE` writes one to start from"
        raise SpecError([Mistake(str(source), f"no such file, looked in {path.absolute().parent}", next_step=step)])
    raise SpecError([Mistake(str(source), "neither a file nor a preset", next_step=nearest(str(source), presets()))])


def parse(text: str, label: str) -> dict[str, Any]:
    """A YAML text whose top level is a mapping.

    Raises:
        SpecError: it is something else; with line and column.
    """
    try:
        raw = _load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{label}:{mark.line + 1}:{mark.column + 1}" if mark else label
        raise SpecError([Mistake(place, f"not valid YAML: {error.problem}")]) from error
    except yaml.YAMLError as error:
        raise SpecError([Mistake(label, f"not valid YAML: {error}")]) from error
    if not isinstance(raw, dict):
        step = "`tunefleet init` shows the keys that an experiment has"
        raise SpecError([Mistake(label, "must be a mapping of keys to values", next_step=step)])
    return {str(key): _copy(item) for key, item in raw.items()}


def dump(raw: Mapping[str, Any]) -> str:
    """YAML that `parse` reads back to the same values. ASCII: PyYAML writes some of Unicode's line breaks unescaped."""
    return yaml.dump(dict(raw), Dumper=_Dumper, sort_keys=False, width=120)


def _load(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)  # _Loader is a SafeLoader


def _copy(value: Any) -> Any:
    """Plain dictionaries and lists all the way down; overrides then change no object of the caller's.

    Keys become texts: a spec has no others, and `1: x` is then told as the unknown key '1'.
    """
    if isinstance(value, Mapping):
        return {str(key): _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list | tuple) else value


def _apply_all(raw: dict[str, Any], overrides: Sequence[str]) -> Iterator[Mistake]:
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            yield Mistake(override, "an override must be key=value", next_step="such as epochs=2")
            continue
        try:
            value = _copy(_load(text))
        except yaml.YAMLError:
            yield Mistake(key, "not valid YAML", text, "quote it, as in name='a: b'")
            continue
        mistake = _put(raw, list(split_path(key)), value)
        if mistake:
            yield mistake


def split_path(key: str) -> Iterator[str]:
    """The steps of a dotted key: 'fixed.model.hidden_dropout_prob' -> 'fixed', 'model.hidden_dropout_prob'."""
    parts = iter(key.split("."))
    after_free_key = False
    for part in parts:
        rest = next(parts, None) if after_free_key and part in NAME_GROUPS else None
        yield part if rest is None else f"{part}.{rest}"
        after_free_key = part in FREE_KEYS


def _put(raw: dict[str, Any], steps: list[str], value: Any) -> Mistake | None:
    """Set one value in place; sections that are not there yet are made."""
    here: Any = raw
    for depth, step in enumerate(steps):
        path, last = join(*steps[: depth + 1]), depth == len(steps) - 1
        if isinstance(here, list):
            index = _position(step, here)
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
            return Mistake(path, f"{join(*steps[:depth])} is a single value and has no keys", here)
    return None


def _position(step: str, values: Sequence[Any]) -> int | None:
    return int(step) if step.isdecimal() and int(step) < len(values) else None


def _positions(values: Iterable[Any]) -> str:
    count = len(list(values))
    return "nothing" if count == 0 else f"positions 0 to {count - 1}"
