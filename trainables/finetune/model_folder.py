"""A trained state as a folder that transformers loads by itself: config with the names of the classes, weights in
safetensors, tokenizer."""

from __future__ import annotations

from pathlib import Path

from trainables.checkpoints import tensors
from trainables.data.encoding import prepare_task
from trainables.finetune.arguments import as_int
from trainables.models.encoders import load_model, load_tokenizer
from trainables.spec import FineTuneSpec, Params


def export_model(state: Path, params: Params, spec: FineTuneSpec, folder: Path) -> tuple[str, ...]:
    """Write the weights that `FineTuning.save` has put into `state` into the existing `folder`.

    Args:
        params: complete, as they were in force at the end.

    Returns:
        The names of the classes by id; empty for a regression.

    Raises:
        FileNotFoundError: `state` holds none.
        ModelError: the base model cannot be reached.
    """
    data = prepare_task(spec, as_int(params.get("data.max_length")))
    tokenizer = load_tokenizer(spec)  # not the one of `data`: its use may have left marks in it
    model = load_model(
        spec,
        tokenizer,
        num_labels=data.facts.num_labels,
        label_names=data.facts.label_names,
        regression=data.regression,
        config_overrides={k.removeprefix("model."): v for k, v in params.items() if k.startswith("model.")},
    )
    tensors.restore_weights(state, model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return data.facts.label_names
