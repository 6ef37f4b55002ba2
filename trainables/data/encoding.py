"""The tokenised splits of a task, memory-mapped from the node's dataset cache and kept from trial to trial.

A cache entry is found without reading a row: its key covers the source's digest, the options of the splits, the
tokenizer, and the code and libraries that tokenise. Rows are read only to build an entry.
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
FORMAT = 4  # of the entries; raise it when what this module writes changes
# Options that are not part of the key: the source's digest covers the content, and the length is added separately.
NOT_IN_KEY = {"path", "train", "validation", "test", "hub", "config", "revision", "source", "max_length"}


class TaskFacts(NamedTuple):
    """Facts about a task's rows that a cache entry holds."""

    num_labels: int  # 1 for regression
    label_names: tuple[str, ...]  # by class id; empty for regression
    fingerprint: str  # see `TaskData`
    test_rows: int
    summary: DataSummary  # with token counts of train and validation

    @property
    def positive(self) -> int | None:
        """The id of the class whose F1 is `f1`; None unless there are two classes."""
        return None if self.summary.positive is None else self.label_names.index(self.summary.positive)


@dataclass(frozen=True)
class PreparedTask:
    """A task's splits, tokenised. Validation and test are sorted by length: less padding, equal scores."""

    task: Task
    tokenizer: Any
    max_length: int  # tokens
    facts: TaskFacts
    entry: CacheEntry  # of train and validation
    lengths: tuple[int, ...]  # tokens per training row
    source: TaskSource
    tokenizer_digest: str

    @property
    def train(self) -> Dataset:
        """The training split, in its own order."""
        return self.entry.splits["train"]

    @property
    def validation(self) -> Dataset:
        """The validation split, sorted by length."""
        return self.entry.splits["validation"]

    @cached_property
    def test(self) -> Dataset:
        """The test split, sorted by length; tokenised at the first access, which a search never makes."""
        return self._test.splits["test"]

    @property
    def test_order(self) -> list[int]:
        """The index in the split's own order of each row of `test`. It depends on `max_length`."""
        order: list[int] = self._test.facts["order"]
        return order

    def summary(self, *, test: bool) -> DataSummary:
        """The summary of the data, with token counts; those of the test split, which is tokenised, only if `test`."""
        tokens = dict(self.facts.summary.tokens)
        if test:
            tokens["test"] = TokenSummary.model_validate(self._test.facts["tokens"])
        # The entry may have been built from a copy of the rows in another place.
        place = source_label(self.task.options(self.source.data))
        return self.facts.summary.model_copy(update={"tokens": tokens, "source": place})

    @cached_property
    def _test(self) -> CacheEntry:
        def build() -> CacheContent:
            tokens = tokenize_split(self.task, self.source.rows.test, self.tokenizer, self.max_length)
            order = _by_length(tokens)
            counted = token_summary(tokens, self.tokenizer, self.max_length).model_dump(mode="json")
            return CacheContent({"test": _stored(tokens).select(order)}, {"order": order.tolist(), "tokens": counted})

        return _cache().fetch(_key("test", self.source, self.tokenizer_digest, self.max_length), build)

    @cached_property
    def row_hashes(self) -> RowHashes:
        """The hashes of all rows, from the cache if this node has computed them before."""

        def build() -> CacheContent:
            found = row_hashes(self.source.rows)
            return CacheContent(
                {}, {name: base64.b64encode(rows.tobytes()).decode() for name, rows in found._asdict().items()}
            )

        facts = _cache().fetch(_key("hashes", self.source, "", 0), build).facts
        return RowHashes(**{name: np.frombuffer(base64.b64decode(rows), dtype=KIND) for name, rows in facts.items()})

    @property
    def regression(self) -> bool:
        """True if labels are numbers, not classes."""
        return self.task.kind == "regression"


class JoinedTask(PreparedTask):
    """A prepared task whose training split is training and validation rows together, for the final training."""

    @classmethod
    def of(cls, data: PreparedTask) -> JoinedTask:
        """Joins the splits of `data`; its validation split stays, but is no longer independent of the training."""
        given = {field.name: getattr(data, field.name) for field in fields(data)}
        return cls(**given | {"lengths": (*data.lengths, *data.validation["length"])})

    @cached_property
    def train(self) -> Dataset:
        """The training rows, followed by the validation rows."""
        return concatenate_datasets([self.entry.splits["train"], self.entry.splits["validation"]])


class TaskSource:
    """A task's source: its digest, computed at once, and its rows, read when they are needed."""

    def __init__(self, task: Task, data: DataSpec) -> None:
        self.task, self.data = task, data
        self.digest = task.source(data)

    @cached_property
    def rows(self) -> TaskData:
        """The rows, kept after the first access.

        Raises:
            TaskError: they cannot be read, are not what the task needs, or have changed since the digest was computed.
        """
        rows = self.task.load(self.data)
        if self.task.source(self.data) != self.digest:
            rule = "its rows have changed since this process began to use them"
            raise TaskError("data", self.data.path or self.data.hub, rule, "start again when they are complete")
        return rows


def prepare_task(spec: FineTuneSpec, max_length: int | None) -> PreparedTask:
    """Returns the tokenised splits of `spec`, from this process, from the node's cache, or built now.

    Args:
        spec: its task, data and model.
        max_length: tokens per row at most; None: `spec.data.max_length`, else DEFAULT_MAX_LENGTH.

    Raises:
        TaskError: the data cannot be read, or are not what the task needs.
        ModelError: the tokenizer cannot be loaded.
        CacheError: this node's cache cannot be used.
    """
    tokens = max_length or spec.data.max_length or DEFAULT_MAX_LENGTH
    # Reduced to what the splits depend on, so that trials with other values share them.
    alike = {"fixed": {}, "seed": 0, "objective": None, "epochs": 1, "report_every_epochs": 1}
    alike |= {"objectives": (), "constraints": (), "scalarisation": {}, "measure": ()}
    alike["data"] = spec.data.model_copy(update={"max_length": None})
    return _prepare(spec.model_copy(update=alike).model_dump_json(), tokens)


def clear_caches() -> None:
    """Clears what this process keeps: the next `prepare_task` reads the node's cache, as in a new process."""
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

    entry = _cache().fetch(_key("search", source, digest, max_length), build)
    summary = DataSummary.model_validate(entry.facts["summary"])
    facts = TaskFacts(**{**entry.facts, "label_names": tuple(entry.facts["label_names"]), "summary": summary})
    lengths = tuple(entry.splits["train"]["length"])
    return PreparedTask(task, tokenizer, max_length, facts, entry, lengths, source, digest)


@lru_cache(maxsize=1)
def _source(task: str, data: DataSpec) -> TaskSource:
    return TaskSource(find_task(task), data)


@lru_cache(maxsize=1)
def _tokenizer(model: str, revision: str | None, trust_remote_code: bool) -> tuple[Any, str]:
    """The tokenizer and a digest of its saved files, which does not depend on where it was loaded from."""
    spec = FineTuneSpec(task="", epochs=1, model=model, revision=revision, trust_remote_code=trust_remote_code)
    tokenizer = load_tokenizer(spec)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)  # before its first use, which changes what it saves
        saved = [part for path in _files(Path(folder)) for part in (path.name, path.read_bytes())]
    return tokenizer, _digest(str(tokenizer.model_max_length), *saved)


def _key(part: str, source: TaskSource, tokenizer: str, max_length: int) -> str:
    """The key of a cache entry: a digest of everything that its content depends on."""
    options = source.task.options(source.data).model_dump(mode="json", exclude=NOT_IN_KEY)
    kind = f"{type(source.task).__module__}.{type(source.task).__qualname__}"
    libraries = {name: version(name) for name in ("datasets", "tokenizers", "transformers")}
    return _digest(
        json.dumps([FORMAT, part, kind, repr(source.task), options, max_length, libraries], sort_keys=True),
        *(source.digest, tokenizer, _task_code()),
    )


@lru_cache(maxsize=1)
def _task_code() -> str:
    """A digest of the code that reads, splits and tokenises, so that an edited task never uses older entries."""
    return _digest(*(path.read_bytes() for path in _files(Path(tasks.__path__[0])) if path.suffix == ".py"))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _digest(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def _cache() -> DatasetCache:
    return DatasetCache(cache_folder(), cache_limit())


def _stored(tokens: Dataset) -> Dataset:
    """Drops the column that only the summary needs."""
    return tokens.remove_columns("full_length")


def _by_length(split: Dataset) -> npt.NDArray[np.int64]:
    """The row indices in order of length."""
    return np.argsort(split["length"], kind="stable")
