"""Metrics of the library `evaluate` in what is shipped: used or not, a slot gets them as they were loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import evaluate
import pytest

from trainables.user_trainer.shipped import load_shipped, ship

pytestmark = pytest.mark.unit

ROWS = {"predictions": [1, 0, 1, 1], "references": [1, 0, 0, 1]}


class Exact(evaluate.Metric):  # type: ignore[misc]
    """The share of predictions that are right, as `evaluate.load("accuracy")` has it."""

    def _info(self) -> Any:
        features = datasets.Features({name: datasets.Value("int32") for name in ROWS})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        right = sum(one == other for one, other in zip(predictions, references, strict=True))
        return {"exact": right / len(references)}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which metrics of this machine write rows."""
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return str(tmp_path / "runs")


@pytest.mark.parametrize("keep_in_memory", [False, True])
def test_a_metric_that_has_computed_is_shipped_as_it_was_loaded(keep_in_memory: bool, storage: str) -> None:
    metric = Exact(keep_in_memory=keep_in_memory, seed=7)
    assert metric.compute(**ROWS) == {"exact": 0.75}  # a baseline, before the search
    metric.add_batch(predictions=[1], references=[1])  # of a computation that is not finished
    again = load_shipped(ship(lambda scored: metric.compute(**scored), storage, "trainer"))
    assert again(ROWS) == {"exact": 0.75}
    assert again(ROWS) == {"exact": 0.75}
    assert metric.compute() == {"exact": 1.0}  # the user's own goes on where it was
    fresh = load_shipped(ship(metric, storage, "metric"))
    assert (len(fresh), fresh.seed, fresh.keep_in_memory) == (0, 7, keep_in_memory)


def test_a_bound_method_and_combined_metrics_are_shipped_after_a_computation(storage: str) -> None:
    both = evaluate.combine({"one": Exact(), "other": Exact()}, force_prefix=True)
    for compute in (Exact().compute, both.compute):
        expected = compute(**ROWS)
        assert load_shipped(ship({"compute": compute}, storage, "trainer"))["compute"](**ROWS) == expected


def test_a_metric_writes_its_rows_on_the_machine_where_it_computes(
    storage: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = {"default": ship(Exact(), storage, "metric")}
    named["own"] = ship(Exact(cache_dir=str(tmp_path / "own")), storage, "metric")
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", tmp_path / "node")
    for folder, name in (("node", named["default"]), ("own", named["own"])):
        metric = load_shipped(name)
        assert Path(metric.data_dir).is_relative_to(tmp_path / folder)
        assert metric.compute(**ROWS) == {"exact": 0.75}
    assert str(cache).encode() not in Path(named["default"].removeprefix("shipped:")).read_bytes()
