"""Places of this machine in the configurations that libraries write beside a model, such as a LoRA adapter's base."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tuning.selection.local_paths import local_places, without_places

CONFIGURATION = "config.json"  # at the end of the file's name: adapter_config.json, tokenizer_config.json


def configurations(files: Mapping[str, bytes]) -> Iterator[tuple[str, Any]]:
    """Those among a model's files that name places of this machine: path below the folder, content."""
    for name, content in files.items():
        if name.endswith(CONFIGURATION) and local_places(found := json.loads(content)):
            yield name, found


def places_told(files: Mapping[str, bytes], *, for_others: bool) -> Iterator[str]:
    """A line for each such place.

    Args:
        for_others: the files will be published, see `for_all`.
    """
    for name, found in configurations(files):
        for key, place in local_places(found).items():
            if for_others:
                left = without_places(place)
                yield f"{name}: {key}: only {left!r} is left of {place}: write there the name by which others find it"
            else:
                yield f"{name}: {key}: {place} is a place of this machine: the model is loaded only where that is"


def for_all(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files with the last part of each such place in its stead."""
    changed = {name: json.dumps(without_places(found), indent=2).encode() for name, found in configurations(files)}
    return {**files, **changed}
