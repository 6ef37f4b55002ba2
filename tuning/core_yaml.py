"""Reads and writes YAML by the core schema of version 1.2, with limits on size and depth.

`1e-5` is a number, `no` and `on` are texts, and `010` is ten. A duplicate key is an error. Input is the text of a spec;
output is plain dictionaries and lists. Source: https://yaml.org/spec/1.2.2, section 10.3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from trainables.errors import InputError

MAX_DEPTH = 50  # levels of mappings and lists; a spec has about six
MAX_VALUES = 100_000  # values of a spec; a value that an alias repeats counts each time
SHOWN_LENGTH = 40  # characters of a wrong value that an error shows
NEXT_STEP = "restore the store from a copy, or fetch it again"


class DamagedSpec(InputError):
    """The store holds something that is no spec."""


class YamlTooLarge(yaml.YAMLError):
    """A value nests deeper than `MAX_DEPTH` levels or holds more than `MAX_VALUES` values."""


class Loader(yaml.SafeLoader):
    """A SafeLoader with the core schema of YAML 1.2 that refuses duplicate keys. Call `load_yaml` instead."""

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

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (
            ValueError,
            LookupError,
            AttributeError,
        ) as error:  # PyYAML raises these for a value that does not fit its tag
            kind, value = node.tag.rpartition(":")[2], str(node.value)
            shown = value if len(value) <= SHOWN_LENGTH else f"{value[:SHOWN_LENGTH]}... ({len(value):,} characters)"
            raise yaml.constructor.ConstructorError(None, None, f"{shown!r} is no {kind}", node.start_mark) from error

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
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), [*_first, ""])
Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_core_int)


class Dumper(yaml.SafeDumper):
    """A SafeDumper that quotes exactly the texts that `Loader` would read as something else."""

    yaml_implicit_resolvers = Loader.yaml_implicit_resolvers


def load_yaml(text: str) -> Any:
    """Parses a YAML text. Aliases stay shared objects; `plain_copy` separates them.

    Raises:
        yaml.YAMLError: the text is no YAML, or nests too deep.
    """
    try:
        return yaml.load(text, Loader=Loader)  # safe: the loader is a SafeLoader
    except RecursionError as error:
        raise YamlTooLarge(f"it nests deeper than {MAX_DEPTH} levels") from error


def plain_copy(value: Any) -> Any:
    """Copies a value into new dictionaries and lists at every level, so that it shares none with the caller's value.

    Keys become texts: a spec has no others, and `1: x` is then reported as the unknown key '1'.

    Raises:
        YamlTooLarge: the value is too deep or too large, for example through aliases that repeat each other.
    """
    copied = 0

    def copy(value: Any, level: int) -> Any:
        nonlocal copied
        copied += 1
        if level > MAX_DEPTH:
            raise YamlTooLarge(f"it nests deeper than {MAX_DEPTH} levels")
        if copied > MAX_VALUES:
            raise YamlTooLarge(f"it holds more than {MAX_VALUES:,} values, with what its aliases repeat")
        if isinstance(value, Mapping):
            return {str(key): copy(item, level + 1) for key, item in value.items()}
        return [copy(item, level + 1) for item in value] if isinstance(value, list | tuple) else value

    return copy(value, 0)


def parse_recorded_spec(text: str) -> dict[str, Any]:
    """Parses the spec that a store recorded, perhaps on another machine. Returns {} for an empty text.

    Raises:
        DamagedSpec: the text is no YAML, or no mapping.
    """
    try:
        value = plain_copy(load_yaml(text)) or {}
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise DamagedSpec("store", "spec", f"the recorded spec is no YAML: {reason}", NEXT_STEP) from error
    if not isinstance(value, dict):
        raise DamagedSpec("store", "spec", "the recorded spec is no mapping of keys to values", NEXT_STEP)
    return value
