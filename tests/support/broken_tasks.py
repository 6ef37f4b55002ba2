"""Tasks that break one rule of their contract each; but for that they classify one text."""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from trainables.spec import DataSpec, Objective
from trainables.tasks import TaskData, TaskError
from trainables.tasks.text_classification import TextClassification

DATA = DataSpec(hub="me/mine", config="a", text=("text",), label="label")
ACCURACY = Objective(metric="accuracy", mode="max")


@dataclass(frozen=True)
class Sound(TextClassification):
    """A task that breaks no rule."""

    name: str = "sound"
    summary: str = "one text, two classes"
    data: DataSpec = DATA
    objective: Objective = ACCURACY


class Changed(Sound):
    """A task whose splits are what `change` makes of them."""

    def change(self, loaded: TaskData, data: DataSpec) -> TaskData:
        raise NotImplementedError

    def load(self, data: DataSpec) -> TaskData:
        return self.change(super().load(data), data)


class FindsFaultWithAll(Sound):
    def check(self, data: DataSpec) -> list[tuple[str, str]]:
        return [("somewhere", "something is wrong")]


class KeepsItsSource(Sound):
    def options(self, data: DataSpec) -> DataSpec:
        return super().options(data).model_copy(update={"hub": self.data.hub, "config": self.data.config})


class ForgetsTheUser(Sound):
    def options(self, data: DataSpec) -> DataSpec:
        return super().options(data).model_copy(update={"text": self.data.text})


class LosesAColumn(Changed):
    def change(self, loaded: TaskData, data: DataSpec) -> TaskData:
        return loaded._replace(test=loaded.test.remove_columns("label"))


class MiscountsLabels(Changed):
    def change(self, loaded: TaskData, data: DataSpec) -> TaskData:
        return loaded._replace(num_labels=3)


class MiscountsInItsSummary(Changed):
    def change(self, loaded: TaskData, data: DataSpec) -> TaskData:
        train = loaded.summary.splits["train"].model_copy(update={"rows": 1})
        splits = {**loaded.summary.splits, "train": train}
        return loaded._replace(summary=loaded.summary.model_copy(update={"splits": splits}))


class NamesNoPositiveClass(Changed):
    def change(self, loaded: TaskData, data: DataSpec) -> TaskData:
        return loaded._replace(summary=loaded.summary.model_copy(update={"positive": None}))


class ReordersTheTest(Changed):
    def change(self, loaded: TaskData, data: DataSpec) -> TaskData:
        return loaded._replace(test=loaded.test.select(range(len(loaded.test))[::-1]))


class TrainsOnTheTest(Changed):
    def change(self, loaded: TaskData, data: DataSpec) -> TaskData:
        from datasets import concatenate_datasets

        return loaded._replace(train=concatenate_datasets([loaded.train, loaded.test]))


class HasAnotherDigestEachTime(Changed):
    def change(self, loaded: TaskData, data: DataSpec) -> TaskData:
        return loaded._replace(fingerprint=uuid.uuid4().hex)


class ForgetsTheSeedInItsDigest(Changed):
    def change(self, loaded: TaskData, data: DataSpec) -> TaskData:
        return loaded._replace(fingerprint="-".join(("of", "all", "seeds")))


class ShufflesAnew(Changed):
    def change(self, loaded: TaskData, data: DataSpec) -> TaskData:
        order = sorted(range(len(loaded.train)), key=lambda _: uuid.uuid4().int)
        return loaded._replace(train=loaded.train.select(order))


class SortsByLabel(Changed):
    """Sorts rows by label, so that a part of them is of one class."""

    def change(self, loaded: TaskData, data: DataSpec) -> TaskData:
        order = sorted(range(len(loaded.train)), key=loaded.train["label"][:].__getitem__)
        half = loaded.train.select(order[: len(order) // 2])
        return loaded._replace(train=half)


class DrawsSubsetsAnew(Sound):
    def load(self, data: DataSpec) -> TaskData:
        loaded, wanted = super().load(data), data.subset.train
        if wanted is None:
            return loaded
        whole = super().load(data.model_copy(update={"subset": DataSpec().subset})).train
        return loaded._replace(train=whole.select(random.Random(wanted).sample(range(len(whole)), wanted)))


class IgnoresTheSeed(Sound):
    def load(self, data: DataSpec) -> TaskData:
        return super().load(data.model_copy(update={"seed": 0}))


class FollowsTheFirstRow(Sound):
    def load(self, data: DataSpec) -> TaskData:
        import pyarrow.parquet as pq

        first = pq.read_table(Path(data.path or "") / "train.parquet")["text"][0].as_py()
        return super().load(data.model_copy(update={"seed": sum(map(ord, first))}))


class DigestsThePath(Sound):
    def source(self, data: DataSpec) -> str:
        return str(data.path)


class WritesBesideTheData(Sound):
    def load(self, data: DataSpec) -> TaskData:
        (Path(data.path or "") / "cache").write_text("")
        return super().load(data)


class SeedsTheGlobalState(Sound):
    def load(self, data: DataSpec) -> TaskData:
        random.seed(data.seed)
        return super().load(data)


class Padded(Sound):
    def tokenize(self, split: Any, tokenizer: Any, max_length: int) -> Any:
        tokens = super().tokenize(split, tokenizer, max_length)
        padded = [[*ids, *[0] * (max_length - len(ids))] for ids in tokens["input_ids"]]
        return tokens.remove_columns("input_ids").add_column("input_ids", padded)


class DropsTheLabels(Sound):
    def tokenize(self, split: Any, tokenizer: Any, max_length: int) -> Any:
        return super().tokenize(split, tokenizer, max_length).remove_columns("labels")


class CountsWhatIsLeft(Sound):
    """Counts the tokens before truncation as those after it, so that nothing ever seems to be cut."""

    def tokenize(self, split: Any, tokenizer: Any, max_length: int) -> Any:
        tokens = super().tokenize(split, tokenizer, max_length)
        return tokens.remove_columns("full_length").add_column("full_length", tokens["length"][:])


class TokenisesTooMuch(Sound):
    def tokenize(self, split: Any, tokenizer: Any, max_length: int) -> Any:
        return super().tokenize(split, tokenizer, min(max_length, tokenizer.model_max_length))


class ScoresUpsideDown(Sound):
    def metrics(self, predictions: np.ndarray, labels: np.ndarray, positive: int | None = None) -> dict[str, float]:
        return super().metrics(-predictions, labels, positive)


class HidesDivergence(Sound):
    def metrics(self, predictions: np.ndarray, labels: np.ndarray, positive: int | None = None) -> dict[str, float]:
        return super().metrics(np.nan_to_num(predictions), labels, positive)


class NamesAnotherOption(Sound):
    def load(self, data: DataSpec) -> TaskData:
        try:
            return super().load(data)
        except TaskError as error:
            raise TaskError("data", error.value, error.rule, error.next_step) from None


class LoadsAnything(Sound):
    """Leaves rows without a label out in silence."""

    def encode(self, splits: Mapping[str, Any]) -> Any:
        sound = {}
        for name, split in splits.items():
            kept = [i for i, label in enumerate(split.labels or ()) if label is not None]
            sound[name] = split.take(kept)
        return super().encode(sound)


class ChecksNoRows(Sound):
    """Checks no rows, so that a run is the first to find out."""

    def check(self, data: DataSpec) -> list[tuple[str, str]]:
        return [] if super().check(data) and Path(data.path or "").is_dir() else super().check(data)


class NoMetricOfItsOwn(Sound):
    metric_names: ClassVar[tuple[str, ...]] = ("f1",)


TAKES_ANOTHERS_NAME = Sound(name="imdb")
TALKS_TOO_MUCH = replace(Sound(), summary="one text,\ntwo classes")
