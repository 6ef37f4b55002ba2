"""The weights in a model's folder: files that are cut off, missing, or of another kind are named before a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.model_folders import POINTER, only_fault, spec_of
from trainables.models.encoders import check_model
from trainables.models.files import ModelError, weight_bytes

pytestmark = pytest.mark.unit


def shard(folder: Path) -> None:
    """Write the model's weights as two files and an index."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    halves = {"model-00001-of-00002.safetensors": sorted(weights)[::2], "model-00002-of-00002.safetensors": []}
    halves["model-00002-of-00002.safetensors"] = sorted(weights)[1::2]
    for name, tensors in halves.items():
        save_file({tensor: weights[tensor] for tensor in tensors}, folder / name, {"format": "pt"})
    index = {tensor: name for name, tensors in halves.items() for tensor in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


HEADERS = (
    b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    b'{"a": {"shape": ["x"], "data_offsets": [0, 1]}}',
    b'{"a": {"shape": [1], "data_offsets": [0]}}',
    b'{"a": {"shape": [1], "data_offsets": [0, "x"]}}',
    b'{"a": {"shape": 1, "data_offsets": [0, 1]}}',
)


def test_weights_that_are_cut_off_or_no_weights_at_all_are_named(folder: Path) -> None:
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for content, rule in (
        (whole[:-1000], f"is cut off: holds {len(whole) - 1000:,} of {len(whole):,} bytes"),
        (whole[:200], "is no safetensors file, or cut off within its header"),
        (b"", "is no safetensors file: empty"),
        (POINTER.encode(), "it is a pointer of Git LFS"),
        ((9).to_bytes(8, "little") + b"not JSON!", "its header cannot be read"),
        *(((len(header)).to_bytes(8, "little") + header, "its header cannot be read") for header in HEADERS),
    ):
        weights.write_bytes(content)
        assert rule in only_fault(folder)


def test_weights_in_shards_are_read_and_a_missing_one_is_named(folder: Path) -> None:
    size = weight_bytes(str(folder))
    shard(folder)
    assert check_model(spec_of(folder)) == []
    assert weight_bytes(str(folder)) == size
    (folder / "model-00002-of-00002.safetensors").unlink()
    message = "lacks 1 of the 2 files that model.safetensors.index.json names: model-00002-of-00002.safetensors"
    assert message in only_fault(folder)
    with pytest.raises(ModelError, match="lacks model-00002-of-00002"):
        weight_bytes(str(folder))


def test_shards_of_another_model_than_the_index_are_refused(folder: Path) -> None:
    shard(folder)
    first, second = sorted(folder.glob("model-*"))
    shutil.copy(first, second)
    assert "tensors that model.safetensors.index.json says are in it, such as" in only_fault(folder)


def test_files_that_transformers_does_not_read_do_not_count_as_weights(folder: Path) -> None:
    size = weight_bytes(str(folder))
    shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")
    assert weight_bytes(str(folder)) == size
    (folder / "model.safetensors").unlink()
    fault = "has no model.safetensors and no model.safetensors.index.json, but consolidated.safetensors"
    assert fault in only_fault(folder)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tf_model.h5", "only TensorFlow weights"),
        ("flax_model.msgpack", "only Flax weights"),
        ("onnx/model.onnx", "only ONNX graphs"),
        ("model.gguf", "only GGUF files"),
        ("pytorch_model.bin", "only .bin weights, which are pickles"),
    ],
)
def test_weights_of_another_kind_are_named(name: str, said: str, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"\0" * 100)
    message = only_fault(folder)
    assert said in message
    assert "save_pretrained" in message
