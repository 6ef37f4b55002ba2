"""Local paths in the configuration files that libraries write beside a model, such as a LoRA adapter's base model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tuning.selection.local_paths import find_local_paths, shorten_paths

CONFIGURATION = "config.json"  # at the end of the file's name: adapter_config.json, tokenizer_config.json


def configs_with_paths(files: Mapping[str, bytes]) -> Iterator[tuple[str, Any]]:
    """Yield name and content of each of a model's configuration files with local paths in it."""
    for name, content in files.items():
        if name.endswith(CONFIGURATION) and find_local_paths(found := json.loads(content)):
            yield name, found


def path_notices(files: Mapping[str, bytes], *, for_others: bool) -> Iterator[str]:
    """Yield a line for each local path in the configuration files.

    Args:
        for_others: the files will be published, see `shorten_config_paths`.
    """
    for name, found in configs_with_paths(files):
        for key, place in find_local_paths(found).items():
            if for_others:
                left = shorten_paths(place)
                yield f"{name}: {key}: only {left!r} is left of {place}: write there the name by which others find it"
            else:
                yield f"{name}: {key}: {place} is a place of this machine: the model is loaded only where that is"


def shorten_config_paths(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files with each local path cut to its last part."""
    changed = {name: json.dumps(shorten_paths(found), indent=2).encode() for name, found in configs_with_paths(files)}
    return {**files, **changed}
