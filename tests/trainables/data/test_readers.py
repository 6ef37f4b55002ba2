"""Files of every format, and what is made of their labels."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.data_files import (
    five_classes,
    generic,
    labels_by_text,
    read_as,
    rows_of,
    texts,
    unusable,
    write_csv,
    write_parquet,
)
from trainables.spec import DataSpec
from trainables.tasks import find_task


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


TEXTS = texts(40)
BYTES = [text.encode() for text in TEXTS]


@pytest.mark.unit
@pytest.mark.parametrize(
    ("column", "labels"),
    [
        (pa.array(TEXTS).dictionary_encode(), pa.array(["0", "1"] * 20).dictionary_encode()),
        (pa.array(TEXTS, pa.large_string()), pa.array([0, 1] * 20, pa.int8())),
        (pa.array(TEXTS, pa.string_view()), pa.array([0, 1] * 20, pa.uint64())),
        (pa.array(BYTES, pa.binary()), pa.array([0, 1] * 20, pa.float32())),
        (pa.array(BYTES, pa.large_binary()), pa.array([Decimal(0), Decimal(1)] * 20)),
    ],
    ids=["dictionary", "large_string", "string_view", "binary", "large_binary"],
)
def test_a_parquet_column_may_be_of_any_type_that_holds_texts(
    column: pa.Array, labels: pa.Array, tmp_path: Path
) -> None:
    folder = tmp_path / "language=en"  # which means a column where a whole data set is read
    folder.mkdir()
    pq.write_table(pa.table({"text": column, "label": labels}), folder / "train.parquet")
    loaded = find_task("text_classification").load(generic(folder / "train.parquet"))
    assert labels_by_text(loaded) == {text: str(i % 2) for i, text in enumerate(TEXTS)}


@pytest.mark.unit
def test_bytes_in_another_encoding_are_read_as_they_are_said_to_be(tmp_path: Path) -> None:
    column = pa.array([f"caf\u00e9 {i}".encode("cp1252") for i in range(40)])
    pq.write_table(pa.table({"text": column, "label": [0, 1] * 20}), tmp_path / "train.parquet")
    unusable("data.path", "column text, row 1, holds bytes that are no utf-8", "imdb", generic(tmp_path))
    assert "caf\u00e9 3" in read_as(generic(tmp_path).model_copy(update={"encoding": "cp1252"}))


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
def test_reading_local_files_leaves_nothing_on_disk(tmp_path: Path) -> None:
    options = five_classes(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    program = (
        "from trainables.spec import DataSpec, FineTuneSpec; from trainables.tasks import find_task\n"
        "from trainables.models.encoders import load_tokenizer; task = find_task('text_classification')\n"
        f"data = task.load(DataSpec(**{options.model_dump(exclude_defaults=True)!r}))\n"
        "task.tokenize(data.train, load_tokenizer(FineTuneSpec(task='reviews', epochs=1)), 16)\n"
    )
    environment = {"HOME": str(home), "TMPDIR": str(home), "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", program], env=environment, cwd=home, check=True, capture_output=True)
    assert [path for path in home.rglob("*") if path.is_file()] == []
