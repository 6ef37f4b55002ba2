"""Faults of a model's folder are found in its files before it is loaded; sound folders are loaded."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny_models import FAMILIES, write_model
from trainables.models.encoders import check_model, load_tokenizer
from trainables.models.files import ModelError, longest_input, weight_bytes
from trainables.models.weight_files import LONGEST_JSON
from trainables.spec import FineTuneSpec

pytestmark = pytest.mark.unit

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 133466304\n"


def spec(model: Path, **changes: Any) -> FineTuneSpec:
    return FineTuneSpec(task="reviews", epochs=1, model=str(model), **changes)


def told(model: Path, **changes: Any) -> str:
    """The one thing that is wrong with the folder."""
    [(path, message)] = check_model(spec(model, **changes))
    assert path == "model"
    return message


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(FAMILIES[0], tmp_path_factory.mktemp("bert"))


@pytest.fixture
def folder(bert: Path, tmp_path: Path) -> Path:
    """A whole model, to be damaged."""
    return shutil.copytree(bert, tmp_path / "mine")


def change(path: Path, **values: Any) -> None:
    """Set keys of a JSON file; None takes one away."""
    content = json.loads(path.read_text()) | values
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


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


# The tokenizer


def test_a_folder_without_a_tokenizer_is_refused_with_what_was_looked_for(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()
    message = told(folder)
    assert f"{folder} has no tokenizer; looked for tokenizer.json, vocab.txt, vocab.json, spm.model" in message
    assert "tokenizer.save_pretrained" in message
    with pytest.raises(ModelError, match="knows 5 tokens, the model has embeddings for 64"):
        load_tokenizer(spec(folder))


@pytest.mark.parametrize("model_type", ["gpt2", "roberta", "t5", "deberta-v2", "modernbert", "llama"])
def test_no_tokenizer_is_made_up_for_any_family(model_type: str, tmp_path: Path) -> None:
    """Makes the check pass, as for a Hub model without files, where only loading finds the fault."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    assert any("has no tokenizer" in message for _, message in check_model(spec(tmp_path)))
    with pytest.raises(ModelError, match="model"):
        load_tokenizer(spec(tmp_path))


def test_half_of_a_tokenizer_is_refused_with_the_other_half(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder / "vocab.json")
    assert f"{folder} has vocab.json, but not the merges.txt that belongs to it" in told(folder)
    (folder / "vocab.json").rename(folder / "merges.txt")
    assert "no tokenizer" in told(folder)


def test_a_vocabulary_of_another_model_is_refused(folder: Path) -> None:
    change(folder / "config.json", vocab_size=4000)
    assert "its tokenizer knows 64 tokens, the model has embeddings for 4000 (vocab_size)" in told(folder)
    change(folder / "config.json", vocab_size=60)
    message = "4 of its tokenizer's tokens, such as 'word27' with id 60, have no row in the model's embedding of 60"
    assert message in told(folder)
    with pytest.raises(ModelError, match="have no row in the model's embedding of 60"):
        load_tokenizer(spec(folder))


def test_a_padding_token_that_was_added_beyond_the_embedding_is_not_used(tmp_path: Path) -> None:
    llama = next(family for family in FAMILIES if family.model_type == "llama")
    folder = write_model(llama, tmp_path)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(folder)
    assert tokenizer.pad_token_id == 64  # of 64 rows
    assert check_model(spec(folder)) == []
    assert load_tokenizer(spec(folder)).pad_token_id == 2


def test_a_tokenizer_of_own_code_is_not_run_unasked(folder: Path) -> None:
    change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Mine", None]})
    assert "its tokenizer is Python code of its own" in told(folder)
    assert check_model(spec(folder, trust_remote_code=True)) == []


def test_a_class_of_tokenizer_that_does_not_exist_is_named_unless_its_file_says_all(folder: Path) -> None:
    change(folder / "tokenizer_config.json", tokenizer_class="NoSuchTokenizer")
    assert check_model(spec(folder)) == []
    assert len(load_tokenizer(spec(folder))) == 64
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{n}" for n in range(60))]))
    assert "tokenizer_config.json names the class NoSuchTokenizer, which transformers" in told(folder)
    for name in ("BertTokenizer", "BertTokenizerFast", "ElectraTokenizer", "PreTrainedTokenizerFast"):
        change(folder / "tokenizer_config.json", tokenizer_class=name)
        assert check_model(spec(folder)) == []


# Layouts of older tokenizers


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """Trains a model of sentencepiece on a few words."""
    import sentencepiece

    def train(**special: Any) -> bytes:
        place = tmp_path_factory.mktemp("pieces")
        (place / "texts.txt").write_text(
            "the old wave and salt boat\na tree in the moss\nstreet and tram and shop\n" * 9
        )
        sentencepiece.SentencePieceTrainer.train(
            input=str(place / "texts.txt"),
            model_prefix=str(place / "m"),
            vocab_size=60,
            hard_vocab_limit=False,
            minloglevel=3,
            **special,
        )
        return (place / "m.model").read_bytes()

    return train


BRACKETS = {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3, "pad_piece": "[PAD]", "unk_piece": "[UNK]"}
DEBERTA = {**BRACKETS, "bos_piece": "[CLS]", "eos_piece": "[SEP]"}
ALBERT = {**DEBERTA, "unk_id": 1, "bos_id": 2, "eos_id": 3, "pad_piece": "<pad>", "unk_piece": "<unk>"}
T5 = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
SPIECE = {"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1}


@pytest.mark.parametrize(
    ("model_type", "name", "special", "rows"),
    [
        ("deberta-v2", "spm.model", DEBERTA, 50),
        ("albert", "spiece.model", ALBERT, 50),
        ("t5", "spiece.model", T5, 140),
        ("xlnet", "spiece.model", {**SPIECE, "user_defined_symbols": "<cls>,<sep>,<pad>,<mask>"}, 50),
        ("xlm-roberta", "sentencepiece.bpe.model", SPIECE, 50),
        ("camembert", "sentencepiece.bpe.model", SPIECE, 50),
        ("llama", "tokenizer.model", SPIECE, 50),
    ],
)
def test_a_tokenizer_of_sentencepiece_alone_is_read(
    model_type: str, name: str, special: dict[str, Any], rows: int, pieces: Callable[..., bytes], tmp_path: Path
) -> None:
    config: dict[str, Any] = {"model_type": model_type, "vocab_size": rows, "pad_token_id": 1}
    config |= {} if "roberta" in model_type or model_type == "camembert" else {"pad_token_id": 0}
    config |= {"eos_token_id": 1} if model_type == "t5" else {}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / name).write_bytes(pieces(**special))
    assert [message for _, message in check_model(spec(tmp_path)) if "weights" not in message] == []
    tokenizer = load_tokenizer(spec(tmp_path))
    ids = tokenizer(["the wave and the boat", "moss"], padding=True)["input_ids"]
    assert {len(row) for row in ids} == {max(map(len, ids))}
    assert len(set(ids[0]) - set(tokenizer.all_special_ids)) > 4


def test_a_tokenizer_of_a_list_of_words_alone_is_read(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    words = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    assert check_model(spec(folder)) == []
    assert load_tokenizer(spec(folder))("salt tree")["input_ids"] == [2, words.index("salt"), words.index("tree"), 3]


@pytest.mark.parametrize(("model_type", "length"), [("roberta", 5), ("gpt2", 3)])
def test_a_tokenizer_of_vocabulary_and_merges_alone_is_read(model_type: str, length: int, tmp_path: Path) -> None:
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<|endoftext|>"]
    names = [*special, "t", "h", "e", "th", "the", "Ġ", "Ġthe"]
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type, "vocab_size": 13}))
    (tmp_path / "vocab.json").write_text(json.dumps({name: number for number, name in enumerate(names)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\nt h\nth e\nĠ the\n")
    assert [message for _, message in check_model(spec(tmp_path)) if "weights" not in message] == []
    assert len(load_tokenizer(spec(tmp_path))("the the the")["input_ids"]) == length


# Weights and configuration


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ('{"model_type": "be', "is empty or cut off, or no JSON"),
        ("", "is empty"),
        (POINTER, "it is a pointer of Git LFS, not the file itself"),
        ("[]", "holds a list, not an object"),
        ('{"a":' * 20_000 + "1" + "}" * 20_000, "nests deeper than any such file"),
    ],
)
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json"])
def test_a_file_that_cannot_be_read_is_named(name: str, content: str, rule: str, folder: Path) -> None:
    (folder / name).write_text(content)
    message = told(folder)
    assert str(folder / name) in message
    assert rule in message
    assert "fetch it again" in message


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json"])
def test_a_file_of_a_gigabyte_is_not_read_to_its_end(name: str, folder: Path) -> None:
    (folder / name).touch()
    os.truncate(folder / name, 10**9)
    assert f"is longer than {LONGEST_JSON:,} bytes" in told(folder)


@pytest.mark.parametrize(
    "content",
    ['{"model": []}', '{"model": {"vocab": {"a": "x"}}}', '{"model": {"vocab": {"a": 1}}, "added_tokens": [1]}'],
)
def test_a_file_of_json_that_is_no_tokenizer_is_named(content: str, folder: Path) -> None:
    (folder / "tokenizer.json").write_text(content)
    assert "tokenizer.json" in told(folder)


def test_a_tokenizer_is_checked_again_as_soon_as_its_file_is_another_one(folder: Path) -> None:
    file = folder / "tokenizer.json"
    sound, kept = file.read_text(), file.stat()
    content = json.loads(sound)
    vocabulary = content["model"]["vocab"]
    last = max(vocabulary, key=vocabulary.get)
    wrong = sound.replace(f'"{last}": {vocabulary[last]}', f'"{last}": {"9" * len(str(vocabulary[last]))}')
    for _ in range(2):
        assert check_model(spec(folder)) == []
        file.write_text(wrong)
        os.utime(file, ns=(kept.st_atime_ns, kept.st_mtime_ns))  # of the same length, and as old
        assert file.stat().st_size == kept.st_size
        assert "have no row in the model's embedding" in told(folder)
        file.write_text(sound)


def test_values_of_the_wrong_kind_are_told_or_passed_over_never_an_error_of_ours(folder: Path) -> None:
    wrong: list[Any] = [None, [], {}, -1, float("inf"), "x", True, [1], 2**70]
    for name in ("config.json", "tokenizer_config.json", "tokenizer.json"):
        whole = (folder / name).read_text()
        keys = {*json.loads(whole), "auto_map", "text_config", "model_max_length", "max_position_embeddings"}
        for key in sorted(keys):
            for value in wrong:
                (folder / name).write_text(json.dumps({**json.loads(whole), key: value}))
                check_model(spec(folder))
                with contextlib.suppress(ModelError):
                    longest_input(str(folder))
        (folder / name).write_text(whole)
    assert check_model(spec(folder)) == []


def test_a_type_of_model_that_is_no_text_is_told(folder: Path) -> None:
    change(folder / "config.json", model_type=["bert"])
    assert "has the model_type ['bert']" in told(folder)


def test_all_that_is_wrong_is_told_at_once(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    (folder / "model.safetensors").write_text(POINTER)
    (folder / "tokenizer.json").write_text("")
    named = [message.split("'")[1] for _, message in check_model(spec(folder))]
    assert named == [str(folder / name) for name in ("config.json", "model.safetensors", "tokenizer.json")]


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
        assert rule in told(folder)


def test_weights_in_shards_are_read_and_a_missing_one_is_named(folder: Path) -> None:
    size = weight_bytes(str(folder))
    shard(folder)
    assert check_model(spec(folder)) == []
    assert weight_bytes(str(folder)) == size
    (folder / "model-00002-of-00002.safetensors").unlink()
    message = "lacks 1 of the 2 files that model.safetensors.index.json names: model-00002-of-00002.safetensors"
    assert message in told(folder)
    with pytest.raises(ModelError, match="lacks model-00002-of-00002"):
        weight_bytes(str(folder))


def test_shards_of_another_model_than_the_index_are_refused(folder: Path) -> None:
    shard(folder)
    first, second = sorted(folder.glob("model-*"))
    shutil.copy(first, second)
    assert "tensors that model.safetensors.index.json says are in it, such as" in told(folder)


def test_files_that_transformers_does_not_read_do_not_count_as_weights(folder: Path) -> None:
    size = weight_bytes(str(folder))
    shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")
    assert weight_bytes(str(folder)) == size
    (folder / "model.safetensors").unlink()
    assert "has no model.safetensors and no model.safetensors.index.json, but consolidated.safetensors" in told(folder)


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
    message = told(folder)
    assert said in message
    assert "save_pretrained" in message


# Folders that are no models


def test_an_adapter_is_refused_with_its_base(folder: Path) -> None:
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "roberta-base", "r": 8}))
    message = told(folder)
    assert "holds an adapter (PEFT) for roberta-base, not a model" in message
    assert "merge_and_unload" in message


def test_the_folder_of_a_run_is_refused_with_its_checkpoints(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for step in (9, 500, 1000):
        shutil.copytree(folder, run / f"checkpoint-{step}")
    message = told(run)
    assert "it is the folder of a Trainer's run" in message
    names = [str(run / f"checkpoint-{step}") for step in (9, 500, 1000)]
    assert ", ".join(names) in message


def test_a_folder_around_a_model_is_refused_with_the_one_within(folder: Path) -> None:
    assert f"name one of them, such as {folder}" in told(folder.parent)


def test_a_file_in_place_of_a_folder_is_refused(folder: Path) -> None:
    assert "is a file, not the folder of a model" in told(folder / "model.safetensors")
    (folder.parent / "gguf").mkdir()
    (folder.parent / "gguf" / "model-Q4.gguf").touch()
    assert "holds a GGUF file" in told(folder.parent / "gguf")


# Models that can be no text classifiers


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"model_type": "vit"}, "no sequence classifier for models of type 'vit'"),
        ({"model_type": "whisper"}, "no sequence classifier for models of type 'whisper'"),
        ({"model_type": "brand_new"}, "does not know the model_type 'brand_new'"),
        ({"model_type": None}, "no model_type, so its type is unknown"),
        ({"model_type": "tapas"}, "tapas reads tables, not texts"),
        ({"model_type": "reformer"}, "texts of one length alone"),
        ({"model_type": "xmod"}, "needs to know the language"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "its weights are quantised (bitsandbytes)"),
        (
            {"model_type": "own", "auto_map": {"AutoModelForSequenceClassification": "own.Mine"}},
            "Python code of its own (own.Mine), which is not run unasked; read that code, and set trust_remote_code",
        ),
    ],
)
def test_what_can_be_no_text_classifier_is_refused_by_name(changes: dict[str, Any], rule: str, folder: Path) -> None:
    change(folder / "config.json", **changes)
    assert rule in told(folder)
    with pytest.raises(ModelError):
        load_tokenizer(spec(folder))


def test_code_of_its_own_that_is_trusted_is_not_judged(folder: Path) -> None:
    code = {"AutoConfig": "own.Config", "AutoModelForSequenceClassification": "own.Mine"}
    change(folder / "config.json", model_type="own", auto_map=code)
    assert check_model(spec(folder, trust_remote_code=True)) == []
    change(folder / "config.json", auto_map={"AutoConfig": "own.Config"})
    assert "no sequence classifier for models of type 'own'" in told(folder, trust_remote_code=True)


# Positions


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 66}, 64),
        ({"model_type": "longformer", "max_position_embeddings": 4098, "pad_token_id": 1}, 4096),
        ({"model_type": "bert", "max_position_embeddings": 512, "pad_token_id": 0}, 512),
        ({"model_type": "gpt2", "n_positions": 1024}, 1024),
        ({"model_type": "mpt", "max_seq_len": 2048}, 2048),
        ({"model_type": "gemma3", "text_config": {"max_position_embeddings": 32768}}, 32768),
        ({"model_type": "xlnet", "max_position_embeddings": -1}, None),
        ({"model_type": "t5", "n_positions": 512}, None),
        ({"model_type": "deberta-v2", "max_position_embeddings": 512}, 512),
        (
            {
                **{"model_type": "deberta-v2", "max_position_embeddings": 512},
                **{"relative_attention": True, "position_biased_input": False},
            },
            None,
        ),
    ],
)
def test_the_longest_text_follows_from_the_positions(config: dict[str, Any], limit: int | None, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert longest_input(str(tmp_path)) == limit
    for stated in (10**30, 1e30):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": stated}))
        assert longest_input(str(tmp_path)) == limit
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 48}))
    assert longest_input(str(tmp_path)) == 48


@pytest.mark.parametrize(
    "family", [f for f in FAMILIES if f.model_type in ("roberta", "bert", "gpt2", "xlnet")], ids=str
)
def test_the_tokenizer_keeps_to_the_limit_that_the_files_tell(family: Any, tmp_path: Path) -> None:
    write_model(family, tmp_path)
    limit = longest_input(str(tmp_path))
    assert limit == {"roberta": 62, "xlnet": None}.get(family.model_type, 64)
    assert load_tokenizer(spec(tmp_path)).model_max_length == (limit or 10**30 * 1.0)
