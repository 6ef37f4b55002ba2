"""Small data files in the schema of a task, and a tokenizer that needs no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainables.spec import DataSpec
from trainables.tasks import Task, TaskData

WORDS = ("fine", "dull", "bright", "slow", "warm", "cold", "sharp", "flat", "rich", "thin")
ROWS = 60  # of the training file
OTHERS = 20  # of each of the other two files
# The number of each file's first text, so that no text is in two files.
STARTS = {"train": 0, "validation": 1000, "test": 2000}
TOKENS = 512  # that the tokenizer's model accepts


def texts(count: int, start: int = 0) -> list[str]:
    """Returns distinct short texts."""
    return [f"{WORDS[i % 10]} film number {i} {WORDS[i // 10 % 10]}" for i in range(start, start + count)]


def local_copy(task: Task, folder: Path, rows: int = ROWS) -> DataSpec:
    """Writes Parquet files in the columns of `task`: train and validation with labels, test with hidden ones.

    Args:
        rows: of the training file.
    """
    folder.mkdir(exist_ok=True)
    for split, start in STARTS.items():
        write_columns(folder / f"{split}.parquet", columns(task, split, rows if split == "train" else OTHERS, start))
    return DataSpec(path=str(folder), text=text_columns(task), label=label_column(task))


def columns(task: Task, split: str, count: int, start: int) -> dict[str, list[Any]]:
    """Returns the rows of one file by column. Classes have unequal sizes; labels of test rows are marked as hidden."""
    written: dict[str, list[Any]] = {
        name: [f"{name}: {text}" for text in texts(count, start)] for name in text_columns(task)
    }
    hidden = [-1] * count if task.kind == "classification" else [-1.0] * count
    return {**written, label_column(task): hidden if split == "test" else labels(task, count)}


def labels(task: Task, count: int) -> list[Any]:
    """Returns labels: classes, of which the first is twice as large as each other one; or numbers from 0 to 2.5."""
    if task.kind == "regression":
        return [i % 6 / 2 for i in range(count)]
    classes = len(getattr(task, "class_names", ())) or 2
    return [i % (classes + 1) % classes for i in range(count)]


def text_columns(task: Task) -> tuple[str, ...]:
    """Returns the columns that the task reads texts from."""
    return task.data.text or ("text",)


def label_column(task: Task) -> str:
    """Returns the column that the task reads labels from."""
    return task.data.label or "label"


def write_columns(path: Path, data: Mapping[str, Sequence[Any]]) -> None:
    """Writes a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(dict(data)), path)


def rows_of(data: TaskData) -> list[set[tuple[str, ...]]]:
    """Returns the texts of each split."""
    names = [name for name in ("text", "text_pair") if name in data.train.column_names]
    return [set(zip(*(split[name] for name in names), strict=True)) for split in data[:3]]


def word_tokenizer() -> Any:
    """Returns a tokenizer whose tokens are words and punctuation, for a model that accepts `TOKENS` of them."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    numbers = [str(number) for start in STARTS.values() for number in range(start, start + 100)]
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    known = [*special, *WORDS, "film", "number", ":", *numbers]
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(dict.fromkeys(known))}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, known.index(name)) for name in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=TOKENS, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip
