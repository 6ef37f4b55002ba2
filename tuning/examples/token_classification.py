"""Token classification: which words of a sentence name a person or a place.

A word's label goes to its first token, -100 to the others, which no loss and no score counts. The scores are the share
of right words and the F1 of whole names, as seqeval has it. The test rows are scored once, when the search has ended.
"""

from __future__ import annotations

import functools
import random
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForTokenClassification,
    DataCollatorForTokenClassification,
    EvalPrediction,
    Trainer,
    TrainingArguments,
)

from trainables.models.encoders import resolve_model

TOKENIZER = resolve_model("minilm")  # for real work: "google-bert/bert-base-cased", its tokenizer and its weights
SMALL = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
LABELS = ["O", "B-person", "I-person", "B-place", "I-place"]
FIRST, LAST = ["ada", "grace", "paris", "jordan", "florence"], ["stone", "hill", "london", "hopper", "berlin"]
PLACES = ["paris", "jordan", "florence", "london", "berlin", "stone hill", "new york"]
PATTERNS = [
    "person flew to place",
    "place is where person was born",
    "did person like place in may",
    "nobody saw person",
]


def make_trainer(params: dict[str, Any]) -> Trainer:
    """A Trainer with the values of one trial, all of them arguments of its own."""
    tokenizer, rows = prepared()
    # For real work: AutoModelForTokenClassification.from_pretrained(NAME, num_labels=len(LABELS))
    model = BertForTokenClassification(BertConfig(**SMALL, vocab_size=len(tokenizer), num_labels=len(LABELS)))
    trainer = Trainer(
        model=model,
        args=TrainingArguments(eval_strategy="epoch", **params),
        train_dataset=rows["train"],
        eval_dataset=rows["validation"],
        data_collator=DataCollatorForTokenClassification(tokenizer),
        compute_metrics=scores,
    )
    trainer.test_dataset = rows["test"]
    return trainer


@functools.cache
def prepared() -> tuple[Any, DatasetDict]:
    """The tokenizer and the aligned rows: once per process, for all of its trials."""
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    rng = random.Random(0)
    sizes = {"train": 192, "validation": 96, "test": 96}  # for real work: datasets.load_dataset("conll2003")
    rows = DatasetDict({split: Dataset.from_list([sentence(rng) for _ in range(n)]) for split, n in sizes.items()})
    return tokenizer, rows.map(functools.partial(aligned, tokenizer), batched=True, remove_columns=["words", "tags"])


def sentence(rng: random.Random) -> dict[str, list[Any]]:
    """Words and their labels; many words are a person's name in one sentence and a place in another."""
    names = {"person": f"{rng.choice(FIRST)} {rng.choice(LAST)}", "place": rng.choice(PLACES)}
    words, tags = [], []
    for word in rng.choice(PATTERNS).split():
        parts = names.get(word, word).split()
        words += parts
        tags += [0] * len(parts) if word not in names else [LABELS.index(f"B-{word}")]
        tags += [LABELS.index(f"I-{word}")] * (len(parts) - 1) if word in names else []
    return {"words": words, "tags": tags}


def aligned(tokenizer: Any, rows: dict[str, list[Any]]) -> Any:
    """Token ids, and a label for each token: its word's for the first one of a word, else -100."""
    encoded = tokenizer(rows["words"], is_split_into_words=True, truncation=True)
    labels = []
    for row, tags in enumerate(rows["tags"]):
        words = encoded.word_ids(row)
        begins = [word is not None and word != before for before, word in zip([None, *words], words, strict=False)]
        labels.append([tags[word] if begin else -100 for word, begin in zip(words, begins, strict=True)])
    return {**encoded, "labels": labels}


def scores(output: EvalPrediction) -> dict[str, float]:
    """The share of words with the right label, and F1 of whole names."""
    counted = output.label_ids != -100
    predicted, expected = output.predictions.argmax(axis=-1), output.label_ids
    found, true = (
        {(i, *name) for i, row in enumerate(part) for name in names_in(row[counted[i]])}
        for part in (predicted, expected)
    )
    f1 = 2 * len(found & true) / max(len(found) + len(true), 1)
    return {"accuracy": float((predicted == expected)[counted].mean()), "f1": f1}


def names_in(labels: np.ndarray) -> set[tuple[int, int, str]]:
    """First word, end and kind of each name in a sentence: B- begins a name, I- of the same kind continues it."""
    names, tags = set(), [LABELS[label] for label in labels]
    for start, tag in enumerate(tags):
        if tag.startswith("B-"):
            end = start + 1
            while end < len(tags) and tags[end] == f"I-{tag[2:]}":
                end += 1
            names.add((start, end, tag[2:]))
    return names
