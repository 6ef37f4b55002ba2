"""What a worker process keeps from trial to trial: the tokenised splits, memory-mapped from the node's store.

An entry of the store is found without reading a row: its key covers the source's content, the options of the splits,
the tokenizer, and the code and libraries that make one of the other. Rows are read only to build an entry.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from datasets import Dataset, concatenate_datasets

from trainables import tasks
from trainables.data.cache_folder import cache_folder, cache_limit
from trainables.data.dataset_cache import CacheContent, CacheEntry, DatasetCache
from trainables.data.row_hashes import KIND, RowHashes, row_hashes
from trainables.data.summarising import token_summary, tokenize_split, with_tokens
from trainables.models.encoders import load_tokenizer
from trainables.spec import DataSpec, FineTuneSpec
from trainables.tasks import Task, TaskData, TaskError, find_task
from trainables.tasks.sources import source_label
from trainables.tasks.summary import DataSummary, TokenSummary

DEFAULT_MAX_LENGTH = 128
FORMAT = 3  # raise it when what this module writes changes
# Options that the key leaves out: the source's digest stands for its place, and the length goes by its own name.
NOT_IN_KEY = {"path", "train", "validation", "test", "hub", "config", "revision", "source", "max_length"}


class TaskFacts(NamedTuple):
    """What is known of a task's rows without reading them."""

    num_labels: int  # 1 for regression
    label_names: tuple[str, ...]  # by class id; empty for regression
    fingerprint: str  # see `TaskData`
    test_rows: int
    summary: DataSummary  # with the tokens of train and validation

    @property
    def positive(self) -> int | None:
        """The id of the class whose F1 is `f1`; None unless there are two classes."""
        return None if self.summary.positive is None else self.label_names.index(self.summary.positive)


@dataclass(frozen=True)
class PreparedTask:
    """A task's splits as a model takes them. Validation and test are in order of length: less padding, equal scores."""

    task: Task
    tokenizer: Any
    max_length: int  # tokens
    facts: TaskFacts
    entry: CacheEntry  # holds the files of train and validation
    lengths: tuple[int, ...]  # tokens per training row
    source: TaskSource
    tokenizer_digest: str

    @property
    def train(self) -> Dataset:
        """In the order of the split."""
        return self.entry.splits["train"]

    @property
    def validation(self) -> Dataset:
        """In order of length."""
        return self.entry.splits["validation"]

    @cached_property
    def test(self) -> Dataset:
        """Tokenised when it is asked for; a search never asks."""
        return self._test.splits["test"]

    @property
    def test_order(self) -> list[int]:
        """Which row of the split itself each row of `test` is. It depends on `max_length`, the split does not."""
        order: list[int] = self._test.facts["order"]
        return order

    def summary(self, *, test: bool) -> DataSummary:
        """The data's summary, in tokens too; the test split is tokenised for it if `test` is true, else left out."""
        tokens = dict(self.facts.summary.tokens)
        if test:
            tokens["test"] = TokenSummary.model_validate(self._test.facts["tokens"])
        # The entry may have been built of a copy of the rows that lies elsewhere.
        place = source_label(self.task.options(self.source.data))
        return self.facts.summary.model_copy(update={"tokens": tokens, "source": place})

    @cached_property
    def _test(self) -> CacheEntry:
        def build() -> CacheContent:
            tokens = tokenize_split(self.task, self.source.rows.test, self.tokenizer, self.max_length)
            order = _by_length(tokens)
            counted = token_summary(tokens, self.tokenizer, self.max_length).model_dump(mode="json")
            return CacheContent({"test": _stored(tokens).select(order)}, {"order": order.tolist(), "tokens": counted})

        return _store().fetch(_key("test", self.source, self.tokenizer_digest, self.max_length), build)

    @cached_property
    def row_hashes(self) -> RowHashes:
        """The hashes of all rows, by which they are known again; a row is read only if this node has not hashed it."""

        def build() -> CacheContent:
            found = row_hashes(self.source.rows)
            return CacheContent(
                {}, {name: base64.b64encode(rows.tobytes()).decode() for name, rows in found._asdict().items()}
            )

        facts = _store().fetch(_key("hashes", self.source, "", 0), build).facts
        return RowHashes(**{name: np.frombuffer(base64.b64decode(rows), dtype=KIND) for name, rows in facts.items()})

    @property
    def regression(self) -> bool:
        """Whether the label is a number."""
        return self.task.kind == "regression"


class JoinedTask(PreparedTask):
    """Training and validation rows as one training split: for a model whose values are chosen already."""

    @classmethod
    def of(cls, data: PreparedTask) -> JoinedTask:
        """The rows of `data`; the validation split stays beside them, and judges nothing any more."""
        given = {field.name: getattr(data, field.name) for field in fields(data)}
        return cls(**given | {"lengths": (*data.lengths, *data.validation["length"])})

    @cached_property
    def train(self) -> Dataset:
        """The training rows, then those of validation."""
        return concatenate_datasets([self.entry.splits["train"], self.entry.splits["validation"]])


class TaskSource:
    """A task's rows: what they are, known by a digest, and the rows themselves, read when a split is tokenised."""

    def __init__(self, task: Task, data: DataSpec) -> None:
        self.task, self.data = task, data
        self.digest = task.source(data)

    @cached_property
    def rows(self) -> TaskData:
        """The rows, kept once they are read.

        Raises:
            TaskError: they cannot be read, are not what the task needs, or are no longer those of the digest.
        """
        rows = self.task.load(self.data)
        if self.task.source(self.data) != self.digest:
            rule = "its rows have changed since this process began to use them"
            raise TaskError("data", self.data.path or self.data.hub, rule, "start again when they are complete")
        return rows


def prepare_task(spec: FineTuneSpec, max_length: int | None) -> PreparedTask:
    """The tokenised splits of `spec`; `max_length` (tokens) goes before `spec.data.max_length`.

    Raises:
        TaskError: the data cannot be read or are not what the task needs.
        StoreError: there is no place for them on this node.
    """
    tokens = max_length or spec.data.max_length or DEFAULT_MAX_LENGTH
    # Only what the splits depend on, so that trials with other values find them.
    alike = {"fixed": {}, "seed": 0, "objective": None, "epochs": 1, "report_every_epochs": 1}
    alike["data"] = spec.data.model_copy(update={"max_length": None})
    return _prepare(spec.model_copy(update=alike).model_dump_json(), tokens)


def clear_caches() -> None:
    """Let go of all that this process has kept: the next `prepare_task` asks the node's store, as in a new process."""
    for kept in (_prepare, _source, _tokenizer, _task_code):
        kept.cache_clear()


@lru_cache(maxsize=4)  # a search over data.max_length has a few of them
def _prepare(key: str, max_length: int) -> PreparedTask:
    spec = FineTuneSpec.model_validate_json(key)
    source = _source(spec.task, spec.data)
    task = source.task
    tokenizer, digest = _tokenizer(spec.model, spec.revision, spec.trust_remote_code)

    def build() -> CacheContent:
        rows = source.rows
        train, validation = (
            tokenize_split(task, split, tokenizer, max_length) for split in (rows.train, rows.validation)
        )
        summary = with_tokens(rows, {"train": train, "validation": validation}, tokenizer, max_length)
        facts = TaskFacts(rows.num_labels, rows.label_names, rows.fingerprint, len(rows.test), summary)
        plain = facts._asdict() | {"summary": summary.model_dump(mode="json")}
        return CacheContent(
            {"train": _stored(train), "validation": _stored(validation).select(_by_length(validation))}, plain
        )

    entry = _store().fetch(_key("search", source, digest, max_length), build)
    summary = DataSummary.model_validate(entry.facts["summary"])
    facts = TaskFacts(**{**entry.facts, "label_names": tuple(entry.facts["label_names"]), "summary": summary})
    lengths = tuple(entry.splits["train"]["length"])
    return PreparedTask(task, tokenizer, max_length, facts, entry, lengths, source, digest)


@lru_cache(maxsize=1)
def _source(task: str, data: DataSpec) -> TaskSource:
    return TaskSource(find_task(task), data)


@lru_cache(maxsize=1)
def _tokenizer(model: str, revision: str | None, trust_remote_code: bool) -> tuple[Any, str]:
    """The tokenizer, and a digest of the files that it would be saved as: equal wherever it was loaded from."""
    spec = FineTuneSpec(task="", epochs=1, model=model, revision=revision, trust_remote_code=trust_remote_code)
    tokenizer = load_tokenizer(spec)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)  # before its first use, which leaves its mark in the files
        saved = [part for path in _files(Path(folder)) for part in (path.name, path.read_bytes())]
    return tokenizer, _digest(str(tokenizer.model_max_length), *saved)


def _key(part: str, source: TaskSource, tokenizer: str, max_length: int) -> str:
    """What the content of an entry depends on, as a digest."""
    options = source.task.options(source.data).model_dump(mode="json", exclude=NOT_IN_KEY)
    kind = f"{type(source.task).__module__}.{type(source.task).__qualname__}"
    libraries = {name: version(name) for name in ("datasets", "tokenizers", "transformers")}
    return _digest(
        json.dumps([FORMAT, part, kind, repr(source.task), options, max_length, libraries], sort_keys=True),
        *(source.digest, tokenizer, _task_code()),
    )


@lru_cache(maxsize=1)
def _task_code() -> str:
    """A digest of the code that reads, splits and tokenises, so that an edited task never meets its older entries."""
    return _digest(*(path.read_bytes() for path in _files(Path(tasks.__path__[0])) if path.suffix == ".py"))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _digest(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def _store() -> DatasetCache:
    return DatasetCache(cache_folder(), cache_limit())


def _stored(tokens: Dataset) -> Dataset:
    """The columns that the store keeps: all but what only the summary needs."""
    return tokens.remove_columns("full_length")


def _by_length(split: Dataset) -> npt.NDArray[np.int64]:
    """The rows in order of length."""
    return np.argsort(split["length"], kind="stable")
