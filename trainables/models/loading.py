"""Shared by everything that loads from transformers: options, configuration, and errors in the user's terms."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trainables.errors import InputError
from trainables.models.files import ModelError, resolve_model
from trainables.models.inspection import config_error
from trainables.spec import FineTuneSpec, Value

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def from_pretrained_options(spec: FineTuneSpec) -> dict[str, Any]:
    """The arguments that every `from_pretrained` gets: `trust_remote_code` and, if set, `revision`."""
    revision = {} if spec.revision is None else {"revision": spec.revision}
    return {"trust_remote_code": spec.trust_remote_code, **revision}


def load_config(spec: FineTuneSpec) -> PreTrainedConfig:
    """Loads the model's configuration.

    Raises:
        ModelError: there is none, it cannot be reached, or its model type cannot be used as a text classifier.
    """
    from transformers import AutoConfig

    with as_model_error(spec):
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            resolve_model(spec.model), **from_pretrained_options(spec)
        )
    if wrong := config_error(spec, config.to_dict() | {"model_type": config.model_type}):
        raise wrong
    return config


def text_configs(config: PreTrainedConfig) -> list[PreTrainedConfig]:
    """The configuration and, if it is composed of several, the nested ones that describe a text model."""
    nested = [getattr(config, name, None) for name in ("text_config", "encoder", "decoder")]
    within = [part for part in nested if hasattr(part, "to_dict") and hasattr(part, "vocab_size")]
    return [config, *(part for part in within if part is not config)]


def known_keys(config: PreTrainedConfig) -> set[str]:
    """The keys that a spec may set as `model.<key>`."""
    return {
        key
        for part in text_configs(config)
        for key in (*part.to_dict(), *part.attribute_map)
        if not key.startswith("_")
    }


def config_with(config: PreTrainedConfig, key: str) -> PreTrainedConfig:
    """The configuration that has `key` (one of `known_keys`); the outer one before those nested in it."""
    return next(part for part in text_configs(config) if key in part.to_dict() or key in part.attribute_map)


def config_value(config: PreTrainedConfig, key: str) -> Any:
    """The value of `model.<key>` in force."""
    return getattr(config_with(config, key), key)


@contextmanager
def as_model_error(spec: FineTuneSpec, part: str = "", values: Mapping[str, Value] | None = None) -> Iterator[None]:
    """Converts errors of transformers and the libraries below it into a ModelError.

    Args:
        spec: its `model` is named in the error.
        part: what is loaded, such as `its tokenizer `; empty for the model itself.
        values: what the trial sets by key of the model's configuration; an error names them, if no file is at fault.

    Raises:
        ModelError: the block raised an error other than InputError and MemoryError.
    """
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if values and not isinstance(error, OSError):
            raise values_error(spec, f"cannot be loaded: {reason}", values, "name another model") from error
        yes = "check the name; without a network, name a local folder, or point HF_HOME to a cache that holds it"
        step = f"{yes} and set HF_HUB_OFFLINE=1" if isinstance(error, OSError) else "name another model"
        if isinstance(error, OSError) and "safetensors" in reason:
            step = "convert its .bin weights with save_pretrained where you trust them, and name that folder"
        raise ModelError("model", spec.model, f"{part}cannot be loaded: {reason}", step) from error


def values_error(spec: FineTuneSpec, rule: str, values: Mapping[str, Value], otherwise: str) -> ModelError:
    """Returns the error for a model that fails with the trial's `values`, by key of its configuration.

    It stands at the key if there is one alone.
    """
    if not values:
        return ModelError("model", spec.model, rule, otherwise)
    if len(values) == 1:
        [(key, value)] = values.items()
        return ModelError(
            f"model.{key}", value, f"with it, of {spec.model}: {rule}", "give another value, or remove it"
        )
    named = ", ".join(f"model.{key}={value!r}" for key, value in values.items())
    return ModelError("model", spec.model, f"with {named}: {rule}", f"give other values, or {otherwise}")


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silences transformers' progress bars, and its warning that the head's weights are new, as they should be."""
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
def no_hub_conversion() -> Iterator[None]:
    """Keeps transformers from taking weights of another revision.

    For a Hub model without safetensors it would use those of a bot's open pull request.
    """
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
