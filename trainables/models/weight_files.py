"""A model's weight files: finds them, reads their shapes, and reports what is wrong with them. Reads headers only.

A safetensors file is: the length of the header (eight bytes, little-endian), the header (JSON: type, shape and offsets
of each tensor), the tensors. See https://huggingface.co/docs/safetensors.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainables.errors import InputError
from trainables.wording import some

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
POINTER = b"version https://git-lfs"
FETCH_POINTER = "it is a pointer of Git LFS, not the file itself"
FETCH_AGAIN = "fetch it again, with `git lfs pull` in a clone of a repository"
LONGEST_JSON = 256_000_000  # bytes; the longest tokenizer.json of today has 35 million
LONGEST_HEADER = 100_000_000  # bytes; what the safetensors library accepts
# Formats that are not read here, by file name: pickles, other frameworks, and formats for inference only.
FOREIGN = {
    "*.bin": "PyTorch pickles (.bin)",
    "*.pt": "PyTorch pickles (.pt)",
    "*.pth": "PyTorch pickles (.pth)",
    "*.h5": "TensorFlow weights (.h5)",
    "*.msgpack": "Flax weights (.msgpack)",
    "*.onnx": "ONNX graphs, which cannot be trained",
    "onnx/*.onnx": "ONNX graphs, which cannot be trained",
    "*.gguf": "GGUF files, which cannot be trained",
    "*.ggml": "GGML files, which cannot be trained",
}


class ModelError(InputError):
    """The model cannot be used: which option, its value, the rule, the next step."""


def read_model_json(path: Path) -> dict[str, Any]:
    """Reads the object in a JSON file of a model.

    Raises:
        ModelError: the file is truncated, a Git LFS pointer, longer than any such file, or no JSON object.
    """
    with path.open("rb") as file:
        stated = os.fstat(file.fileno()).st_size
        raw = file.read(LONGEST_JSON + 1) if stated <= LONGEST_JSON else b""
    if max(stated, len(raw)) > LONGEST_JSON:
        raise ModelError("model", str(path), f"is longer than {LONGEST_JSON:,} bytes, which none is", FETCH_AGAIN)
    if raw.startswith(POINTER):
        raise ModelError("model", str(path), FETCH_POINTER, FETCH_AGAIN)
    try:
        content = json.loads(raw.decode("utf-8"))
    except ValueError as error:
        rule = f"is empty or cut off, or no JSON ({error})" if raw.strip() else "is empty"
        raise ModelError("model", str(path), rule, FETCH_AGAIN) from error
    except RecursionError as error:
        raise ModelError("model", str(path), "nests deeper than any such file", FETCH_AGAIN) from error
    if not isinstance(content, dict):
        raise ModelError("model", str(path), f"holds a {type(content).__name__}, not an object", FETCH_AGAIN)
    return content


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that transformers reads: the single file, or the shards that the index names.

    Shards are returned whether or not they exist. A folder with neither returns all its safetensors files.

    Raises:
        ModelError: the index cannot be read.
    """
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if (folder / INDEX).is_file():
        return sorted({folder / str(shard) for shard in _weight_map(folder / INDEX).values()})
    return sorted(folder.glob("*.safetensors"))


def tensor_shapes(file: Path) -> dict[str, list[int]]:
    """The shape of each tensor in a safetensors file, by name.

    Raises:
        ModelError: it is no safetensors file.
    """
    return {name: tensor["shape"] for name, tensor in _header(file)[0].items()}


def weight_errors(model: str, folder: Path) -> Iterator[ModelError]:
    """Yields what is wrong with the weights in `folder`: no usable format, a missing shard, a truncated file.

    Args:
        model: the folder's name as the user wrote it.
        folder: of the model.
    """
    try:
        files = weight_files(folder)
        index = _weight_map(folder / INDEX) if (folder / INDEX).is_file() and folder / SINGLE not in files else {}
    except ModelError as error:
        yield error
        return
    if not files or (not index and folder / SINGLE not in files):
        yield _none_to_train(model, folder, files)
        return
    if missing := [file.name for file in files if not file.is_file()]:
        rule = f"{folder} lacks {len(missing)} of the {len(files)} files that {INDEX} names: {some(missing)}"
        yield ModelError("model", model, rule, "copy or fetch the rest of the model there")
    for file in files:
        if file.is_file():
            yield from _damage(file, {tensor for tensor, shard in index.items() if shard == file.name})


def _none_to_train(model: str, folder: Path, others: list[Path]) -> ModelError:
    found = sorted({kind for pattern, kind in FOREIGN.items() if any(folder.glob(pattern))})
    step = "save the model there with save_pretrained, which writes safetensors"
    if others:
        rule = f"{folder} has no {SINGLE} and no {INDEX}, but {some([file.name for file in others])}"
        return ModelError("model", model, rule, f"rename the file to {SINGLE}, or {step}")
    if any("pickles" in kind for kind in found):
        return ModelError("model", model, f"{folder} has only .bin weights, which are pickles: {some(found)}", step)
    rule = f"{folder} has only {some(found)}" if found else f"{folder} has no weights"
    return ModelError("model", model, rule, step)


def _damage(file: Path, expected: set[str]) -> Iterator[ModelError]:
    """Yields what is wrong with a safetensors file: its header, its length, or tensors of the index that it lacks."""
    try:
        tensors, body = _header(file)
    except ModelError as error:
        yield error
        return
    ends = [tensor["data_offsets"][1] for tensor in tensors.values()]
    there, due = file.stat().st_size - body, max(ends, default=0)
    if there < due:
        rule = f"is cut off: holds {body + there:,} of {body + due:,} bytes"
        yield ModelError("model", str(file), rule, "copy or fetch it again")
    if absent := sorted(expected - tensors.keys()):
        rule = f"lacks {len(absent)} tensors that {INDEX} says are in it, such as {absent[0]}"
        yield ModelError("model", str(file), rule, "copy or fetch index and weights of one and the same model")


def _header(file: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """The header's entries by tensor name, and the offset in bytes at which the tensors begin."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        first = opened.read(8)
        if first + opened.read(len(POINTER) - 8) == POINTER:
            raise ModelError("model", str(file), f"is no safetensors file: {FETCH_POINTER}", FETCH_AGAIN)
        length = int.from_bytes(first, "little")
        if size < 8 or length > min(size - 8, LONGEST_HEADER):
            rule = "is no safetensors file, or cut off within its header" if size else "is no safetensors file: empty"
            raise ModelError("model", str(file), rule, "copy or fetch it again")
        opened.seek(8)
        try:
            header = json.loads(opened.read(length))
            tensors = {name: tensor for name, tensor in header.items() if name != "__metadata__"}
            numbers = [number for tensor in tensors.values() for number in (*tensor["shape"], *tensor["data_offsets"])]
            assert all(isinstance(number, int) and number >= 0 for number in numbers)
            assert all(len(tensor["data_offsets"]) == 2 for tensor in tensors.values())
        except (ValueError, AttributeError, KeyError, TypeError, AssertionError, RecursionError) as error:
            rule = "is no safetensors file: its header cannot be read"
            raise ModelError("model", str(file), rule, "copy or fetch it again") from error
    return tensors, 8 + length


def _weight_map(index: Path) -> dict[str, str]:
    found = read_model_json(index).get("weight_map")
    if not isinstance(found, dict) or not found:
        raise ModelError("model", str(index), "has no weight_map", FETCH_AGAIN)
    return found
