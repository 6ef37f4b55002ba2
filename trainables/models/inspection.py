"""Checks from its files whether a model's folder can be trained: without torch, transformers and the network.

Each error names the folder or file, what is wrong, and the next step. What only loading shows (weights of another
shape, custom code that fails) is reported by `trainables.models.loading`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trainables.models.families import NOT_FOR_PLAIN_TEXT, model_types, text_classifiers
from trainables.models.tokenizer_files import tokenizer_errors
from trainables.models.weight_files import ModelError, read_model_json, weight_errors
from trainables.spec import FineTuneSpec

CLASSIFIER, CONFIG = "AutoModelForSequenceClassification", "AutoConfig"
RESAVE = "save the model again with save_pretrained, or write its model_type, such as bert, into config.json"


def folder_errors(spec: FineTuneSpec, folder: Path) -> Iterator[ModelError]:
    """Yields what is wrong with `folder`, which `spec.model` names; consequences of another error are left out."""
    if other := _of_another_kind(spec.model, folder):
        yield other
        return
    if not (folder / "config.json").is_file():
        yield ModelError(
            "model", spec.model, f"{folder} has no config.json", "save the model there with save_pretrained"
        )
        yield from weight_errors(spec.model, folder)
        return
    try:
        config = read_model_json(folder / "config.json")
    except ModelError as error:
        yield error
        config = {}
    else:
        if wrong := config_error(spec, config):
            yield wrong
    yield from weight_errors(spec.model, folder)
    yield from tokenizer_errors(spec, folder, config)


def config_error(spec: FineTuneSpec, config: Mapping[str, Any]) -> ModelError | None:
    """The reason why a model with this config.json cannot be used as a text classifier; None if it can."""
    kind, code = config.get("model_type"), config.get("auto_map") or {}
    if "quantization_config" in config:
        rule = f"its weights are quantised ({_method(config['quantization_config'])}), which cannot be trained"
        return ModelError("model", spec.model, rule, "name the model in full precision that it was made from")
    if isinstance(kind, str) and kind in NOT_FOR_PLAIN_TEXT:
        return ModelError("model", spec.model, f"{kind} {NOT_FOR_PLAIN_TEXT[kind]}", "name another model")
    if kind is not None and not isinstance(kind, str):
        return ModelError("model", spec.model, f"its config.json has the model_type {kind!r:.60}", RESAVE)
    if kind == "xmod" and not config.get("default_language"):
        rule = "xmod needs to know the language of the texts"
        step = "set default_language, such as en_XX, in its config.json"
        return ModelError("model", spec.model, rule, step)
    if kind in text_classifiers():
        return None
    if isinstance(code, Mapping) and CLASSIFIER in code:
        if spec.trust_remote_code:
            return None
        rule = f"it is computed by Python code of its own ({code[CLASSIFIER]}), which is not run unasked"
        step = "read that code, and set trust_remote_code: true if you trust it"
        return ModelError("model", spec.model, rule, step)
    if not kind:
        rule = "its config.json has no model_type, so its type is unknown"
        return ModelError("model", spec.model, rule, RESAVE)
    if kind not in model_types() and not (isinstance(code, Mapping) and CONFIG in code):
        rule = f"transformers {version('transformers')} does not know the model_type {kind!r}"
        return ModelError("model", spec.model, rule, "check model_type in its config.json, or name another model")
    rule = f"transformers has no sequence classifier for models of type {kind!r}"
    return ModelError("model", spec.model, rule, "name a text model that has one, such as a BERT, Qwen3 or Gemma 3")


def _of_another_kind(name: str, folder: Path) -> ModelError | None:
    """The error for a folder that is not a model: an adapter, the folder of a run, a GGUF file; None if it may be."""
    if (folder / "adapter_config.json").is_file():
        try:
            base = read_model_json(folder / "adapter_config.json").get("base_model_name_or_path") or "an unnamed model"
        except ModelError as error:
            return error
        rule = f"{folder} holds an adapter (PEFT) for {base}, not a model"
        step = "merge it into its base (merge_and_unload, then save_pretrained) and name that folder, or name the base"
        return ModelError("model", name, rule, step)
    if (folder / "config.json").is_file():
        return None
    inside = [path for path in folder.iterdir() if path.is_dir() and (path / "config.json").is_file()]
    if runs := sorted((path for path in inside if path.name.startswith("checkpoint-")), key=_step):
        rule = f"{folder} has no config.json; it is the folder of a Trainer's run"
        step = f"name one of its checkpoints: {', '.join(str(path) for path in runs[-3:])}"
        return ModelError("model", name, rule, step)
    if inside:
        rule = f"{folder} has no config.json, but folders in it have"
        return ModelError("model", name, rule, f"name one of them, such as {min(inside)}")
    if any(folder.glob("*.gguf")):
        rule = f"{folder} holds a GGUF file, which is made for computing alone and cannot be trained"
        return ModelError("model", name, rule, "name the model in safetensors that it was made from")
    return None


def _step(checkpoint: Path) -> int:
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1


def _method(quantization: object) -> str:
    method = quantization.get("quant_method") if isinstance(quantization, Mapping) else None
    return str(method or "by an unnamed method")
