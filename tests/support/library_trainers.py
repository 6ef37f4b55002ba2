"""Trainers of other libraries as their users write them, over tiny random models: factories, as a spec names them.

The libraries are imported in the factories: they take seconds, and most test runs need none of them.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BertConfig,
    BertModel,
    DataCollatorForLanguageModeling,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    set_seed,
)

ROWS, EVAL_ROWS = 48, 16
QUIET = {"eval_strategy": "epoch", "report_to": "none", "disable_tqdm": True, "use_cpu": True, "save_strategy": "no"}
SPECIAL = ["[PAD]", "[UNK]", "<s>", "</s>"]
SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def causal(params: dict[str, Any]) -> Trainer:
    """Makes a causal model's Trainer as in the transformers guide: `model_init`, the collator that makes the labels."""
    tokenizer = words()
    rows = texts().map(lambda row: tokenizer(row["text"]), remove_columns="text")
    return Trainer(
        model_init=lambda trial=None: causal_model(),
        args=TrainingArguments(**{**QUIET, **params}),
        train_dataset=rows,
        eval_dataset=rows.select(range(EVAL_ROWS)),
        processing_class=tokenizer,
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
    )


def sft_with_lora(params: dict[str, Any]) -> Trainer:
    """Makes TRL's SFTTrainer, which takes no `model_init`; the adapter's dropout draws random numbers in each step."""
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    with torch.random.fork_rng():  # the base is the same one each time, as from a folder
        set_seed(0)
        base = causal_model()
    return SFTTrainer(
        model=base,
        args=SFTConfig(max_length=16, **{**QUIET, "bf16": False, **params}),
        train_dataset=texts(),
        eval_dataset=texts().select(range(EVAL_ROWS)),
        processing_class=words(),
        peft_config=LoraConfig(r=4, lora_dropout=0.1, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
    )


def sentence_transformer(params: dict[str, Any]) -> Trainer:
    """Makes a sentence transformer's Trainer: pairs of texts, and the loss over the others of a batch."""
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    model = SentenceTransformer(modules=encoder(), device="cpu")
    pairs = texts().rename_column("text", "anchor")
    pairs = pairs.add_column("positive", pairs["anchor"][::-1])
    return SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(**{**QUIET, **params}),
        train_dataset=pairs,
        eval_dataset=pairs.select(range(EVAL_ROWS)),
        loss=MultipleNegativesRankingLoss(model),
    )


def encoder() -> list[Any]:
    """Makes the modules of a sentence transformer of random weights."""
    from tempfile import TemporaryDirectory

    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    with TemporaryDirectory() as folder:
        BertModel(BertConfig(vocab_size=len(words()), max_position_embeddings=32, **SIZES)).save_pretrained(folder)
        words().save_pretrained(folder)
        return [Transformer(folder), Pooling(SIZES["hidden_size"])]


def causal_model() -> PreTrainedModel:
    """Makes a small Qwen3 of random weights."""
    config = AutoConfig.for_model(
        "qwen3", vocab_size=len(words()), num_key_value_heads=2, head_dim=8, pad_token_id=0, eos_token_id=3, **SIZES
    )
    return AutoModelForCausalLM.from_config(config)


@functools.cache
def words() -> PreTrainedTokenizerFast:
    """Makes a tokenizer of words."""
    plain = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate([*SPECIAL, *map(str, range(60))])}, unk_token="[UNK]")
    )
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=plain,
        model_max_length=16,
        pad_token="[PAD]",
        unk_token="[UNK]",
        bos_token="<s>",
        eos_token="</s>",
    )


@functools.cache
def texts() -> Dataset:
    """Makes rows of 4 to 9 words."""
    rng = np.random.default_rng(0)
    return Dataset.from_dict(
        {"text": [" ".join(map(str, rng.integers(0, 60, rng.integers(4, 10)))) for _ in range(ROWS)]}
    )
