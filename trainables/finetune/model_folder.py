"""Exports a trained state as a folder for `from_pretrained`: config with class names, weights, tokenizer."""

from __future__ import annotations

from pathlib import Path

from trainables.checkpoints import tensors
from trainables.data.encoding import prepare_task
from trainables.finetune.arguments import as_int
from trainables.models.encoders import load_model, load_tokenizer
from trainables.spec import FineTuneSpec, Params


def export_model(state: Path, params: Params, spec: FineTuneSpec, folder: Path) -> tuple[str, ...]:
    """Writes the model whose weights `FineTuning.save` put into `state` into the existing `folder`.

    Args:
        state: the folder of the state.
        params: the complete values in force at the end of the training.
        spec: of the training.
        folder: to write into.

    Returns:
        The class names by id; empty for a regression.

    Raises:
        FileNotFoundError: `state` holds no weights.
        ModelError: the base model cannot be loaded.
    """
    data = prepare_task(spec, as_int(params.get("data.max_length")))
    tokenizer = load_tokenizer(spec)  # not that of `data`: using a tokenizer changes what it saves
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
