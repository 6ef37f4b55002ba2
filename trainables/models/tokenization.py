"""Loads a model's tokenizer and fits it to the model: one padding token for both, no more tokens than positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainables.models.families import (
    PADDED_IN_FRONT,
    POSITIONS_AFTER_PADDING,
    READS_END_OF_TEXT,
    TAKES_NO_MASK,
    position_limit,
)
from trainables.models.files import ModelError, resolve_model
from trainables.models.loading import as_model_error, from_pretrained_options, load_config, text_configs
from trainables.models.tokenizer_files import vocabulary_error
from trainables.spec import FineTuneSpec

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

SAMPLE = ("a", "b")


def load_tokenizer(spec: FineTuneSpec) -> PreTrainedTokenizerBase:
    """Loads the model's tokenizer, as trials use it and as it is saved beside a trained model.

    Its `model_max_length` is at most the number of positions of the model. It pads with a token that the model has an
    embedding for: its own padding token, else that of the model's configuration, else its end-of-text token. It pads on
    the side on which padding does not move the positions of a text. `trainables.models.encoders.load_model` takes the
    padding token over.

    Raises:
        ModelError: there is none, it cannot be loaded, or it does not fit the model.
    """
    from transformers import AutoTokenizer

    config = load_config(spec)
    side = "left" if config.model_type in PADDED_IN_FRONT else "right"
    options: dict[str, Any] = {**from_pretrained_options(spec), "padding_side": side}
    if config.model_type in READS_END_OF_TEXT:
        options["split_special_tokens"] = True
    with as_model_error(spec, "its tokenizer "):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(resolve_model(spec.model), **options)
    if config.model_type in READS_END_OF_TEXT:
        _ignore_ends_within_texts(tokenizer)
    _require_fit(spec, tokenizer, config)
    _choose_padding(spec, tokenizer, config)
    _set_inputs(tokenizer, config)
    if (limit := position_limit(config.to_dict() | {"model_type": config.model_type})) is not None:
        tokenizer.model_max_length = min(tokenizer.model_max_length, limit)
    return tokenizer


def _ignore_ends_within_texts(tokenizer: PreTrainedTokenizerBase) -> None:
    """Makes the tokenizer read a literal end-of-text token within a text as a blank."""
    from tokenizers.normalizers import Replace, Sequence

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None and tokenizer.eos_token is not None:
        own = [] if backend.normalizer is None else [backend.normalizer]
        backend.normalizer = Sequence([Replace(tokenizer.eos_token, " "), *own])


def _rows(config: PreTrainedConfig) -> int | None:
    """The number of rows of the token embedding; None if the configuration does not state it."""
    rows = getattr(config.get_text_config(), "vocab_size", None)
    return rows if isinstance(rows, int) else None


def _require_fit(spec: FineTuneSpec, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> None:
    """Requires that the tokenizer's tokens have embeddings, and that its texts end as the model expects.

    Raises:
        ModelError: otherwise.
    """
    rows = _rows(config)
    if rows is None:
        return
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    special |= set(tokenizer.all_special_tokens)
    ids = tokenizer.get_vocab()
    if wrong := vocabulary_error(spec.model, ids, ids.keys() - special, rows):
        raise wrong
    tokens = tokenizer(SAMPLE[0])["input_ids"]
    step = "save the model and the tokenizer that belong together in one folder"
    if beyond := [token for token in (*tokens, *tokenizer(*SAMPLE)["input_ids"]) if token >= rows]:
        rule = f"its tokenizer puts token {beyond[0]} into every text, and the model's embedding has {rows} rows"
        raise ModelError("model", spec.model, rule, step)
    end = getattr(config, "eos_token_id", None)
    if config.model_type in READS_END_OF_TEXT and tokens.count(end) != 1:
        rule = (
            f"{config.model_type} reads a text at its end-of-text token {end}, which its tokenizer does not write once"
        )
        raise ModelError("model", spec.model, rule, step)


def _choose_padding(spec: FineTuneSpec, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> None:
    """Sets the token that tokenizer and model pad with.

    Raises:
        ModelError: there is no suitable token.
    """
    special = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
    special |= set(tokenizer.all_special_ids)
    rows = _rows(config)

    def usable(token_id: object) -> bool:
        return isinstance(token_id, int) and token_id in special and (rows is None or 0 <= token_id < rows)

    text = config.get_text_config()
    stated = next(
        (part.pad_token_id for part in (text, config) if getattr(part, "pad_token_id", None) is not None), None
    )
    own = [] if tokenizer.pad_token is None else [tokenizer.pad_token_id]
    if text.model_type in POSITIONS_AFTER_PADDING and stated is not None:
        if not usable(stated):
            rule = f"it pads with token {stated}, from which its positions are counted; its tokenizer has no such token"
            raise ModelError("model", spec.model, rule, "put the tokenizer there that the model was trained with")
        own = []
    chosen = next((token for token in (*own, stated, tokenizer.eos_token_id) if usable(token)), None)
    if chosen is None:
        step = "add one to the tokenizer and save both, or name another model"
        rule = "its tokenizer has neither a padding nor an end-of-text token"
        raise ModelError("model", spec.model, f"{rule} that the model has an embedding for", step)
    if tokenizer.pad_token is None or tokenizer.pad_token_id != chosen:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(chosen)


def _set_inputs(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> None:
    """Makes batches contain an attention mask if the model takes one, and token types if it has several."""
    names = [name for name in tokenizer.model_input_names if name != "attention_mask"]
    if getattr(config, "type_vocab_size", None) in (0, 1):
        names = [name for name in names if name != "token_type_ids"]
    tokenizer.model_input_names = names if config.model_type in TAKES_NO_MASK else [*names, "attention_mask"]
    tokenizer.init_kwargs["model_input_names"] = tokenizer.model_input_names  # saved with the tokenizer


def set_padding(config: PreTrainedConfig, pad_token_id: int) -> None:
    """Sets the padding token in the configuration, and in those nested in it."""
    for part in text_configs(config):
        part.pad_token_id = pad_token_id
