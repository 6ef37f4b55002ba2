"""Data of the Hub, from its cache without a network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.data_files import (
    rows_of,
    texts,
    two_columns,
    unusable,
)
from trainables.spec import DataSpec
from trainables.tasks import TaskError, find_task

pytestmark = pytest.mark.unit


def test_without_a_network_the_error_says_what_to_do() -> None:
    rule = r"'nyu-mll/glue': cannot be reached .*HF_HOME.*HF_HUB_OFFLINE=1.*data\.path"
    unusable("data.hub", rule, "rte", DataSpec())


@pytest.fixture
def cached_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSpec:
    """A data set in the Hub's cache: `nobody/tiny`, config `small`, test labels withheld."""
    import datasets

    source = tmp_path / "downloaded"
    source.mkdir()
    columns = datasets.Features(
        {"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    for split, start, count in (("train", 0, 40), ("validation", 100, 10), ("test", 200, 6)):
        labels = [-1 if split == "test" else i % 2 for i in range(count)]
        rows = datasets.Dataset.from_dict({"sentence": texts(count, start), "label": labels}, features=columns)
        rows.to_parquet(source / f"{split}.parquet")
    files = {path.stem: str(path) for path in source.glob("*.parquet")}
    datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "built"))
    info = next((tmp_path / "built").rglob("dataset_info.json"))
    cached = tmp_path / "cache" / "nobody___tiny" / "small" / "0.0.0" / ("a" * 40)
    cached.mkdir(parents=True)
    for path in info.parent.glob("*.arrow"):
        path.rename(cached / path.name.replace("parquet-", "tiny-"))
    described = json.loads(info.read_text()) | {"config_name": "small", "dataset_name": "tiny"}
    (cached / "dataset_info.json").write_text(json.dumps(described))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    return DataSpec(hub="nobody/tiny", config="small", text=("sentence",), label="label")


def test_a_hub_data_set_is_read_from_its_cache_without_a_network(cached_hub: DataSpec) -> None:
    data = find_task("text_classification").load(cached_hub)
    assert data.label_names == ("no", "yes")
    assert [len(split) for split in data[:3]] == [36, 4, 10]
    assert data.test["text"][:] == texts(10, 100)  # the test labels are hidden


def test_a_hub_data_set_is_known_by_its_content_or_by_its_commit(cached_hub: DataSpec) -> None:
    task = find_task("text_classification")
    plain = task.source(cached_hub)
    assert task.source(cached_hub) == plain
    assert task.source(cached_hub.model_copy(update={"train": "validation"})) != plain
    absent = cached_hub.model_copy(update={"hub": "nobody/absent"})
    unusable("data.hub", "cannot be reached|has no such data set", "text_classification", absent)
    with pytest.raises(TaskError, match=r"data\.hub"):
        task.source(absent)
    pinned = {task.source(absent.model_copy(update={"revision": digit * 40})) for digit in "ab"}
    assert len(pinned) == 2  # found without a look at the data set


def test_local_data_are_known_by_their_content_and_by_the_split_it_is_for(tmp_path: Path) -> None:
    options, task = two_columns(tmp_path), find_task("imdb")
    first = task.source(options)
    (tmp_path / "train.csv").rename(tmp_path / "other.csv")
    assert task.source(options.model_copy(update={"train": "other.csv"})) == first
    (tmp_path / "train.csv").write_text((tmp_path / "other.csv").read_text() + "one more,1\n")
    assert task.source(options) != first


def test_a_hub_split_can_be_named_and_an_unknown_one_names_the_nearest(cached_hub: DataSpec) -> None:
    swapped = cached_hub.model_copy(update={"train": "validation", "validation": "train", "validation_fraction": 0.2})
    data = find_task("text_classification").load(swapped)
    assert rows_of(data)[0] < {(text,) for text in texts(10, 100)}
    assert data.test["text"][:] == texts(40)
    options = cached_hub.model_copy(update={"validation": "validaton"})
    unusable("data.validation", r"'validaton': .*did you mean validation\?", "text_classification", options)


def test_an_unknown_hub_configuration_shows_the_known_ones(cached_hub: DataSpec) -> None:
    options = cached_hub.model_copy(update={"config": "smal"})
    unusable("data.config", r"'smal': .*\['small'\]", "text_classification", options)


def test_a_missing_hub_column_names_the_nearest(cached_hub: DataSpec) -> None:
    options = cached_hub.model_copy(update={"text": ("sentense",)})
    unusable("data.text", r"'sentense': .*did you mean sentence\?", "text_classification", options)
