"""A small model with random weights of any `model_type` for which transformers has a sequence classifier."""

from __future__ import annotations

from typing import Any

PAD, END = 3, 2
VOCABULARY, POSITIONS = 100, 128
_WIDTHS = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "embed_dim", "emb_dim", "embedding_size"), 32),
    **dict.fromkeys(("pooler_hidden_size", "word_embed_proj_dim"), 32),
    **dict.fromkeys(("intermediate_size", "d_ff", "d_inner", "hidden_dim", "dff", "ffn_dim", "ffn_hidden_size"), 64),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 64),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 32),
    **dict.fromkeys(("head_dim", "d_head", "d_kv", "qk_rope_head_dim", "qk_nope_head_dim", "rotary_dim"), 8),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "v_head_dim"), 16),
}
_COUNTS = {
    **dict.fromkeys(("n_layers", "num_hidden_layers", "num_layers", "n_layer", "encoder_layers", "decoder_layers"), 2),
    **dict.fromkeys(("n_heads", "n_head", "num_attention_heads", "num_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_experts_per_tok"), 2),
    **dict.fromkeys(("n_group", "topk_group", "first_k_dense_replace"), 1),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), POSITIONS),
    **{"type_vocab_size": 2, "vocab_size": VOCABULARY, "entity_vocab_size": 10},
}
_TOKENS = {"pad_token_id": PAD, "eos_token_id": END, "sep_token_id": END, "bos_token_id": 1, "cls_token_id": 1}
SMALL: dict[str, Any] = {**_WIDTHS, **_COUNTS, **_TOKENS, "decoder_start_token_id": PAD, "use_mamba_kernels": False}
# Larger than fresh weights are, so that what a model sees of its padding shows in the score.
SPREAD = {"initializer_range": 0.2, "init_std": 0.2}
OWN: dict[str, dict[str, Any]] = {
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_dt_rank": 8},
    "zamba": {
        "n_mamba_heads": 2,
        "num_hidden_layers": 6,
        "num_key_value_heads": 4,
        "attn_layer_period": 3,
        "attn_layer_offset": 2,
    },
    "zamba2": {"num_hidden_layers": 3, "num_key_value_heads": 4, "layers_block_type": ["mamba", "hybrid", "mamba"]},
    **{name: {"num_key_value_heads": 4} for name in ("axk1", "axk2", "deepseek_v2", "deepseek_v3", "minicpm3")},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "esmc": {"num_key_value_heads": 4},
    "lilt": {"hidden_size": 48, "channel_shrink_ratio": 4},
    "xmod": {"default_language": "en_XX"},
}


def small_classifier(model_type: str, **values: Any) -> Any:
    """Returns the family's model in evaluation mode; `values` go before the small ones of its configuration."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForSequenceClassification

    torch.manual_seed(0)
    kind = CONFIG_MAPPING[model_type]
    config = _shrunk(kind, kind(), OWN.get(model_type, {}) | values)
    config.decoder_start_token_id = PAD
    return AutoModelForSequenceClassification.from_config(config).eval()


def _shrunk(kind: Any, full: Any, own: dict[str, Any]) -> Any:
    """Returns a configuration of the class with small values for all that it has, so that what it derives fits."""
    stated = full.to_dict()
    values = {name: value for name, value in {**SMALL, **SPREAD}.items() if name in stated} | _TOKENS | own
    for name in ("text_config", "vision_config", "encoder", "decoder"):
        part = getattr(full, name, None)
        if hasattr(part, "to_dict"):
            values[name] = _shrunk(type(part), part, {}).to_dict()
    if len(layers := stated.get("layer_types") or ()) > 2 and "layers_block_type" not in stated:
        values.setdefault("layer_types", [layers[0], layers[-1]])
    return kind(**values)
