"""No group in two splits that are cut here, cuts per search seed, and texts that two splits nearly share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from tests.support.data_files import rows_of, texts, write_csv
from trainables.data.warnings import warnings_of
from trainables.spec import DataSpec, Subset
from trainables.tasks import TaskData, TaskError, find_task
from tuning import load_spec
from tuning.report.data_summary import data_lines
from tuning.spec.mistakes import SpecError

pytestmark = pytest.mark.unit

RANDOM = {"kind": "random", "trials": 2, "space": {"learning_rate": {"loguniform": [1e-5, 1e-4]}}}
GROUPED = DataSpec(text=("text",), label="label", group="author")


def load(options: DataSpec) -> TaskData:
    assert find_task("text_classification").check(options) == []
    return find_task("text_classification").load(options)


def written(folder: Path, groups: list[Any], labels: list[Any] | None = None, name: str = "train") -> DataSpec:
    rows = len(groups)
    start = {"train": 0, "validation": 1000, "test": 2000}[name]
    columns = {"text": texts(rows, start), "label": labels or [i % 2 for i in range(rows)], "author": groups}
    write_csv(folder / f"{name}.csv", columns)
    return GROUPED.model_copy(update={"path": str(folder)})


def authors(data: TaskData, groups: Mapping[str, str]) -> list[set[str]]:
    return [{groups[text] for text in split["text"]} for split in data[:3]]


@pytest.mark.parametrize("seed", range(8))
def test_no_group_stands_in_two_splits_and_sizes_and_classes_are_nearly_as_asked(tmp_path: Path, seed: int) -> None:
    sizes = [1, 2, 3, 4, 5] * 20
    names = [f"author {i}" for i, size in enumerate(sizes) for _ in range(size)]
    options = written(tmp_path, names, [int(i % 3 == 0) for i in range(300)]).model_copy(update={"seed": seed})
    data = load(options)
    inside = authors(data, dict(zip(texts(300), names, strict=True)))
    assert sum(map(len, inside)) == len(set.union(*inside)) == 100
    for split, size in zip(data[:3], (210, 30, 60), strict=True):
        assert abs(len(split) - size) <= 4
        assert abs(sum(split["label"]) - len(split) / 3) <= 3
    assert (data.summary.groups, data.summary.shared_groups, data.summary.shared_rows) == (100, 0, {})
    assert rows_of(data) == rows_of(load(options))
    assert rows_of(data) != rows_of(load(options.model_copy(update={"seed": seed + 1})))


def test_groups_of_one_row_are_cut_as_large_as_rows_are(tmp_path: Path) -> None:
    options = written(tmp_path, [f"row {i}" for i in range(200)], [int(i % 10 == 0) for i in range(200)])
    grouped, plain = load(options), load(options.model_copy(update={"group": None}))
    assert [Counter(split["label"]) for split in grouped[:3]] == [Counter(split["label"]) for split in plain[:3]]


def test_rows_without_a_group_are_refused_with_their_lines_before_a_run(tmp_path: Path) -> None:
    names: list[Any] = [f"author {i % 9}" for i in range(60)]
    names[5] = names[17] = None
    options = written(tmp_path, names)
    ((path, message),) = find_task("text_classification").check(options)
    assert path == "data.group"
    assert "2 rows have no group" in message
    assert "lines 7 and 19 of" in message
    given = {"name": "grouped", "task": "text_classification", "model": "minilm", "epochs": 1, "strategies": [RANDOM]}
    data = options.model_dump(exclude_defaults=True)
    with pytest.raises(SpecError, match=r"data\.group: .*lines 7 and 19 of"):
        load_spec({**given, "data": data})


@pytest.mark.parametrize(
    ("group", "part"),
    [("autor", r"no such column.*author"), ("label", "is the label column"), ("id", "no such column")],
)
def test_a_column_of_groups_that_is_none_is_refused(tmp_path: Path, group: str, part: str) -> None:
    options = written(tmp_path, [f"author {i % 9}" for i in range(60)]).model_copy(update={"group": group})
    with pytest.raises(TaskError, match=part):
        find_task("text_classification").load(options)


@pytest.mark.parametrize("names", [["all"] * 60, ["a", "b"] * 30])
def test_too_few_groups_for_three_splits_are_refused(tmp_path: Path, names: list[str]) -> None:
    options = written(tmp_path, names, [i // 2 % 2 for i in range(60)])
    with pytest.raises(TaskError, match=rf"data\.group: 'author': has too few groups of rows.*\({len(set(names))}\)"):
        find_task("text_classification").load(options)


def test_a_class_that_few_groups_hold_stands_in_each_split(tmp_path: Path) -> None:
    names = [f"author {i // 4}" for i in range(120)]
    labels = [int(i // 4 in (3, 11, 20)) for i in range(120)]
    for seed in range(5):
        data = load(written(tmp_path, names, labels).model_copy(update={"seed": seed}))
        assert all(set(split["label"]) == {0, 1} for split in data[:3])


def test_groups_of_published_splits_are_left_and_their_rows_are_reported(tmp_path: Path) -> None:
    options = written(tmp_path, [f"author {i // 4}" for i in range(60)])
    written(tmp_path, ["author 0", "author 1", *(f"other {i}" for i in range(8))], name="validation")
    written(tmp_path, ["author 0", "author 0", *(f"other {i}" for i in range(18))], name="test")
    data = load(options)
    summary = data.summary
    assert [len(split) for split in data[:3]] == [60, 10, 20]
    # author 0 in all three, author 1 in two, and other 0 to 7 in validation and test
    assert (summary.groups, summary.shared_groups) == (15 + 18, 2 + 8)
    assert summary.shared_rows == {"validation": 2, "test": 2}
    assert "  groups: 33 of author, 10 in two splits" in list(data_lines(summary, "accuracy"))
    (told,) = (warning for warning in warnings_of(summary) if "author" in warning)
    assert told.startswith("2 of 10 validation rows and 2 of 20 test rows share their author with training rows")


@pytest.mark.data
def test_real_rte_by_premise(real_data: Path) -> None:
    options, task = DataSpec(path=str(real_data / "rte"), seed=0), find_task("rte")
    published = set(pq.read_table(real_data / "rte" / "validation.parquet")["sentence1"].to_pylist())
    for given, shared in ((None, {}), ("premise", None)):
        data = task.load(options.model_copy(update={"group": given}))
        train, validation = (set(split["text"]) for split in data[:2])
        if given is None:
            assert train & validation
            assert data.summary.shared_rows == shared
            continue
        assert not train & validation
        assert abs(len(data.validation) - 249) <= 2
        assert data.summary.group == "sentence1"
        assert data.summary.shared_rows.get("test", 0) == sum(text in train for text in data.test["text"])
        assert set(data.test["text"]) == published


def test_each_search_seed_has_a_cut_of_its_own_and_all_have_one_test_split(tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", {"text": texts(200), "label": [i % 2 for i in range(200)]})
    plain = DataSpec(path=str(tmp_path), text=("text",), label="label", subset=Subset(train=100))
    given = plain.model_copy(update={"split_seed": "per_seed"})
    cuts = [load(given.cut_for(seed)) for seed in range(3)]
    assert rows_of(cuts[0]) == rows_of(load(plain))
    assert all(cut.test["text"][:] == cuts[0].test["text"][:] for cut in cuts)
    validated = [set(cut.validation["text"]) for cut in cuts]
    assert len({frozenset(rows) for rows in validated}) == 3
    assert all([len(split) for split in cut[:3]] == [100, 20, 40] for cut in cuts)
    assert all(not rows_of(cut)[0] & rows_of(cut)[1] for cut in cuts)


def test_a_published_validation_split_has_no_cut_to_draw(tmp_path: Path) -> None:
    for name, rows in (("train", 60), ("validation", 20)):
        written(tmp_path, [f"author {i}" for i in range(rows)], name=name)
    for seed in ("per_seed", 3):
        options = DataSpec(path=str(tmp_path), text=("text",), label="label", split_seed=seed)
        ((path, message),) = find_task("text_classification").check(options)
        assert path == "data.split_seed"
        assert "the validation split is published" in message


def test_every_cut_of_the_seeds_is_checked_before_a_run_and_trials_are_given_theirs(tmp_path: Path) -> None:
    options = written(tmp_path, [f"author {i // 4}" for i in range(120)])
    data = {**options.model_dump(exclude_defaults=True), "split_seed": "per_seed"}
    given = {"name": "cuts", "task": "text_classification", "model": "minilm", "epochs": 1, "strategies": [RANDOM]}
    spec = load_spec({**given, "data": data, "seeds": [0, 4]})
    assert [spec.trial_spec(seed).data.split_seed for seed in spec.seeds] == [0, 4]
    assert load_spec(yaml.safe_load(spec.to_yaml())) == spec
    unlucky = GROUPED.model_copy(update={"path": str(tmp_path), "split_seed": "per_seed"})
    few = written(tmp_path, [f"author {i // 60}" for i in range(120)])
    assert few.path == unlucky.path
    with pytest.raises(SpecError, match=r"data\.group: 'author': has too few groups"):
        load_spec({**given, "data": data, "seeds": [0, 4]})


def test_a_spec_without_the_new_words_keeps_its_digest_and_its_text(tmp_path: Path) -> None:
    options = written(tmp_path, [f"author {i}" for i in range(60)]).model_copy(update={"group": None})
    given = {"name": "older", "task": "text_classification", "model": "minilm", "epochs": 1, "strategies": [RANDOM]}
    spec = load_spec({**given, "data": options.model_dump(exclude_defaults=True)})
    assert not {"group", "split_seed"} & spec.decisive()["data"].keys()
    assert not {"group", "split_seed"} & spec.plain()["data"].keys()
    named = load_spec(spec, {"data.group": "author"})
    assert named.digest() != spec.digest()
    assert named.plain()["data"]["group"] == "author"


def test_texts_that_differ_in_case_punctuation_and_blanks_alone_are_counted_and_kept(tmp_path: Path) -> None:
    train = ["A fine film!", "Dull, slow.", "?!", *texts(40)]
    test = ["a fine  film", "dull slow", "!?", "A fine filn!", *texts(16, 2000)]
    validation = ["A FINE FILM.", *texts(19, 1000)]
    for name, rows in (("train", train), ("validation", validation), ("test", test)):
        write_csv(tmp_path / f"{name}.csv", {"text": rows, "label": [i % 2 for i in range(len(rows))]})
    data = load(DataSpec(path=str(tmp_path), text=("text",), label="label"))
    assert data.summary.near_duplicates == {"validation": 1, "test": 2}
    assert data.summary.duplicates == 0
    assert [len(split) for split in data[:3]] == [43, 20, 20]
    lines = list(data_lines(data.summary, "accuracy"))
    told = "near-duplicates: 1 row of validation and 2 rows of test as in another split but for case, punctuation or"
    assert any(told in line for line in lines)
    assert any("1 of 20 validation rows differ" in line for line in lines)
