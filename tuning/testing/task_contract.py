"""The contract of every kind of task: disjoint splits that follow from rows, options and seed; tokens; scores."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from trainables.spec import DataSpec, Subset
from trainables.tasks import TaskError, find_tasks
from tuning.testing import task_data
from tuning.testing.rules import require, require_equal, require_refused
from tuning.testing.split_contract import SplitContract
from tuning.testing.task_data import ROWS, STARTS, TOKENS, word_tokenizer

READ = "read rows by trainables.tasks.sources"
SHORT, LONG = 8, 64  # tokens


class TaskContract(SplitContract):
    """Tests of one task.

    A subclass states `task`:

        class TestMine(TaskContract):
            task = MyTask(name="mine", ...)

    Attributes:
        task: the task to test. It reads Parquet files in its own columns, as every task does from `data.path`.
        installed: false for a task that is in no file of trainables/tasks yet, so that its name does not find it.
    """

    installed: ClassVar[bool] = True

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

    def _predictions(self, labels: Any) -> Any:
        """Returns the outputs of a model that mean these labels, 0 or 1."""
        import numpy as np

        return labels[:, None].astype(float) if self.task.kind == "regression" else np.eye(2)[labels]
