"""Faults of a model's folder are found in its files before it is loaded; sound folders are loaded."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.model_folders import POINTER, change, only_fault, spec_of
from tests.support.tiny_models import FAMILIES, write_model
from trainables.models.encoders import check_model, load_tokenizer
from trainables.models.files import ModelError, longest_input
from trainables.models.weight_files import LONGEST_JSON

pytestmark = pytest.mark.unit


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
    message = only_fault(folder)
    assert str(folder / name) in message
    assert rule in message
    assert "fetch it again" in message


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json"])
def test_a_file_of_a_gigabyte_is_not_read_to_its_end(name: str, folder: Path) -> None:
    (folder / name).touch()
    os.truncate(folder / name, 10**9)
    assert f"is longer than {LONGEST_JSON:,} bytes" in only_fault(folder)


def test_values_of_the_wrong_kind_are_reported_or_passed_over_never_an_error_of_ours(folder: Path) -> None:
    wrong: list[Any] = [None, [], {}, -1, float("inf"), "x", True, [1], 2**70]
    for name in ("config.json", "tokenizer_config.json", "tokenizer.json"):
        whole = (folder / name).read_text()
        keys = {*json.loads(whole), "auto_map", "text_config", "model_max_length", "max_position_embeddings"}
        for key in sorted(keys):
            for value in wrong:
                (folder / name).write_text(json.dumps({**json.loads(whole), key: value}))
                check_model(spec_of(folder))
                with contextlib.suppress(ModelError):
                    longest_input(str(folder))
        (folder / name).write_text(whole)
    assert check_model(spec_of(folder)) == []


def test_a_type_of_model_that_is_no_text_is_reported(folder: Path) -> None:
    change(folder / "config.json", model_type=["bert"])
    assert "has the model_type ['bert']" in only_fault(folder)


def test_all_that_is_wrong_is_reported_at_once(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    (folder / "model.safetensors").write_text(POINTER)
    (folder / "tokenizer.json").write_text("")
    named = [message.split("'")[1] for _, message in check_model(spec_of(folder))]
    assert named == [str(folder / name) for name in ("config.json", "model.safetensors", "tokenizer.json")]


def test_an_adapter_is_refused_with_its_base(folder: Path) -> None:
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "roberta-base", "r": 8}))
    message = only_fault(folder)
    assert "holds an adapter (PEFT) for roberta-base, not a model" in message
    assert "merge_and_unload" in message


def test_the_folder_of_a_run_is_refused_with_its_checkpoints(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for step in (9, 500, 1000):
        shutil.copytree(folder, run / f"checkpoint-{step}")
    message = only_fault(run)
    assert "it is the folder of a Trainer's run" in message
    names = [str(run / f"checkpoint-{step}") for step in (9, 500, 1000)]
    assert ", ".join(names) in message


def test_a_folder_around_a_model_is_refused_with_the_one_within(folder: Path) -> None:
    assert f"name one of them, such as {folder}" in only_fault(folder.parent)


def test_a_file_in_place_of_a_folder_is_refused(folder: Path) -> None:
    assert "is a file, not the folder of a model" in only_fault(folder / "model.safetensors")
    (folder.parent / "gguf").mkdir()
    (folder.parent / "gguf" / "model-Q4.gguf").touch()
    assert "holds a GGUF file" in only_fault(folder.parent / "gguf")


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
    assert rule in only_fault(folder)
    with pytest.raises(ModelError):
        load_tokenizer(spec_of(folder))


def test_code_of_its_own_that_is_trusted_is_not_judged(folder: Path) -> None:
    code = {"AutoConfig": "own.Config", "AutoModelForSequenceClassification": "own.Mine"}
    change(folder / "config.json", model_type="own", auto_map=code)
    assert check_model(spec_of(folder, trust_remote_code=True)) == []
    change(folder / "config.json", auto_map={"AutoConfig": "own.Config"})
    assert "no sequence classifier for models of type 'own'" in only_fault(folder, trust_remote_code=True)


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
    assert load_tokenizer(spec_of(tmp_path)).model_max_length == (limit or 10**30 * 1.0)
