"""Checks values of `model.<key>` by the configuration that a model comes with. Imports no torch.

In: a key, and the configuration as in config.json. Out: a `Tunable` that knows which values the checkpoint can take.
Names of keys were read from transformers' sources; `tests/trainables/models/test_config_keys.py` builds models by them.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainables.errors import nearest
from trainables.tunables import Dropout, Tunable, Value, find_tunable

NESTED = ("text_config", "encoder", "decoder")  # configurations within one that describe a text model
# Keys that a trial cannot set, since something else decides them, or nothing reads them.
RESERVED = {
    **dict.fromkeys(("num_labels", "id2label", "label2id", "problem_type"), "comes from the task's labels"),
    **dict.fromkeys(("dtype", "torch_dtype"), "is decided by `precision`"),
    **dict.fromkeys(
        ("model_type", "architectures", "auto_map", "is_encoder_decoder", "tokenizer_class", "transformers_version"),
        "states what the checkpoint is, which no value changes",
    ),
    **dict.fromkeys(
        ("return_dict", "output_attentions", "output_hidden_states", "output_router_logits", "torchscript"),
        "decides what the model returns, not what it computes",
    ),
}
TOKENS = re.compile(r"\w+_token_id|(pad|bos|eos|unk|mask)_index")  # the tokenizer has them, too
LAYERS = frozenset(
    {
        *("num_hidden_layers", "num_layers", "n_layer", "n_layers"),
        *("encoder_layers", "decoder_layers", "num_decoder_layers"),
    }
)
# The sizes of weights: another value does not fit the checkpoint.
SIZES = frozenset(
    {
        *("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embedding_size", "input_embedding_size"),
        *("intermediate_size", "d_ff", "d_inner", "dff", "hidden_dim", "ffn_dim", "ffn_hidden_size"),
        *("encoder_ffn_dim", "decoder_ffn_dim", "moe_intermediate_size", "shared_expert_intermediate_size"),
        *("head_dim", "d_head", "d_kv", "v_head_dim", "qk_nope_head_dim", "qk_rope_head_dim"),
        *("q_lora_rank", "kv_lora_rank", "true_hidden_size", "intra_bottleneck_size", "word_embed_proj_dim"),
        *("vocab_size", "type_vocab_size", "num_key_value_heads", "relative_attention_num_buckets"),
        *("num_local_experts", "n_routed_experts", "n_shared_experts", "conv_kernel_size", "num_hidden_groups"),
    }
)
POSITIONS = frozenset({"max_position_embeddings", "n_positions"})  # sizes of a weight, where positions are learned
HEADS = frozenset({"num_attention_heads", "n_head", "n_heads", "encoder_attention_heads", "decoder_attention_heads"})
SIZED_HEADS = frozenset({"head_dim", "d_head", "d_kv", "num_key_value_heads"})  # with them heads are sizes as well
WIDTHS = ("hidden_size", "d_model", "n_embd", "dim", "emb_dim")
WHOLE = re.compile(
    r"(num|n|d|max)_\w+"
    r"|(\w+_)?(size|dim|layers?|heads?|experts|rank|len|length|window|groups|buckets|embeddings|period|stride|topk)"
)
POSITION_TABLE = re.compile(r"position|(^|\.)wpe\.|pos_emb")  # in the name of a weight


@dataclass(frozen=True)
class CheckpointKey(Tunable):
    """A key of a configuration with what the checkpoint allows for it."""

    only: Value = None  # the one value that fits the checkpoint's weights; None: there is no such
    width: int | None = None  # a number of heads divides it
    activations: frozenset[str] = field(default_factory=frozenset)  # the names that transformers knows; empty: any text

    def refusal(self, value: object) -> str | None:
        """The reason why the checkpoint cannot take `value`; None if it can, or if the spec refuses it by its type."""
        known = find_tunable(self.name)
        if known is None or known.refusal(value) is not None:
            return None
        if rule := super().refusal(value):
            return rule
        if self.activations and value not in self.activations:
            return f"is no activation of transformers; {nearest(str(value), self.activations)}"
        if self.only is not None and value != self.only:
            return f"must be {self.only}, the size of the checkpoint's weights"
        if self.width is not None and isinstance(value, int | float) and (value < 1 or self.width % value):
            return f"must divide {self.width}, the width of the model; its own is {self.default}"
        return None

    def as_taken(self, value: Value) -> Value:
        """Returns an allowed `value` in the type that the configuration's class takes: 0.0 for 0, 2 for 2.0."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return value
        return int(value) if self.kind == "int" else float(value) if isinstance(self.default, float) else value


def reserved(key: str) -> str | None:
    """The reason why a trial cannot set `model.<key>`, of whatever model; None if it may."""
    return "belongs to the checkpoint and its tokenizer" if TOKENS.fullmatch(key) else RESERVED.get(key)


def part_with(key: str, config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The part of a config.json that has `key`: the outer one before those nested in it; None: none has it."""
    nested = (config.get(name) for name in NESTED)
    return next((part for part in (config, *nested) if isinstance(part, Mapping) and key in part), None)


def checkpoint_key(key: str, part: Mapping[str, Any], *, learned_positions: bool = False) -> CheckpointKey | None:
    """Finds what the checkpoint allows for `model.<key>`.

    Args:
        part: the (nested) configuration that has the key.
        learned_positions: the checkpoint holds a table of positions.

    Returns:
        None if the value there does not show it (a list, null).
    """
    name, own = f"model.{key}", part[key]

    def of(kind: Any, unit: str = f"the model's own is {own}", **limits: Any) -> CheckpointKey:
        return CheckpointKey(name, kind, unit, in_flight=False, default=own, **limits)

    if isinstance(own, bool):
        return of("bool")
    if isinstance(dropout := find_tunable(name), Dropout):
        return of("float", dropout.unit, low=dropout.low, high=dropout.high, high_open=dropout.high_open)
    if isinstance(own, str):
        known = activations()
        # Where the model says auto, a number may do as well.
        return (
            None if own == "auto" else of("choice", activations=known if "act" in key and own in known else frozenset())
        )
    if isinstance(own, float):
        return of("float")
    if not isinstance(own, int):
        return None
    if key in LAYERS:
        shared = "num_hidden_groups" in part  # an ALBERT computes the same layer any number of times
        return of("int", "layers of the checkpoint", low=1, **({} if shared else {"high": own}))
    if key in SIZES or (key in POSITIONS and learned_positions) or (key in HEADS and SIZED_HEADS & part.keys()):
        return of("int", only=own)
    if key in HEADS:
        return of("int", width=next((part[width] for width in WIDTHS if isinstance(part.get(width), int)), None))
    return of("int" if WHOLE.fullmatch(key) else "float")


@functools.cache
def activations() -> frozenset[str]:
    """The names of activations that the installed transformers knows.

    Parsed from the source of its table, because importing the table imports torch.
    """
    found = importlib.util.find_spec("transformers")
    assert found is not None
    assert found.origin is not None
    tree = ast.parse((Path(found.origin).parent / "activations.py").read_text(encoding="utf-8"))
    table = next(
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Dict)
        and [target.id for target in node.targets if isinstance(target, ast.Name)] == ["ACT2CLS"]
    )
    return frozenset(str(key.value) for key in table.keys if isinstance(key, ast.Constant))
