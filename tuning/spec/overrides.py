"""Overrides of a raw spec, `key=value`: the key dotted, with list positions; the value is YAML."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import yaml

from tuning.core_yaml import load_yaml, plain_copy
from tuning.spec.mistakes import Mistake, join_path


def apply_overrides(raw: dict[str, Any], overrides: Sequence[str]) -> Iterator[Mistake]:
    """Sets the values of `overrides` in `raw`, in place; yields what is wrong with them."""
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
    parts, section, above = key.split("."), "", ""
    while parts:
        names_a_value = section == "fixed" or above == "points"
        count = _name_length(parts, names) if section in ("space", "priors") else len(parts) if names_a_value else 1
        section, above = ".".join(parts[:count]), section
        yield section
        parts = parts[count:]


def _name_length(parts: Sequence[str], names: Collection[str]) -> int:
    """The number of parts behind `space` or `priors` that are the tunable's name: of the longest one that is known."""
    from tuning.space import Prior
    from tuning.space.search_space import KINDS

    known = [count for count in range(1, len(parts) + 1) if ".".join(parts[:count]) in names]
    keys = {field.alias or name for kind in KINDS.values() for name, field in kind.model_fields.items()}
    keys |= Prior.model_fields.keys()
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
