"""Three splits from whatever was published: sizes, strata, duplicates, what stays as it is."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.support.data_files import (
    five_classes,
    rows_of,
    texts,
    write_csv,
)
from trainables.spec import DataSpec, Subset
from trainables.tasks import find_task
from trainables.tasks.splits import allocate


@pytest.mark.unit
def test_a_five_class_csv_works_with_a_spec_alone(tmp_path: Path) -> None:
    data = find_task("text_classification").load(five_classes(tmp_path))
    assert data.label_names == ("art", "food", "politics", "science", "sport")
    assert [len(split) for split in data[:3]] == [70, 10, 20]
    everything = Counter(label for split in data[:3] for label in split["label"])
    for split in data[:3]:
        for label, count in Counter(split["label"]).items():
            assert abs(count - everything[label] * len(split) / 100) <= 1


@pytest.mark.system
def test_the_fingerprint_is_the_same_in_another_process_and_at_another_path(tmp_path: Path) -> None:
    first = five_classes(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    second = five_classes(tmp_path / "elsewhere")
    program = (
        "from trainables.spec import DataSpec; from trainables.tasks import find_task\n"
        f"print(find_task('text_classification').load(DataSpec(**{second.model_dump(exclude_defaults=True)!r})).fingerprint)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == find_task("text_classification").load(first).fingerprint


@pytest.mark.unit
def test_a_smaller_subset_is_contained_in_a_larger_one_and_stratified(tmp_path: Path) -> None:
    options, task = five_classes(tmp_path, 210), find_task("text_classification")
    small, large = (
        task.load(options.model_copy(update={"subset": Subset(train=n, validation=7, test=14)})) for n in (35, 70)
    )
    assert [len(split) for split in large[:3]] == [70, 7, 14]
    assert rows_of(small)[0] < rows_of(large)[0]
    assert sorted(Counter(large.train["label"]).values()) == [10, 10, 10, 10, 30]
    assert sorted(Counter(large.test["label"]).values()) == [2, 2, 2, 2, 6]


@pytest.mark.unit
def test_one_text_never_stands_in_two_splits(tmp_path: Path) -> None:
    train = texts(40) * 2
    write_csv(tmp_path / "train.csv", {"text": train, "label": [i % 2 for i in range(80)]})
    write_csv(tmp_path / "validation.csv", {"text": texts(10, 35), "label": [i % 2 for i in range(10)]})
    write_csv(tmp_path / "test.csv", {"text": [*texts(6, 42), *texts(2, 0)], "label": [i % 2 for i in range(8)]})
    data = find_task("imdb").load(DataSpec(path=str(tmp_path)))
    rows = rows_of(data)
    assert len(set().union(*rows)) == sum(map(len, rows))
    assert len(data.test) == 8  # the published test split stays whole
    assert len(data.validation) == 7  # three of its texts are in test
    assert len(data.train) == 33  # 40 distinct, 5 in validation, 2 in test
    assert data.summary.duplicates == 3 + 47


@pytest.mark.unit
def test_published_splits_stay_as_they_are(tmp_path: Path) -> None:
    for split, start in (("train", 0), ("dev", 100), ("test", 200)):
        write_csv(tmp_path / f"{split}.csv", {"text": texts(12, start), "label": [i % 2 for i in range(12)]})
    data = find_task("imdb").load(DataSpec(path=str(tmp_path)))
    assert [split["text"][:] for split in data[:3]] == [texts(12, start) for start in (0, 100, 200)]
    assert data.test["label"][:] == [0, 1] * 6


@pytest.mark.unit
def test_a_missing_test_is_cut_from_train_and_a_published_validation_kept(tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", {"text": texts(50), "label": [i % 2 for i in range(50)]})
    write_csv(tmp_path / "validation.csv", {"text": texts(10, 100), "label": [i % 2 for i in range(10)]})
    data = find_task("imdb").load(DataSpec(path=str(tmp_path), test_fraction=0.4))
    assert [len(split) for split in data[:3]] == [30, 10, 20]
    assert data.validation["text"][:] == texts(10, 100)


@pytest.mark.unit
def test_the_summary_says_of_each_split_whether_it_was_cut_and_how_many_rows_it_has(tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", {"text": texts(50), "label": [i % 2 for i in range(50)]})
    options = DataSpec(path=str(tmp_path), subset=Subset(train=20), validation_fraction=0.2)

    def facts(options: DataSpec) -> dict[str, tuple[int, int | None, bool | None, str]]:
        splits = find_task("imdb").load(options).summary.splits
        return {name: (one.rows, one.available, one.cut, one.origin) for name, one in splits.items()}

    train = (20, 30, False, "train.csv")
    assert facts(options) == {"train": train, "validation": (10, 10, True, ""), "test": (10, 10, True, "")}
    assert find_task("imdb").load(options).summary.unread_fractions == {}
    write_csv(tmp_path / "validation.csv", {"text": texts(12, 100), "label": [i % 2 for i in range(12)]})
    fewer = options.model_copy(update={"subset": Subset(validation=6)})
    assert facts(fewer)["validation"] == (6, 12, False, "validation.csv")
    assert find_task("imdb").load(options).summary.unread_fractions == {"validation": 0.2}
    write_csv(tmp_path / "test.csv", {"text": texts(10, 200)})  # without labels: the validation file is the test
    assert facts(options)["validation"] == (10, 10, True, "")
    assert facts(options)["test"] == (12, 12, False, "validation.csv")
    assert find_task("imdb").load(options).summary.unread_fractions == {}


@pytest.mark.unit
def test_test_files_without_a_label_column_count_as_hidden(tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", {"text": texts(50), "label": [i % 2 for i in range(50)]})
    write_csv(tmp_path / "validation.csv", {"text": texts(10, 100), "label": [i % 2 for i in range(10)]})
    write_csv(tmp_path / "test.csv", {"text": texts(10, 200)})
    assert find_task("imdb").check(DataSpec(path=str(tmp_path))) == []
    assert find_task("imdb").load(DataSpec(path=str(tmp_path))).test["text"][:] == texts(10, 100)


@pytest.mark.unit
@pytest.mark.parametrize("counts", [{0: 50, 1: 50}, {0: 97, 1: 2, 2: 2}, {0: 3, 1: 3, 2: 3}, {0: 1000, 1: 7}])
@pytest.mark.parametrize("keep", [0, 1])
def test_an_allocation_is_exact_within_bounds_and_near_proportion(counts: dict[int, int], keep: int) -> None:
    total = sum(counts.values())
    for size in range(len(counts), total - keep * len(counts) + 1):
        taken = allocate(counts, size, keep)
        assert sum(taken.values()) == size
        assert all(1 <= taken[s] <= counts[s] - keep for s in counts)
        for s, count in counts.items():
            if 1 <= size * count / total <= count - keep:
                assert abs(taken[s] - size * count / total) < len(counts)
