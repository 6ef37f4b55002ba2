"""The contract of every kind of task: disjoint splits that follow from rows, options and seed; tokens; scores."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from trainables.spec import DataSpec, Subset
from trainables.tasks import Task, TaskData, TaskError, find_tasks
from tuning.testing import task_data
from tuning.testing.random_states import random_states, random_states_kept, seed_all
from tuning.testing.rules import require, require_equal, require_refused
from tuning.testing.task_data import OTHERS, ROWS, STARTS, TOKENS, local_copy, rows_of, texts, word_tokenizer

SPLITS = "draw splits by trainables.tasks.splits, from the rows, the options and the seed alone"
READ = "read rows by trainables.tasks.sources"
UNLIKELY = 1_234_577  # a seed that no task takes
SHORT, LONG = 8, 64  # tokens


class TaskContract:
    """Tests of one task.

    A subclass states `task`:

        class TestMine(TaskContract):
            task = MyTask(name="mine", ...)

    Attributes:
        task: the task to test. It reads Parquet files in its own columns, as every task does from `data.path`.
        installed: false for a task that is in no file of trainables/tasks yet, so that its name does not find it.
    """

    task: ClassVar[Task]
    installed: ClassVar[bool] = True

    @pytest.fixture
    def data(self, tmp_path: Path) -> DataSpec:
        """Writes files in the columns of the task: train and validation with labels, test with hidden ones."""
        return local_copy(self.task, tmp_path / "data")

    @pytest.fixture(scope="class")
    @classmethod
    def tokenizer(cls) -> Any:
        """Returns a tokenizer whose tokens are words."""
        return word_tokenizer()

    # What it is

    def test_it_is_found_by_its_name(self) -> None:
        found = find_tasks().get(self.task.name)
        require(
            found == self.task or (found is None and not self.installed),
            "a task is found by its name, and no other has that name",
            seen=f"{self.task.name!r} is {found}",
            step="put it into TASKS of a file in trainables/tasks, under a name that is free",
        )

    def test_it_says_what_it_is(self) -> None:
        task = self.task
        lines = task.summary.strip().splitlines()
        require(len(lines) == 1, "a task has a summary of one line", seen=repr(task.summary), step="shorten it")
        require(
            task.kind in ("classification", "regression"),
            "a task is a classification or a regression",
            seen=task.kind,
            step="set `kind`",
        )
        require(
            task.objective.metric in task.metric_names,
            "a task's objective is one of its metrics",
            seen=f"{task.objective.metric} of {task.metric_names}",
            step="correct `objective` or `metric_names`",
        )

    # Options

    def test_its_preset_says_what_it_lacks(self) -> None:
        problems = self.task.check(DataSpec())
        require(
            all(path.startswith("data.") and message for path, message in problems),
            "`check` returns pairs of an option of `data` and a message",
            seen=problems,
            step="name what its user sets",
        )

    def test_a_users_option_goes_before_the_presets(self) -> None:
        preset = self.task.options(DataSpec())
        rule = "an option of the user goes before the preset's, and the rest of the preset stays"
        changed = self.task.options(DataSpec(text=("mine",), seed=3))
        expected = preset.model_copy(update={"text": ("mine",), "seed": 3})
        require_equal(changed, expected, rule, step="mend `options`")
        rule = "a file or another data set of the user replaces the preset's source altogether"
        for given, gone in ((DataSpec(path="here"), ("hub", "config", "source")), (DataSpec(hub="a/b"), ("config",))):
            left = {name: value for name in gone if (value := getattr(self.task.options(given), name)) is not None}
            require_equal(left, {}, rule, step="mend `options`")
        rule = "options that are written out in full mean the same"
        full = DataSpec.model_validate(DataSpec(seed=3).model_dump())
        require_equal(self.task.options(full), self.task.options(DataSpec(seed=3)), rule, step="leave out what is None")

    # Splits

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

    # Tokens

    def test_it_tokenises_to_what_a_model_takes(self, data: DataSpec, tokenizer: Any) -> None:
        split = self.task.load(data).validation
        short, long = (self.task.tokenize(split, tokenizer, length) for length in (SHORT, LONG))
        columns = {"input_ids", "attention_mask", "token_type_ids", "labels", "length", "full_length"}
        rule = "tokens come with attention mask, token types, labels, length and full_length"
        require_equal(set(short.column_names), columns, rule, step="mend `tokenize`")
        rule = "a text is truncated to the length that is asked for, and not padded"
        for tokens, most in ((short, SHORT), (long, LONG)):
            lengths = [len(ids) for ids in tokens["input_ids"]]
            require_equal(tokens["length"][:], lengths, "`length` is the number of tokens", step="mend `tokenize`")
            require(max(lengths) <= most, rule, seen=f"{max(lengths)} of {most}", step="pass truncation and max_length")
        require(max(long["length"]) < LONG, rule, seen=long["length"][:], step="leave padding to the training")
        rule = "the tokens are those of the split's texts, in its order"
        names = [name for name in ("text", "text_pair") if name in split.column_names]
        expected = [tokenizer(*(row[name] for name in names))["input_ids"] for row in split]
        require_equal(long["input_ids"][:], expected, rule, step="tokenise text and text_pair, row by row")
        rule = "`full_length` is the number of tokens before truncation"
        require_equal(short["full_length"][:], list(map(len, expected)), rule, step="count them before truncating")
        rule = "labels are those of the split, in its order: whole numbers of classes, or numbers"
        require_equal(short["labels"][:], split["label"][:], rule, step="mend `tokenize`")
        wanted = float if self.task.kind == "regression" else int
        require_equal({type(label) for label in short["labels"]}, {wanted}, rule, step="mend the label's feature")

    def test_more_tokens_than_the_model_takes_are_refused(self, data: DataSpec, tokenizer: Any) -> None:
        split = self.task.load(data).validation
        rule = "more tokens than the model takes are refused"
        with require_refused(TaskError, r"data\.max_length.*at most", rule, step="look at tokenizer.model_max_length"):
            self.task.tokenize(split, tokenizer, TOKENS + 1)

    # Scores

    def test_perfect_predictions_score_best(self) -> None:
        import numpy as np

        rng = np.random.default_rng(0)
        labels = rng.integers(0, 2, 50)
        perfect = self._predictions(labels)
        scores = self.task.metrics(perfect, labels)
        rule = "`metrics` returns the scores that `metric_names` tells, as finite numbers"
        require_equal(tuple(scores), self.task.metric_names, rule, step="correct `metric_names`")
        finite = all(type(score) is float and math.isfinite(score) for score in scores.values())
        require(finite, rule, seen=scores, step="return Python's float")
        sign = 1 if self.task.objective.mode == "max" else -1
        metric = self.task.objective.metric
        for share in (0.1, 0.5, 1.0):
            wrong = np.where(rng.random(50) < share, 1 - labels, labels)
            other = self.task.metrics(self._predictions(wrong), labels)[metric]
            require(
                sign * other < sign * scores[metric],
                "perfect predictions have the best score of the objective",
                seen=f"{metric} {scores[metric]} of perfect ones, {other} of others; mode {self.task.objective.mode}",
                step="correct `metrics`, or `objective.mode`",
            )

    def test_a_diverged_model_scores_nan(self) -> None:
        import numpy as np

        labels = np.array([0, 1, 0, 1])
        for value in (math.nan, math.inf):
            predictions = self._predictions(labels)
            predictions[1] = value
            scores = self.task.metrics(predictions, labels)
            require(
                all(math.isnan(score) for score in scores.values()),
                "a model that predicts NaN or infinity has NaN for every score: it must not look like a guessing one",
                seen=f"{scores} with {value} among the predictions",
                step="look at np.isfinite(predictions) first",
            )

    # Data that cannot be used

    def test_data_that_cannot_be_used_are_refused_by_the_name_of_the_option(self, data: DataSpec) -> None:
        sound = {split: (Path(data.path or "") / f"{split}.parquet").read_bytes() for split in STARTS}
        for (option, wrong), options in self._unusable(data):
            rule = f"{wrong} is refused by `{option}`, with the next step"
            try:
                self.task.load(options)
            except TaskError as error:
                require(error.name == option and error.next_step, rule, seen=error, step=READ)
            else:
                require(False, rule, seen="it was loaded", step=READ)
            problems, early = self.task.check(options), f"{rule}, also by `check`, before a run starts"
            require([path for path, _ in problems] == [option], early, seen=problems, step="mend `check`")
            for split, content in sound.items():
                (Path(data.path or "") / f"{split}.parquet").write_bytes(content)

    def _unusable(self, data: DataSpec) -> Iterator[tuple[tuple[str, str], DataSpec]]:
        """Yields options that are wrong, with the message and such data."""
        task, folder = self.task, Path(data.path or "")
        sound = task_data.columns(task, "train", ROWS, 0)
        text, label = task_data.text_columns(task)[-1], task_data.label_column(task)
        names = (*task_data.text_columns(task)[:-1], "no_such_column")
        yield ("data.path", "a folder that is not there"), data.model_copy(update={"path": f"{folder}-away"})
        yield ("data.text", "a text column that is not there"), data.model_copy(update={"text": names})
        yield ("data.label", "a label column that is not there"), data.model_copy(update={"label": "no_such"})
        yield ("data.train", "a file that is not there"), data.model_copy(update={"train": "away.parquet"})
        (folder / "train.parquet").write_bytes(b"no parquet")
        yield ("data.path", "a file that cannot be read"), data
        self._write(data, "train", {name: values[:0] for name, values in sound.items()})
        yield ("data.train", "an empty training file"), data
        self._write(data, "train", {**sound, text: [None, *sound[text][1:]]})
        yield ("data.text", "a row without a text"), data
        self._write(data, "train", {**sound, label: [None, *sound[label][1:]]})
        yield ("data.label", "a training row without a label"), data
        self._write(data, "train", {**sound, label: [sound[label][1]] * ROWS})
        yield ("data.label", "a label that does not vary"), data
        larger = data.model_copy(update={"subset": Subset(validation=ROWS)})
        yield ("data.subset.validation", "a subset larger than its split"), larger

    def _write(self, data: DataSpec, split: str, columns: dict[str, list[Any]]) -> None:
        task_data.write_columns(Path(data.path or "") / f"{split}.parquet", columns)

    def _require_disjoint(self, data: TaskData, rule: str) -> None:
        train, validation, test = rows_of(data)
        shared = (train & validation) | (train & test) | (validation & test)
        require(not shared, rule, seen=f"{len(shared)} texts in two splits, as {sorted(shared)[:1]}", step=SPLITS)

    def _predictions(self, labels: Any) -> Any:
        """Returns the outputs of a model that mean these labels, 0 or 1."""
        import numpy as np

        return labels[:, None].astype(float) if self.task.kind == "regression" else np.eye(2)[labels]


def _content(data: TaskData) -> list[dict[str, Any]]:
    return [split.to_dict() for split in data[:3]]


def _joined(one: dict[str, list[Any]], other: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {name: values + other[name] for name, values in one.items()}
