"""The base class of tasks over one text or a pair of texts: from published rows to splits, from splits to tokens."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from trainables.spec import DataSpec
from trainables.tasks import Task, TaskData, TaskError
from trainables.tasks.collected_rows import CollectedRows
from trainables.tasks.files import split_files
from trainables.tasks.groups import with_groups
from trainables.tasks.movie_reviews import may_ask_too_much
from trainables.tasks.positive_class import positive_class
from trainables.tasks.row_cache import read_once
from trainables.tasks.sources import RawSplit, option_errors, read_sources, reads_local_files, source_digest
from trainables.tasks.splits import LabelledRows, cut_splits, deduplicate, draw_subsets, split_errors
from trainables.tasks.usable_rows import with_labels, with_texts

if TYPE_CHECKING:
    from datasets import Dataset

SPLITS = ("train", "validation", "test")
TEXT_COLUMNS = ("text", "text_pair")
FILES = ("path", *SPLITS)  # options that name local files, unless the rows are from the Hub
SOURCE_FIELDS = (*FILES, "hub", "config", "revision", "source")
PACKED = 5  # assumed compression ratio of gzip
WHOLE_UP_TO = 200 << 20  # bytes of local files up to which `check` reads everything
BEGINNING = 50 << 20  # bytes of larger files that `check` reads


class EncodedRows(NamedTuple):
    """Rows whose labels are numbers, and errors about the other rows."""

    rows: dict[str, LabelledRows]
    class_names: tuple[str, ...]  # by id; empty for regression
    known: bool  # the source or the preset defines the class ids
    errors: list[TaskError]  # of single rows: a label is missing or of the wrong kind
    overall: list[TaskError]  # of all rows: labels do not vary, or do not occur in the training split


@dataclass(frozen=True)
class TextTask(Task):
    """Reads, splits and tokenises texts; a subclass encodes labels (`encode`) and scores predictions (`metrics`)."""

    @abstractmethod
    def encode(self, splits: Mapping[str, RawSplit]) -> EncodedRows:
        """Converts labels to numbers; returns the usable rows, and errors about the others. `train` has labels."""

    @abstractmethod
    def label_feature(self, class_names: tuple[str, ...]) -> Any:
        """The `datasets` feature of the label column."""

    def options(self, data: DataSpec) -> DataSpec:
        """See `Task.options`."""
        given = {name: value for name, value in data if value is not None}
        moved = reads_local_files(data) or (data.hub is not None and data.hub != self.data.hub)
        preset = {name: value for name, value in self.data if not (moved and name in SOURCE_FIELDS)}
        return DataSpec.model_construct(**(preset | given))

    def check(self, data: DataSpec) -> list[tuple[str, str]]:
        """See `Task.check`."""
        options = self.options(data)
        errors = self._option_errors(data, options)
        if not errors and (reads_local_files(options) or may_ask_too_much(options)):
            try:
                errors = self._gathered(options, reading_limit(options) if reads_local_files(options) else None).errors
            except TaskError as error:  # there is no file
                errors = [error]
        return [(error.name, error.message) for error in errors]

    def unchecked(self, data: DataSpec) -> str | None:
        """See `Task.unchecked`."""
        options = self.options(data)
        if not reads_local_files(options):
            return None
        try:
            limit = reading_limit(options)
        except TaskError:
            return None  # `check` reports it
        if limit is None:
            return None
        size = f"the files are over {WHOLE_UP_TO >> 20} MB: the first {limit >> 20} MB of each were looked at"
        return f"{size}; sizes of splits and classes are known when a run has read them"

    def _option_errors(self, data: DataSpec, options: DataSpec) -> list[TaskError]:
        found = option_errors(options)
        if data.source is not None and self.data.source is None:
            step = "remove it, or set task=reviews"
            found.append(TaskError("data.source", data.source, f"the task {self.name} has no sources", step))
        if data.path is not None and data.hub is not None:
            found.append(TaskError("data.hub", data.hub, "data.path is set as well", "remove one of them"))
        if data.positive is not None and self.kind == "regression":
            rule = f"the task {self.name} predicts numbers, not classes"
            found.append(TaskError("data.positive", data.positive, rule, "remove it"))
        return found

    def _gathered(self, options: DataSpec, limit: int | None = None) -> CollectedRows:
        """Reads the published rows, and collects all errors about them."""
        paths = {name: _absolute(path) for name in FILES if (path := getattr(options, name)) is not None}
        same = {"split_seed": None, **(paths if reads_local_files(options) else {})}  # each cut is of the same rows
        found = read_once((self, options.model_copy(update=same), limit), lambda: self._read(options, limit))
        if not found.sound or found.published is None:
            return found
        left_out = found.published.duplicates
        note = f" ({left_out} rows are left out, whose text stands there already)" if left_out else ""
        wrong = split_errors(found.published.splits, options, found.class_names)
        return found._replace(
            errors=[*found.errors, *(TaskError(e.name, e.value, e.rule + note, e.next_step) for e in wrong)]
        )

    def _read(self, options: DataSpec, limit: int | None) -> CollectedRows:
        sources = read_sources(options, limit)
        errors = list(sources.errors)
        shown = with_labels(sources.splits)
        if "train" not in shown:
            if "train" in sources.splits:
                step = "give it a label in every row"
                errors.append(TaskError("data.train", sources.splits["train"].origin, "has no labels", step))
            return CollectedRows(sources, errors)
        usable, empty, found = with_texts(shown, options)
        usable, nameless = with_groups(usable)
        encoded = self.encode(usable)
        errors += [*found, *nameless, *encoded.errors]
        if not encoded.rows["train"].texts:
            if not errors:
                rule = "has no row with a text"
                errors.append(TaskError("data.train", sources.splits["train"].origin, rule, "choose another column"))
            return CollectedRows(sources, errors)
        published = deduplicate(encoded.rows)
        names, positive, sound = encoded.class_names, None, False
        if sources.complete and not sources.errors:
            errors += encoded.overall
            sound = not encoded.overall
            positive, wrong = positive_class(options.positive, names, encoded.known, published.splits["train"])
            errors += wrong
        return CollectedRows(sources, errors, published, names, positive, empty, sound)

    def source(self, data: DataSpec) -> str:
        """See `Task.source`."""
        options = self.options(data)
        for error in self._option_errors(data, options):
            raise error
        return source_digest(options)

    def load(self, data: DataSpec) -> TaskData:
        """See `Task.load`."""
        options = self.options(data)
        for error in self._option_errors(data, options):
            raise error
        gathered = self._gathered(options)
        if gathered.errors:
            first, *others = gathered.errors
            also = f". Also: {'. Also: '.join(map(str, others))}" if others else ""
            raise TaskError(first.name, first.value, first.rule, first.next_step + also)
        assert gathered.published is not None  # else there is an error
        names = gathered.class_names
        whole = cut_splits(gathered.published.splits, options, names)
        splits = draw_subsets(whole, options, names)
        train, validation, test = (self._dataset(splits[name], names) for name in SPLITS)
        summary = gathered.summary(options, whole, splits)
        digest = fingerprint(self.kind, names, splits)
        return TaskData(train, validation, test, len(names) or 1, names, digest, summary)

    def _dataset(self, rows: LabelledRows, class_names: tuple[str, ...]) -> Dataset:
        from datasets import Dataset, Features, Value

        columns = dict(zip(TEXT_COLUMNS, map(list, zip(*rows.texts, strict=True)), strict=False))
        features = Features({**dict.fromkeys(columns, Value("string")), "label": self.label_feature(class_names)})
        return Dataset.from_dict({**columns, "label": rows.labels}, features=features)

    def tokenize(self, split: Dataset, tokenizer: Any, max_length: int) -> Dataset:
        """See `Task.tokenize`."""
        from datasets import Dataset, concatenate_datasets

        if max_length > tokenizer.model_max_length:
            rule = f"the model takes at most {tokenizer.model_max_length} tokens"
            raise TaskError("data.max_length", max_length, rule, "lower it")
        names = [name for name in TEXT_COLUMNS if name in split.column_names]
        chunks = []
        for rows in split.iter(batch_size=4096):
            texts = [rows[name] for name in names]
            tokens = dict(tokenizer(*texts, verbose=False))  # rows too long: `trainables.data.warnings` warns
            full = [len(ids) for ids in tokens["input_ids"]]
            if long := [i for i, length in enumerate(full) if length > max_length]:
                of_long = [[column[i] for i in long] for column in texts]
                for name, values in tokenizer(*of_long, truncation=True, max_length=max_length).items():
                    for i, value in zip(long, values, strict=True):
                        tokens[name][i] = value
            lengths = [len(ids) for ids in tokens["input_ids"]]
            chunks.append(Dataset.from_dict(tokens | {"labels": rows["label"], "length": lengths, "full_length": full}))
        return concatenate_datasets(chunks)


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def reading_limit(options: DataSpec) -> int | None:
    """The bytes that `check` reads of each local file at most; None: all.

    Raises:
        TaskError: there is no training file.
    """
    paths = [path for paths in split_files(options).values() for path in paths]
    size = sum(path.stat().st_size * (PACKED if path.suffix.lower() == ".gz" else 1) for path in paths)
    return None if size <= WHOLE_UP_TO else max(1 << 20, BEGINNING // len(paths))


def fingerprint(kind: str, class_names: tuple[str, ...], splits: Mapping[str, LabelledRows]) -> str:
    """A hex digest of the splits' rows, in order."""
    digest = hashlib.sha256(json.dumps([kind, class_names]).encode())
    for name in SPLITS:
        digest.update(json.dumps([name, len(splits[name].texts)]).encode())
        for text, label in zip(splits[name].texts, splits[name].labels, strict=True):
            digest.update(json.dumps([text, label]).encode())
    return digest.hexdigest()
