"""YAML as specs are written in: the core schema of version 1.2, and no text that grows or nests without end.

`1e-5` is a number, `no` and `on` are texts, `010` is ten; and a key that stands twice is a mistake.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from trainables.errors import InputError

MAX_DEPTH = 50  # levels of mappings and lists; a spec has about six
MAX_VALUES = 100_000  # values of a spec, those counted again that aliases repeat
SHOWN_LENGTH = 40  # characters of a wrong value
STEP = "put back the store as it was, or fetch it again"


class DamagedSpec(InputError):
    """What a store holds as a spec is none."""


class YamlTooLarge(yaml.YAMLError):
    """A value nests without end, or holds more than a spec can."""


class Loader(yaml.SafeLoader):
    """SafeLoader with the core schema of YAML 1.2 and without duplicate keys. Use `load_yaml`."""

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
        except (ValueError, LookupError, AttributeError) as error:  # PyYAML's own of a value that its tag does not fit
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
    """Quotes exactly the texts that `Loader` would read as something else."""

    yaml_implicit_resolvers = Loader.yaml_implicit_resolvers


def load_yaml(text: str) -> Any:
    """The value of a YAML text; `plain_copy` makes it one that may be changed.

    Raises:
        yaml.YAMLError: it is none.
    """
    try:
        return yaml.load(text, Loader=Loader)  # it is a SafeLoader
    except RecursionError as error:
        raise YamlTooLarge(f"it nests deeper than {MAX_DEPTH} levels") from error


def plain_copy(value: Any) -> Any:
    """Plain dictionaries and lists all the way down, none of them twice; changes then reach no object of the caller's.

    Keys become texts: a spec has no others, and `1: x` is then told as the unknown key '1'.

    Raises:
        TooMuch: a few lines whose aliases stand for billions of values, or for themselves, among others.
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
    """The spec that a store has kept, which may come from another machine; empty where the text is.

    Raises:
        DamagedSpec: it is none.
    """
    try:
        value = plain_copy(load_yaml(text)) or {}
    except yaml.YAMLError as error:
        told = " ".join(str(error).split())
        raise DamagedSpec("store", "spec", f"what is recorded as the spec is none: {told}", STEP) from error
    if not isinstance(value, dict):
        raise DamagedSpec("store", "spec", "what is recorded as the spec is no mapping of keys to values", STEP)
    return value
