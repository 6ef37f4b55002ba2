"""Values of `model.<key>`: what a checkpoint cannot take is refused by its key, before a run and on loading."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.any_family import small_classifier
from trainables.models.config_keys import SIZES, activations, checkpoint_key, reserved
from trainables.models.encoders import ModelError, checkpoint_keys, load_model, load_tokenizer, resolve_model
from trainables.spec import FineTuneSpec
from trainables.tunables import find_tunable

pytestmark = pytest.mark.unit

SPEC = FineTuneSpec(task="reviews", epochs=1)


def load(**values: Any) -> Any:
    return load_model(SPEC, load_tokenizer(SPEC), 2, ("a", "b"), False, values)


def refusal(key: str, value: Any, config: dict[str, Any] | None = None, **options: Any) -> str | None:
    """The rule that `value` breaks, with minilm's configuration or another."""
    part = json.loads((Path(resolve_model("minilm")) / "config.json").read_text()) if config is None else config
    known = checkpoint_key(key, part, **options)
    return None if known is None else known.refusal(value)


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("num_hidden_layers", 12, "must be at most 6 (layers of the checkpoint)"),
        ("num_hidden_layers", 0, "must be at least 1 (layers of the checkpoint)"),
        ("num_hidden_layers", 3.7, "must be a whole number (layers of the checkpoint)"),
        ("num_hidden_layers", True, "must be a number (layers of the checkpoint)"),
        ("hidden_act", "swish2", "is no activation of transformers; did you mean swish?"),
        ("hidden_act", 3, "must be a text"),
        ("hidden_size", 128, "must be 384, the size of the checkpoint's weights"),
        ("vocab_size", 100, "must be 30522, the size of the checkpoint's weights"),
        ("num_attention_heads", 5, "must divide 384, the width of the model; its own is 12"),
        ("use_cache", 1, "must be true or false"),
        ("initializer_range", "wide", "must be a number (the model's own is 0.02)"),
    ],
)
def test_a_value_that_the_checkpoint_cannot_take_is_refused_and_on_loading_by_its_key(
    key: str, value: Any, rule: str
) -> None:
    assert refusal(key, value) == rule
    with pytest.raises(ModelError) as caught:
        load(**{key: value})
    assert (caught.value.name, caught.value.value, caught.value.rule) == (f"model.{key}", value, rule)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_hidden_layers", 3),
        ("num_hidden_layers", 3.0),
        ("hidden_act", "swish"),
        ("hidden_size", 384),
        ("num_attention_heads", 6),
        ("initializer_range", 0),
        ("use_cache", False),
        ("layer_norm_eps", 1e-5),
        ("position_embedding_type", "absolute"),
    ],
)
def test_a_value_that_it_can_take_is_in_force(key: str, value: Any) -> None:
    assert refusal(key, value) is None
    found = getattr(load(**{key: value}).config, key)
    assert found == value


def test_fewer_layers_are_the_checkpoints_first() -> None:
    assert len(load(num_hidden_layers=3.0).bert.encoder.layer) == 3


@pytest.mark.parametrize(
    "key",
    ["pad_token_id", "eos_token_id", "pad_index", "model_type", "architectures", "return_dict", "output_attentions"],
)
def test_keys_that_are_set_elsewhere_or_mean_nothing_are_reserved(key: str) -> None:
    assert reserved(key)
    with pytest.raises(ModelError, match=rf"model\.{key}: .*; remove it"):
        load(**{key: 5})


def test_positions_are_a_size_only_where_they_are_learned() -> None:
    config = {"max_position_embeddings": 512}
    assert refusal("max_position_embeddings", 256, config, learned_positions=True) is not None
    assert refusal("max_position_embeddings", 256, config) is None
    assert refusal("max_position_embeddings", 25.6, config) is not None
    [known] = checkpoint_keys(SPEC, ["max_position_embeddings"]).values()
    assert known.refusal(256) == "must be 512, the size of the checkpoint's weights"


def test_heads_are_a_size_where_the_configuration_gives_each_its_width() -> None:
    assert refusal("num_attention_heads", 4, {"num_attention_heads": 8, "hidden_size": 64, "head_dim": 16}) is not None
    assert refusal("num_attention_heads", 4, {"num_attention_heads": 8, "hidden_size": 64}) is None


def test_a_model_that_shares_its_layer_may_have_more_of_them() -> None:
    assert refusal("num_hidden_layers", 24, {"num_hidden_layers": 12, "num_hidden_groups": 1}) is None


def test_what_the_configuration_does_not_show_is_left_to_the_model() -> None:
    for own in (None, [128], {"type": "linear"}, "auto"):
        assert checkpoint_key("attention_window", {"attention_window": own}) is None
    assert refusal("rope_theta", 0.5, {"rope_theta": 10000}) is None  # a float that was written without its point


@pytest.mark.parametrize(
    ("key", "own", "value", "rule"),
    [
        ("token_dropout", True, False, None),  # ESM's
        ("token_dropout", True, 0.1, "must be true or false"),
        ("hidden_dropout", 0.1, True, "must be a number (probability)"),
        ("classifier_dropout", None, True, "must be a number (probability)"),
        ("classifier_dropout", None, 0.2, None),
        ("hidden_dropout", 0.1, 0, None),
    ],
)
def test_a_dropout_is_a_probability_or_a_switch_as_the_configuration_has_it(
    key: str, own: Any, value: Any, rule: str | None
) -> None:
    known = find_tunable(f"model.{key}")
    assert known is not None
    assert (known.in_flight, known.refusal(value)) == (True, None)
    assert refusal(key, value, {key: own}) == rule


def test_a_dropout_that_no_model_takes_is_refused_once_by_its_name() -> None:
    for name, value in (("token_dropout", 1.5), ("hidden_dropout_prob", True), ("resid_pdrop", False)):
        known = find_tunable(f"model.{name}")
        assert known is not None
        assert known.refusal(value) is not None
        assert refusal(name, value, {name: 0.1}) is None  # that of the name is enough


def test_activations_are_those_of_transformers() -> None:
    from transformers.activations import ACT2CLS

    assert activations() == set(ACT2CLS)


@pytest.mark.parametrize(
    "family", ["bert", "distilbert", "electra", "gpt2", "t5", "qwen3", "mixtral", "bart", "albert"]
)
def test_each_size_of_a_family_shapes_its_weights(family: str) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    model = small_classifier(family)
    shapes = {name: weight.shape for name, weight in model.named_parameters()}
    sizes = [key for key in model.config.to_dict() if key in SIZES and isinstance(getattr(model.config, key), int)]
    assert len(sizes) >= 2
    for key in sizes:
        config = copy.deepcopy(model.config)
        setattr(config, key, 2 * getattr(config, key))
        with torch.device("meta"):
            other = AutoModelForSequenceClassification.from_config(config)
        assert {name: weight.shape for name, weight in other.named_parameters()} != shapes, key


def test_an_error_of_loading_names_each_value_that_the_trial_sets(tmp_path: Path) -> None:
    """The configuration states more layers than the weights have, so its own value does not show the mistake."""
    source = Path(resolve_model("minilm"))
    for file in source.iterdir():
        if file.is_file() and file.name != "config.json":
            (tmp_path / file.name).symlink_to(file)
    config = json.loads((source / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 9}))
    spec = SPEC.model_copy(update={"model": str(tmp_path)})

    def error(**values: Any) -> ModelError:
        with pytest.raises(ModelError) as caught:
            load_model(spec, load_tokenizer(spec), 2, ("a", "b"), False, values)
        return caught.value

    assert error(hidden_dropout_prob=0.2).name == "model"
    one = error(num_hidden_layers=8, hidden_dropout_prob=0.2)
    assert (one.name, one.value) == ("model.num_hidden_layers", 8)
    assert "of its encoder's weights do not come from the checkpoint" in one.rule
    assert one.next_step == "give another value, or remove it"
    both = error(num_hidden_layers=7, hidden_act="relu")
    assert both.name == "model"
    assert both.rule.startswith("with model.num_hidden_layers=7, model.hidden_act='relu': ")
