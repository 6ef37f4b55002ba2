"""Tiny models of many families with random weights, each with a tokenizer.

Its special tokens are where the published models of the family have them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WORDS = tuple(
    f"{a}{b}" for a in ("sea", "salt", "tree", "moss", "tram", "shop", "old") for b in ("", "s", "ward", "ish")
)
HIDDEN = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
ENCODER = {**HIDDEN, "max_position_embeddings": 64}
DECODER = {**HIDDEN, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64}
BERT = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}
BERT_ROLES = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
ROBERTA = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4}
ROBERTA_ROLES = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
LLAMA = {"<unk>": 0, "<s>": 1, "</s>": 2}


@dataclass(frozen=True)
class Family:
    """A small family of models.

    Args:
        model_type: as in config.json.
        config: what its configuration says besides the size of the vocabulary.
        special: ids of the special tokens.
        template: of a text with its special tokens; `$A` is the text.
        roles: the special tokens that the tokenizer names.
        pad: the id of the padding token that the tokenizer names; None if it names none.
        config_pad: what the configuration says; None: nothing.
        pads_with: the id that model and tokenizer should agree on.
        name: where the family stands here twice.
        text_config: of a model whose configuration nests that of its text model.
        size: tokens of the vocabulary: of words, or of bytes where it has room for these.
    """

    model_type: str
    config: Mapping[str, Any]
    special: Mapping[str, int]
    template: str
    roles: Mapping[str, str]
    pad: int | None
    config_pad: int | None
    pads_with: int
    name: str = ""
    text_config: Mapping[str, Any] | None = field(default=None)
    size: int = 64

    def __str__(self) -> str:
        return self.name or self.model_type


def _bert(model_type: str, **config: Any) -> Family:
    return Family(model_type, config or ENCODER, BERT, "[CLS] $A [SEP]", BERT_ROLES, 0, 0, 0)


def _roberta(model_type: str, template: str, **config: Any) -> Family:
    return Family(model_type, config or {**ENCODER, "type_vocab_size": 1}, ROBERTA, template, ROBERTA_ROLES, 1, 1, 1)


_BART = {
    **{"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4, "encoder_ffn_dim": 32},
    **{"decoder_attention_heads": 4, "decoder_ffn_dim": 32, "max_position_embeddings": 64, "eos_token_id": 2},
}
_T5 = {
    **{"d_model": 32, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 4, "eos_token_id": 1},
    **{"decoder_start_token_id": 0, "n_positions": 16},
}
_T5_SPECIAL = {"<pad>": 0, "</s>": 1, "<unk>": 2}
_GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "bos_token_id": 63, "eos_token_id": 63}
_QWEN = {"<|endoftext|>": 310, "<|im_start|>": 311, "<|im_end|>": 312}
_QWEN_ROLES = {"eos_token": "<|im_end|>"}
_GEMMA = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3}
_GEMMA_ROLES = {"unk_token": "<unk>", "bos_token": "<bos>", "eos_token": "<eos>"}
_VISION = {
    **{"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
    **{"image_size": 28, "patch_size": 14},
}

# The families that users name most, with the padding ids of the published models. ModernBERT's 50283 of 50368 is 60 of
# 64 here, Qwen2.5's 151643 of 151936 is 310 of 320, GPT-2's end of text is the last token.
FAMILIES = (
    _bert("bert"),
    _roberta("roberta", "<s> $A </s>"),
    _bert("electra", **ENCODER, embedding_size=16),
    _bert("albert", **ENCODER, embedding_size=16),
    _bert("distilbert", dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=64),
    _bert(
        "deberta-v2",
        **ENCODER,
        **{"relative_attention": True, "position_biased_input": False, "position_buckets": 8, "type_vocab_size": 0},
        **{"pos_att_type": ["p2c", "c2p"], "share_att_key": True, "norm_rel_ebd": "layer_norm"},
        pooler_hidden_size=32,
    ),
    Family(
        "xlnet",
        {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64, "d_head": 8},
        {"<unk>": 0, "<s>": 1, "</s>": 2, "<cls>": 3, "<sep>": 4, "<pad>": 5, "<mask>": 6},
        "$A <sep> <cls>",
        {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "sep_token": "<sep>", "cls_token": "<cls>"},
        *(5, 5, 5),
    ),
    Family(
        "modernbert",
        {**ENCODER, "global_attn_every_n_layers": 2, "local_attention": 8},
        {"[UNK]": 57, "[CLS]": 58, "[SEP]": 59, "[PAD]": 60, "[MASK]": 61},
        "[CLS] $A [SEP]",
        BERT_ROLES,
        *(60, 60, 60),
    ),
    Family("gpt2", _GPT2, {"<|endoftext|>": 63}, "$A", {"eos_token": "<|endoftext|>"}, None, None, 63),
    _roberta(
        "opt",
        "</s> $A",
        **{"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 32},
        **{"word_embed_proj_dim": 32, "max_position_embeddings": 64},
    ),
    Family(
        "llama",
        {**DECODER, "bos_token_id": 1, "eos_token_id": 2},
        LLAMA,
        "<s> $A",
        {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"},
        *(None, None, 2),
    ),
    Family("qwen2", {**DECODER, "eos_token_id": 312}, _QWEN, "$A", _QWEN_ROLES, 310, None, 310, size=320),
    Family("gemma", {**DECODER, "eos_token_id": 1, "bos_token_id": 2}, _GEMMA, "<bos> $A", _GEMMA_ROLES, 0, 0, 0),
    Family("t5", _T5, _T5_SPECIAL, "$A </s>", {"eos_token": "</s>", "unk_token": "<unk>"}, 0, 0, 0),
    _roberta("bart", "<s> $A </s>", **_BART),
    # Configurations that disagree with their tokenizers, or nest the text model.
    Family(
        "llama",
        {**DECODER, "bos_token_id": 1, "eos_token_id": 2},
        {**LLAMA, "<pad>": 3},
        "<s> $A",
        {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"},
        *(3, 2, 3),
        name="llama with another padding token in its tokenizer",
    ),
    Family(
        "gemma3",
        {"vision_config": {**_VISION, "model_type": "siglip_vision_model"}, "mm_tokens_per_image": 1},
        _GEMMA,
        "<bos> $A",
        _GEMMA_ROLES,
        *(0, None, 0),
        text_config={**DECODER, "sliding_window": 8, "eos_token_id": 1, "bos_token_id": 2},
    ),
    Family(
        "qwen3_5",
        {"vision_config": {**_VISION, "depth": 1, "num_heads": 2, "out_hidden_size": 32}},
        _QWEN,
        "$A",
        _QWEN_ROLES,
        *(310, None, 310),
        size=320,
        text_config={
            **{**DECODER, "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8},
            **{"linear_value_head_dim": 8, "layer_types": ["linear_attention", "full_attention"], "eos_token_id": 312},
        },
    ),
    Family(
        "mpt",
        {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64, "expansion_ratio": 2},
        {"<|endoftext|>": 0},
        "$A",
        {"eos_token": "<|endoftext|>"},
        *(None, None, 0),
    ),
    _bert("funnel", d_model=32, n_head=4, d_head=8, d_inner=32, block_sizes=[1, 1], num_decoder_layers=1),
    _bert("convbert", **ENCODER, embedding_size=32, head_ratio=2),
    _bert("fnet", **HIDDEN, max_position_embeddings=64, type_vocab_size=4),
)  # fmt: skip


def write_model(family: Family, folder: Path) -> Path:
    """Writes a model of the family, with three classes, and its tokenizer into `folder`.

    The weights are larger than fresh ones usually are, so that scores of different texts lie well apart.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    torch.manual_seed(0)
    config = AutoConfig.for_model(family.model_type, **_config(family))
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.2)
    model.save_pretrained(folder)
    saved = json.loads((folder / "config.json").read_text())
    parts = [saved, saved["text_config"]] if family.text_config else [saved]
    for part in parts:  # as the publisher wrote it, not as the class fills it in
        part.pop("pad_token_id", None)
        if family.config_pad is not None:
            part["pad_token_id"] = family.config_pad
    (folder / "config.json").write_text(json.dumps(saved))
    write_tokenizer(family, folder)
    return folder


def _config(family: Family) -> dict[str, Any]:
    named: dict[str, Any] = {"vocab_size": family.size, "pad_token_id": family.config_pad}
    if family.text_config is None:
        return {**family.config, **named, "num_labels": 3}
    return {**family.config, "text_config": {**family.text_config, **named}, "num_labels": 3}


def write_tokenizer(family: Family, folder: Path) -> None:
    """Writes a tokenizer of words or bytes with the family's special tokens into `folder`."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    free = [number for number in range(family.size) if number not in family.special.values()]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = [*(letters if len(letters) < len(free) else WORDS), *(f"word{n}" for n in range(family.size))]
    vocabulary = {**family.special, **dict(zip(plain, free, strict=False))}
    if len(letters) < len(free):
        words = Tokenizer(models.BPE(vocabulary, []))
        words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    else:
        words = Tokenizer(models.WordLevel(vocabulary, unk_token=family.roles.get("unk_token", plain[0])))
        words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in family.special])
    if family.template != "$A":
        used = [(name, family.special[name]) for name in family.special if name in family.template.split()]
        words.post_processor = processors.TemplateProcessing(
            single=family.template, pair=f"{family.template} $B", special_tokens=used
        )
    roles = dict(family.roles)
    if family.pad is not None:
        roles["pad_token"] = next(name for name, number in family.special.items() if number == family.pad)
    PreTrainedTokenizerFast(tokenizer_object=words, **roles).save_pretrained(folder)
