"""The tokenizer in a model's folder: its faults are found before it is loaded, and older layouts are read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.model_folders import change, only_fault, spec_of
from tests.support.tiny_models import FAMILIES, write_model
from trainables.models.encoders import check_model, load_tokenizer
from trainables.models.files import ModelError

pytestmark = pytest.mark.unit


def test_a_folder_without_a_tokenizer_is_refused_with_what_was_looked_for(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()
    message = only_fault(folder)
    assert f"{folder} has no tokenizer; looked for tokenizer.json, vocab.txt, vocab.json, spm.model" in message
    assert "tokenizer.save_pretrained" in message
    with pytest.raises(ModelError, match="knows 5 tokens, the model has embeddings for 64"):
        load_tokenizer(spec_of(folder))


@pytest.mark.parametrize("model_type", ["gpt2", "roberta", "t5", "deberta-v2", "modernbert", "llama"])
def test_no_tokenizer_is_made_up_for_any_family(model_type: str, tmp_path: Path) -> None:
    """Makes the check pass, as for a Hub model without files, where only loading finds the fault."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    assert any("has no tokenizer" in message for _, message in check_model(spec_of(tmp_path)))
    with pytest.raises(ModelError, match="model"):
        load_tokenizer(spec_of(tmp_path))


def test_half_of_a_tokenizer_is_refused_with_the_other_half(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder / "vocab.json")
    assert f"{folder} has vocab.json, but not the merges.txt that belongs to it" in only_fault(folder)
    (folder / "vocab.json").rename(folder / "merges.txt")
    assert "no tokenizer" in only_fault(folder)


def test_a_vocabulary_of_another_model_is_refused(folder: Path) -> None:
    change(folder / "config.json", vocab_size=4000)
    assert "its tokenizer knows 64 tokens, the model has embeddings for 4000 (vocab_size)" in only_fault(folder)
    change(folder / "config.json", vocab_size=60)
    message = "4 of its tokenizer's tokens, such as 'word27' with id 60, have no row in the model's embedding of 60"
    assert message in only_fault(folder)
    with pytest.raises(ModelError, match="have no row in the model's embedding of 60"):
        load_tokenizer(spec_of(folder))


def test_a_padding_token_that_was_added_beyond_the_embedding_is_not_used(tmp_path: Path) -> None:
    llama = next(family for family in FAMILIES if family.model_type == "llama")
    folder = write_model(llama, tmp_path)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(folder)
    assert tokenizer.pad_token_id == 64  # of 64 rows
    assert check_model(spec_of(folder)) == []
    assert load_tokenizer(spec_of(folder)).pad_token_id == 2


def test_a_tokenizer_of_own_code_is_not_run_unasked(folder: Path) -> None:
    change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Mine", None]})
    assert "its tokenizer is Python code of its own" in only_fault(folder)
    assert check_model(spec_of(folder, trust_remote_code=True)) == []


def test_a_class_of_tokenizer_that_does_not_exist_is_named_unless_its_file_says_all(folder: Path) -> None:
    change(folder / "tokenizer_config.json", tokenizer_class="NoSuchTokenizer")
    assert check_model(spec_of(folder)) == []
    assert len(load_tokenizer(spec_of(folder))) == 64
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{n}" for n in range(60))]))
    assert "tokenizer_config.json names the class NoSuchTokenizer, which transformers" in only_fault(folder)
    for name in ("BertTokenizer", "BertTokenizerFast", "ElectraTokenizer", "PreTrainedTokenizerFast"):
        change(folder / "tokenizer_config.json", tokenizer_class=name)
        assert check_model(spec_of(folder)) == []


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
    assert [message for _, message in check_model(spec_of(tmp_path)) if "weights" not in message] == []
    tokenizer = load_tokenizer(spec_of(tmp_path))
    ids = tokenizer(["the wave and the boat", "moss"], padding=True)["input_ids"]
    assert {len(row) for row in ids} == {max(map(len, ids))}
    assert len(set(ids[0]) - set(tokenizer.all_special_ids)) > 4


def test_a_tokenizer_of_a_list_of_words_alone_is_read(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    words = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    assert check_model(spec_of(folder)) == []
    assert load_tokenizer(spec_of(folder))("salt tree")["input_ids"] == [2, words.index("salt"), words.index("tree"), 3]


@pytest.mark.parametrize(("model_type", "length"), [("roberta", 5), ("gpt2", 3)])
def test_a_tokenizer_of_vocabulary_and_merges_alone_is_read(model_type: str, length: int, tmp_path: Path) -> None:
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<|endoftext|>"]
    names = [*special, "t", "h", "e", "th", "the", "Ġ", "Ġthe"]
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type, "vocab_size": 13}))
    (tmp_path / "vocab.json").write_text(json.dumps({name: number for number, name in enumerate(names)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\nt h\nth e\nĠ the\n")
    assert [message for _, message in check_model(spec_of(tmp_path)) if "weights" not in message] == []
    assert len(load_tokenizer(spec_of(tmp_path))("the the the")["input_ids"]) == length


@pytest.mark.parametrize(
    "content",
    ['{"model": []}', '{"model": {"vocab": {"a": "x"}}}', '{"model": {"vocab": {"a": 1}}, "added_tokens": [1]}'],
)
def test_a_file_of_json_that_is_no_tokenizer_is_named(content: str, folder: Path) -> None:
    (folder / "tokenizer.json").write_text(content)
    assert "tokenizer.json" in only_fault(folder)


def test_a_tokenizer_is_checked_again_as_soon_as_its_file_is_another_one(folder: Path) -> None:
    file = folder / "tokenizer.json"
    sound, kept = file.read_text(), file.stat()
    content = json.loads(sound)
    vocabulary = content["model"]["vocab"]
    last = max(vocabulary, key=vocabulary.get)
    wrong = sound.replace(f'"{last}": {vocabulary[last]}', f'"{last}": {"9" * len(str(vocabulary[last]))}')
    for _ in range(2):
        assert check_model(spec_of(folder)) == []
        file.write_text(wrong)
        os.utime(file, ns=(kept.st_atime_ns, kept.st_mtime_ns))  # of the same length, and as old
        assert file.stat().st_size == kept.st_size
        assert "have no row in the model's embedding" in only_fault(folder)
        file.write_text(sound)
