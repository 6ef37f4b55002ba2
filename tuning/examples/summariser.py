"""A summariser: texts of several sentences, one sentence about them, generated in each evaluation.

The score is ROUGE, computed here from what the model writes: of single words (rouge1) and of the longest common
subsequence (rougeL), each an F1 averaged over the rows. It needs generation, which takes most of an evaluation's time.
"""

from __future__ import annotations

import functools
import random
from typing import Any

import numpy as np
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    DataCollatorForSeq2Seq,
    EvalPrediction,
    PreTrainedTokenizerFast,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    T5Config,
    T5ForConditionalGeneration,
)

SPECIAL = ["<pad>", "</s>"]
SMALL = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0}
TOPICS = {
    "the sea": ["waves", "salt", "boats", "gulls", "tides"],
    "the wood": ["trees", "moss", "deer", "ferns", "owls"],
    "the town": ["streets", "trams", "shops", "towers", "squares"],
}
FEELINGS = {"cheerful": ["bright", "merry", "warm"], "gloomy": ["grey", "bleak", "cold"]}


def make_trainer(params: dict[str, Any]) -> Seq2SeqTrainer:
    """A Seq2SeqTrainer with the values of one trial, all of them arguments of its own."""
    tokenizer, rows = prepared()
    # For real work: AutoModelForSeq2SeqLM.from_pretrained("google-t5/t5-small"), and the tokenizer of that name
    config = T5Config(**SMALL, vocab_size=len(tokenizer), pad_token_id=0, decoder_start_token_id=0, eos_token_id=1)
    model = T5ForConditionalGeneration(config)
    return Seq2SeqTrainer(
        model=model,
        args=Seq2SeqTrainingArguments(
            eval_strategy="epoch", predict_with_generate=True, generation_max_length=12, **params
        ),
        train_dataset=rows.select(range(128)),
        eval_dataset=rows.select(range(128, 192)),  # generate for a part of the rows, if you have many
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
        compute_metrics=functools.partial(rouge, tokenizer),
    )


@functools.cache
def prepared() -> tuple[PreTrainedTokenizerFast, Dataset]:
    """The tokenizer and the tokenised rows: once per process."""
    rng = random.Random(0)
    rows = Dataset.from_list([story(rng) for _ in range(192)])  # for real work: your columns of texts and summaries
    tokenizer = words_of([*rows["text"], *rows["summary"]])  # for real work: AutoTokenizer.from_pretrained(NAME)
    return tokenizer, rows.map(
        lambda row: {
            "input_ids": tokenizer(row["text"])["input_ids"],
            "labels": tokenizer(text_target=row["summary"])["input_ids"],
        },
        remove_columns=rows.column_names,
    )


def words_of(texts: list[str]) -> PreTrainedTokenizerFast:
    """A tokenizer of the words that occur, with the end of a text behind each."""
    words = sorted({word for text in texts for word in text.split()})
    plain = Tokenizer(models.WordLevel({word: i for i, word in enumerate([*SPECIAL, *words])}, unk_token="<pad>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    plain.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="<pad>", eos_token="</s>")


def story(rng: random.Random) -> dict[str, str]:
    """Three short sentences of one topic in one mood, and what they are about."""
    topic, feeling = rng.choice(sorted(TOPICS)), rng.choice(sorted(FEELINGS))
    sentences = [f"the {rng.choice(TOPICS[topic])} were {rng.choice(FEELINGS[feeling])} ." for _ in range(3)]
    return {"text": " ".join(sentences), "summary": f"a {feeling} day at {topic}"}


def rouge(tokenizer: Any, output: EvalPrediction) -> dict[str, float]:
    """ROUGE-1 and ROUGE-L of the generated texts, from 0 to 1."""
    written, wanted = (
        tokenizer.batch_decode(np.where(ids < 0, tokenizer.pad_token_id, ids), skip_special_tokens=True)
        for ids in (output.predictions, output.label_ids)
    )
    pairs = [(one.split(), other.split()) for one, other in zip(written, wanted, strict=True)]
    return {
        "rouge1": float(np.mean([f1(one, other, shared_words(one, other)) for one, other in pairs])),
        "rougeL": float(np.mean([f1(one, other, longest_common(one, other)) for one, other in pairs])),
    }


def f1(written: list[str], wanted: list[str], common: int) -> float:
    """The F1 score of `common` words or positions in two texts of these lengths."""
    return 2 * common / max(len(written) + len(wanted), 1)


def shared_words(written: list[str], wanted: list[str]) -> int:
    """The number of words that both texts have, each counted as often as in the text that has it less often."""
    return sum(min(written.count(word), wanted.count(word)) for word in set(wanted))


def longest_common(written: list[str], wanted: list[str]) -> int:
    """The length of the longest sequence of words that both have in that order, with others between them."""
    row = [0] * (len(wanted) + 1)
    for word in written:
        before = list(row)
        for i, other in enumerate(wanted):
            row[i + 1] = before[i] + 1 if word == other else max(before[i + 1], row[i])
    return row[-1]
