"""The embedded reviews, and the real RTE and IMDB where they are at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from trainables.spec import DataSpec, Subset
from trainables.tasks import find_task

pytestmark = pytest.mark.unit


def test_reviews_come_from_the_package_and_are_shuffled_and_stratified() -> None:
    data = find_task("reviews").load(DataSpec())
    assert [len(split) for split in data[:3]] == [5971, 853, 1706]
    assert data.label_names == ("negative", "positive")
    for split in data[:3]:
        assert abs(np.mean(split["label"]) - 0.5) < 1e-3
        assert 0.3 < np.mean(split["label"][:100]) < 0.7  # the file is sorted by label


def test_reviews_hold_the_imdb_rows_too() -> None:
    subset = Subset(train=2000, validation=1000, test=1000)
    data = find_task("reviews").load(DataSpec(source="imdb", subset=subset))
    assert [len(split) for split in data[:3]] == [2000, 1000, 1000]
    assert data.summary.duplicates == 96
    assert [sum(split["label"]) for split in data[:3]] == pytest.approx([1000, 500, 500], abs=2)


@pytest.mark.data
def test_real_rte_takes_its_public_validation_as_test(real_data: Path) -> None:
    options = DataSpec(path=str(real_data / "rte"))
    task = find_task("rte")
    assert task.check(options) == []
    data = task.load(options)
    public = pq.read_table(real_data / "rte" / "validation.parquet")
    assert data.test["text"][:] == public["sentence1"].to_pylist()
    assert data.test["label"][:] == public["label"].to_pylist()
    assert [len(split) for split in data[:3]] == [2239, 249, 277]
    assert (data.label_names, data.summary.duplicates) == (("entailment", "not_entailment"), 2)
    assert abs(np.mean(data.validation["label"]) - np.mean(data.train["label"])) < 0.005


@pytest.mark.data
def test_real_imdb_cuts_its_validation_from_train(real_data: Path) -> None:
    subset = Subset(train=2000, validation=500)
    data = find_task("imdb").load(DataSpec(path=str(real_data / "imdb"), subset=subset))
    assert [len(split) for split in data[:3]] == [2000, 500, 2500]
    assert [sum(split["label"]) for split in data[:3]] == [1000, 250, 1250]
    assert data.label_names == ("neg", "pos")
