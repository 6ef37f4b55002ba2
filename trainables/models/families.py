"""Peculiarities of model families that their configuration does not state, by `model_type`.

Read from transformers' sources. `tests/trainables/finetune/test_families.py` builds every family that classifies text,
and so tests each entry.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Positions are counted from the padding token's id + 1: a table of 514 with padding id 1 holds 512 tokens.
POSITIONS_AFTER_PADDING = frozenset(
    {
        *("roberta", "roberta-prelayernorm", "camembert", "xlm-roberta", "xlm-roberta-xl", "xmod", "data2vec-text"),
        *("ibert", "longformer", "luke", "lilt", "layoutlmv3", "markuplm", "mpnet", "esm"),
    }
)
# Relative positions without a table: any length can be computed.
UNLIMITED_POSITIONS = frozenset({"xlnet", "t5", "mt5", "umt5", "bloom", "falcon"})
# They read the last token of a row as its summary, so padding is on the left.
PADDED_IN_FRONT = frozenset({"xlnet"})
# Their layers mix positions beyond the attention mask, so the outputs of a row depend on its padding. All rows are
# padded to one length.
SEES_PADDING = frozenset(
    {
        "big_bird",
        "bigbird_pegasus",
        "canine",
        "convbert",
        "fnet",
        "funnel",
        "nystromformer",
        "t5gemma",
        "t5gemma2",
        "yoso",
    }
)
# Their forward takes no attention mask.
TAKES_NO_MASK = frozenset({"fnet"})
# They read the hidden state at the end-of-text token, and need the same number of these in all rows of a batch.
READS_END_OF_TEXT = frozenset({"bart", "bigbird_pegasus", "mbart", "mvp", "plbart", "t5", "mt5", "umt5"})
# Their tokenizers read bytes or characters, and have no vocabulary file.
WITHOUT_VOCABULARY = frozenset(
    {"canine", "perceiver", "byt5", "CanineTokenizer", "PerceiverTokenizer", "ByT5Tokenizer"}
)
# They have a sequence classifier, but not one for plain text of any length.
NOT_FOR_PLAIN_TEXT = {
    "tapas": "reads tables, not texts",
    "layoutlmv2": "reads scanned pages, not texts",
    "layoutlmv3": "reads scanned pages, not texts",
    "markuplm": "reads the markup of web pages, not texts",
    "reformer": "is trained on texts of one length alone, the product of its axial_pos_shape",
}
POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len")


def text_config_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a configuration (as in config.json) that describes the text model: `text_config`, or the whole."""
    nested = config.get("text_config")
    return nested if isinstance(nested, Mapping) else config


def position_limit(config: Mapping[str, Any]) -> int | None:
    """The number of tokens that a model with this config.json has positions for; None: unlimited, or not stated.

    Special tokens count. For models that could compute more, such as those with rotary positions, it is the length that
    they were made for.
    """
    part = text_config_of(config)
    kind = str(part.get("model_type") or config.get("model_type"))
    if kind in UNLIMITED_POSITIONS or _is_relative(part):
        return None
    stated = (part.get(name) for name in POSITIONS)
    limit = next((int(n) for n in stated if isinstance(n, int | float) and 0 < n < math.inf), None)
    if limit is not None and kind in POSITIONS_AFTER_PADDING:
        padding = part.get("pad_token_id")
        limit -= 1 + (padding if isinstance(padding, int) and kind != "mpnet" else 1)
    return limit


def _is_relative(part: Mapping[str, Any]) -> bool:
    """True for a DeBERTa without absolute positions in its input, such as version 3."""
    return bool(part.get("relative_attention")) and part.get("position_biased_input") is False


@functools.cache
def text_classifiers() -> frozenset[str]:
    """The `model_type`s for which the installed transformers has a sequence classifier.

    Parsed from the source of its table, because importing the table imports torch.
    """
    return _names("modeling_auto.py", "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES")


@functools.cache
def model_types() -> frozenset[str]:
    """The `model_type`s that the installed transformers knows."""
    return _names("auto_mappings.py", "CONFIG_MAPPING_NAMES") | text_classifiers()


def is_tokenizer_class(name: str) -> bool:
    """True if the installed transformers has a tokenizer class of that name, or of that family.

    Older checkpoints name the family, such as ElectraTokenizer for what is a BertTokenizer today.
    """
    name = name.removesuffix("Fast")
    family = name.removesuffix("Tokenizer").lower()
    if any(folder.name.replace("_", "") == family for folder in _models().iterdir()):
        return True
    word = re.compile(rf"\b{re.escape(name)}\b")
    files = (*_models().glob("*/tokenization_*.py"), *_models().parent.glob("tokenization_*.py"))
    return any(word.search(path.read_text(encoding="utf-8")) for path in files)


def _models() -> Path:
    """The folder of transformers' models."""
    found = importlib.util.find_spec("transformers")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "models"


def _names(file: str, table: str) -> frozenset[str]:
    source = (_models() / "auto" / file).read_text(encoding="utf-8")
    match = re.search(rf"^{table} = OrderedDict\(\n(.*?)^\)", source, re.DOTALL | re.MULTILINE)
    assert match is not None, f"transformers keeps {table} in another form"
    return frozenset(name for name, _ in ast.literal_eval(match[1].strip()))
