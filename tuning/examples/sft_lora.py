"""Supervised fine-tuning of a chat model on messages, with TRL and LoRA: which rank, which rate, which batch.

The loss counts the tokens of the assistant, and no others. TRL would tokenise in each constructor, which is called for
each trial and after each exploit of PBT: the messages are tokenised once per process here. A checkpoint holds the
adapter alone, so the base must be the same each time, as one from a folder or the Hub is. On a GPU that has bf16 the
base, which is not trained, lies there in bf16; the adapter stays in fp32.
"""

from __future__ import annotations

import functools
import random
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
ROLES = ["<pad>", "<end>", "<user>", "<assistant>"]
# {% generation %} marks the answers of the assistant: the tokens that the loss counts.
TEMPLATE = """{% for message in messages %}
{% set text = message.content + ' <end> ' %}{{ '<' + message.role + '> ' }}
{% if message.role == 'assistant' %}{% generation %}{{ text }}{% endgeneration %}{% else %}{{ text }}{% endif %}
{% endfor %}"""


def make_trainer(params: dict[str, Any]) -> SFTTrainer:
    """An SFTTrainer with the values of one trial: the adapter's, and the rest as arguments."""
    own = dict(params)
    rank = own.pop("lora_rank")
    adapter = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=own.pop("lora_dropout"),
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    tokenizer, rows = prepared()
    bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return SFTTrainer(
        # For real work: AutoModelForCausalLM.from_pretrained(NAME, dtype=...), such as "Qwen/Qwen3-0.6B".
        model=base(len(tokenizer)).to(torch.bfloat16 if bf16 else torch.float32),
        args=SFTConfig(eval_strategy="epoch", bf16=bf16, dataset_kwargs={"skip_prepare_dataset": True}, **own),
        train_dataset=rows.select(range(256)),
        eval_dataset=rows.select(range(256, 320)),
        processing_class=tokenizer,
        peft_config=adapter,
    )


def base(words: int) -> LlamaForCausalLM:
    """A small model of random weights, the same ones each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(LlamaConfig(**SMALL, vocab_size=words, pad_token_id=0, eos_token_id=1))


@functools.cache
def prepared() -> tuple[PreTrainedTokenizerFast, Dataset]:
    """The tokenizer and the tokenised chats: once per process."""
    rng = random.Random(0)
    chats = [chat(rng) for _ in range(320)]  # for real work: a data set with a column of messages
    tokenizer = words_of(chats)  # for real work: AutoTokenizer.from_pretrained(NAME)
    return tokenizer, Dataset.from_list([tokens(tokenizer, messages) for messages in chats])


def chat(rng: random.Random) -> list[dict[str, str]]:
    """A question about two numbers, and its answer."""
    a, b = rng.randrange(10), rng.randrange(10)
    return [
        {"role": "user", "content": rng.choice([f"which is larger {a} or {b} ?", f"{a} and {b} : the larger one ?"])},
        {"role": "assistant", "content": f"{max(a, b)} is the larger one ."},
    ]


def tokens(tokenizer: PreTrainedTokenizerFast, messages: list[dict[str, str]]) -> dict[str, list[int]]:
    """Token ids of a chat, and labels: -100 for all that is not the assistant's."""
    encoded = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    labels = [
        i if counted else -100 for i, counted in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True)
    ]
    return {"input_ids": encoded["input_ids"], "labels": labels}


def words_of(chats: list[list[dict[str, str]]]) -> PreTrainedTokenizerFast:
    """A tokenizer of the words that occur."""
    words = sorted({word for messages in chats for message in messages for word in message["content"].split()})
    plain = Tokenizer(models.WordLevel({word: i for i, word in enumerate([*ROLES, *words])}, unk_token="<pad>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="<pad>", eos_token="<end>", chat_template=TEMPLATE)
