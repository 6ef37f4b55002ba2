"""The contract of a task's splits: disjoint, and the same again from the same rows, options and seed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import pytest

from trainables.spec import DataSpec, Subset
from trainables.tasks import Task, TaskData
from tuning.testing import task_data
from tuning.testing.random_states import random_states, random_states_kept, seed_all
from tuning.testing.rules import require, require_equal
from tuning.testing.task_data import OTHERS, ROWS, STARTS, local_copy, rows_of, texts

SPLITS = "draw splits by trainables.tasks.splits, from the rows, the options and the seed alone"
UNLIKELY = 1_234_577  # a seed that no task takes


class SplitContract:
    """Tests of how one task splits its rows; see `TaskContract`."""

    task: ClassVar[Task]

    @pytest.fixture
    def data(self, tmp_path: Path) -> DataSpec:
        """Writes files in the columns of the task: train and validation with labels, test with hidden ones."""
        return local_copy(self.task, tmp_path / "data")

    def test_it_reads_files_in_its_own_columns(self, data: DataSpec) -> None:
        problems = self.task.check(data)
        require_equal(problems, [], "`check` finds nothing wrong with data that can be used", step="mend `check`")
        loaded = self.task.load(data)
        pair = ["text_pair"] if len(task_data.text_columns(self.task)) > 1 else []
        expected = ["text", *pair, "label"]
        rule = "the splits have the columns text, text_pair (of a task of two texts) and label"
        for split in loaded[:3]:
            require_equal(split.column_names, expected, rule, step="name them so")
        sizes = [len(split) for split in loaded[:3]]
        rule = "a missing split is cut from the training file; each row is in one split"
        require_equal(sizes, [ROWS * 9 // 10, ROWS // 10, OTHERS], rule, step=SPLITS)
        names = len(loaded.label_names) if self.task.kind == "classification" else 1
        rule = "a classification has a label for each name, and a regression has one output"
        require_equal(loaded.num_labels, names, rule, step="correct num_labels or label_names")

    def test_the_public_validation_is_the_test_when_test_labels_are_hidden(self, data: DataSpec) -> None:
        name = task_data.text_columns(self.task)[0]
        public = [f"{name}: {text}" for text in texts(OTHERS, STARTS["validation"])]
        rule = "where test labels are hidden, the public validation split is the test, whole and in its order"
        require_equal(self.task.load(data).test["text"][:], public, rule, step=SPLITS)

    def test_the_splits_are_disjoint_and_the_same_again(self, data: DataSpec, tmp_path: Path) -> None:
        first, again = self.task.load(data), self.task.load(data)
        rule = "no text stands in two splits: a test text in training would make the test score too good"
        self._require_disjoint(first, rule)
        rule = "the same rows, options and seed give the same splits"
        require_equal(_content(again), _content(first), rule, step=SPLITS)
        require_equal(again.fingerprint, first.fingerprint, rule, step="compute the digest from the splits")

    def test_a_text_that_stands_in_several_files_is_in_one_split(self, data: DataSpec) -> None:
        twice = task_data.columns(self.task, "train", 10, STARTS["validation"])
        self._write(data, "train", _joined(task_data.columns(self.task, "train", ROWS, STARTS["train"]), twice))
        loaded = self.task.load(data)
        rule = "a text that stands in two files is in one split: first in test, then in validation, then in train"
        self._require_disjoint(loaded, rule)
        found = len(loaded.test), loaded.summary.duplicates
        require_equal(found, (OTHERS, 10), f"{rule}; rows that are left out are counted", step=SPLITS)

    def test_it_says_what_its_rows_came_to(self, data: DataSpec) -> None:
        loaded = self.task.load(data)
        rule = "the summary has the rows of each split, by class where there are classes, and their source"
        for name, split in zip(("train", "validation", "test"), loaded[:3], strict=True):
            summary = loaded.summary.splits[name]
            require_equal(summary.rows, len(split), rule, step="fill in `TaskData.summary`")
            counts = Counter(loaded.label_names[label] for label in split["label"]) if loaded.label_names else {}
            seen = {label: count for label, count in summary.classes.items() if count}
            require_equal(seen, dict(counts), rule, step="fill in `SplitSummary.classes`")
        require_equal(list(loaded.summary.splits["train"].classes), list(loaded.label_names), rule, step="order by id")
        two = len(loaded.label_names) == 2
        require(
            (loaded.summary.positive in loaded.label_names) if two else loaded.summary.positive is None,
            "of two classes, the summary names the one whose F1 is the score `f1`",
            seen=loaded.summary.positive,
            step="fill in `DataSummary.positive`",
        )

    def test_the_splits_are_stratified(self, data: DataSpec) -> None:
        loaded = self.task.load(data.model_copy(update={"subset": Subset(train=30, validation=6, test=12)}))
        if self.task.kind == "regression":
            return
        shares = Counter(task_data.labels(self.task, ROWS))
        for name, split in zip(("train", "validation", "test"), loaded[:3], strict=True):
            counts = Counter(split["label"])
            expected = {label: count * len(split) / ROWS for label, count in shares.items()}
            require(
                all(abs(counts[label] - count) <= 1 for label, count in expected.items()),
                "each split has every class in its proportion, within a row",
                seen=f"{dict(counts)} in {name}, in proportion {expected}",
                step=SPLITS,
            )

    def test_a_smaller_subset_is_contained_in_a_larger_one(self, data: DataSpec) -> None:
        small, large = (
            self.task.load(data.model_copy(update={"subset": Subset(train=train, validation=4, test=8)}))
            for train in (12, 30)
        )
        rule = "a subset has as many rows as asked for, and a smaller one is contained in a larger one"
        require_equal([len(split) for split in large[:3]], [30, 4, 8], rule, step=SPLITS)
        outside = rows_of(small)[0] - rows_of(large)[0]
        require_equal(outside, set(), rule, step="order rows by a hash of seed and text before taking the first")

    def test_another_seed_gives_other_splits(self, data: DataSpec) -> None:
        first, other = (self.task.load(data.model_copy(update={"seed": seed})) for seed in (0, 1))
        require(
            rows_of(first)[1] != rows_of(other)[1] and first.fingerprint != other.fingerprint,
            "another seed gives other splits, and another digest",
            seen="the same validation rows, or the same digest, with seeds 0 and 1",
            step=SPLITS,
        )

    def test_the_order_of_rows_changes_nothing(self, data: DataSpec) -> None:
        """Rows of the training file, from which all splits that were not published are cut."""
        for split in ("validation", "test"):
            (Path(data.path or "") / f"{split}.parquet").unlink()
        before = self.task.load(data)
        turned = {name: values[::-1] for name, values in task_data.columns(self.task, "train", ROWS, 0).items()}
        self._write(data, "train", turned)
        rule = "the splits do not depend on the order of rows in the training file"
        require_equal(_content(self.task.load(data)), _content(before), rule, step=SPLITS)

    def test_digests_follow_the_content_wherever_it_is(self, data: DataSpec, tmp_path: Path) -> None:
        elsewhere = local_copy(self.task, tmp_path / "elsewhere")
        for digest in (self.task.source, lambda options: self.task.load(options).fingerprint):
            require_equal(
                digest(elsewhere),
                digest(data),
                "equal content has equal digests, wherever it lies: a cache is found by them",
                step="digest rows, not paths or times",
            )
        before = self.task.source(data), self.task.load(data).fingerprint
        changed = task_data.columns(self.task, "train", ROWS, 0)
        label = task_data.label_column(self.task)
        first, *others = changed[label]
        self._write(data, "train", {**changed, label: [next(other for other in others if other != first), *others]})
        after = self.task.source(data), self.task.load(data).fingerprint
        for name, one, other in zip(("source", "fingerprint"), before, after, strict=True):
            require(
                one != other,
                "a changed label changes the digests",
                seen=f"the same {name} of other rows",
                step="digest texts and labels",
            )

    def test_loading_leaves_no_trace(self, data: DataSpec) -> None:
        folder = Path(data.path or "")
        with random_states_kept():
            seed_all(UNLIKELY)  # else a task that seeds may leave the state that it has found
            before = random_states(), sorted(folder.iterdir())
            self.task.load(data)
            after = random_states(), sorted(folder.iterdir())
        require(
            before == after,
            "loading changes no global random state, and writes no file beside the data",
            seen="another state of `random` or `numpy.random`, or another file in the folder of the data",
            step="draw from generators of its own; return data sets in memory",
        )

    def _write(self, data: DataSpec, split: str, columns: dict[str, list[Any]]) -> None:
        task_data.write_columns(Path(data.path or "") / f"{split}.parquet", columns)

    def _require_disjoint(self, data: TaskData, rule: str) -> None:
        train, validation, test = rows_of(data)
        shared = (train & validation) | (train & test) | (validation & test)
        require(not shared, rule, seen=f"{len(shared)} texts in two splits, as {sorted(shared)[:1]}", step=SPLITS)


def _content(data: TaskData) -> list[dict[str, Any]]:
    return [split.to_dict() for split in data[:3]]


def _joined(one: dict[str, list[Any]], other: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {name: values + other[name] for name, values in one.items()}
