"""Tests that `tunefleet init` refuses what it cannot do, with the ways out, and writes nothing then."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.user_files import rows_of, sentence, write
from tuning.cli import main

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


REFUSED = {
    "a preset": (["csv"], "'csv': is the name of a preset, which a file of that name would hide; `tunefleet run csv`"),
    "both ways": (["csv"], "`tunefleet init --data YOUR.csv` one for your data"),
    "another preset": (["imdb"], "`tunefleet init imdb.yaml` writes a spec of your own"),
    "a kind of data": (["parquet"], "is a kind of data; `tunefleet init --data YOUR.parquet`"),
    "data for FILE": (["my.csv"], "is a file of data by its name; `tunefleet init --data my.csv` writes a spec for it"),
    "no data": (["--data", "nothing.csv"], "--data: 'nothing.csv': no such file or folder; check the path"),
    "columns without data": (["--label", "stars"], "--label: 'stars': describes your data; give --data"),
    "no such label": (["--data", "ok.csv", "--label", "stars"], "--label: 'stars': no such column; known: label, text"),
    "no such text": (["--data", "ok.csv", "--text", "texts"], "--text: 'texts': no such column; did you mean text?"),
    "no label": (["--data", "bare.csv"], "has no column that looks like a label: text (60 distinct, 9 words each)"),
    "several labels per row": (
        ["--data", "lists.jsonl"],
        "tags (lists or objects: one label per row is what a task has)",
    ),
    "no text": (["--data", "numbers.csv"], "has no column that looks like a text"),
    "no names": (["--data", "headless.csv"], "its first line looks like a row"),
    "no names, a class first": (["--data", "spam.tsv"], "its first line looks like a row"),
    "no names, one column": (["--data", "lines.txt"], "its first line looks like a row"),
    "no ending": (["--data", "Collection"], "has no suffix that tells how to read it; rename it; endings: .csv, .tsv,"),
    "lists of one": (["--data", "ones.jsonl"], "label (lists of one element: write the element alone, and it can be"),
    "a folder per class": (["--data", "aclImdb"], "holds a folder of texts per class: write one table with a row per"),
    "a class folder": (["--data", "aclImdb/train"], "holds a folder of texts per class: write one table"),
    "save_to_disk": (["--data", "saved"], "it is what save_to_disk writes: load_from_disk it"),
    "another encoding": (
        ["--data", "german.csv", "--encoding", "cp1252"],
        "--encoding: 'cp1252': german.csv is UTF-8: ",
    ),
    "no rows": (["--data", "empty.csv"], "is empty; write a line of column names and at least one row"),
    "only names": (["--data", "names.csv"], "has no rows"),
    "a sheet": (["--data", "table.xlsx"], "cannot be read; export the sheet as CSV"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_meant_is_refused_with_the_ways_out_and_writes_nothing(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, printed = REFUSED[name]
    write("ok.csv", rows_of(text=sentence, label=lambda i: i % 2))
    write("bare.csv", rows_of(text=sentence))
    write("numbers.csv", rows_of(a=lambda i: i * 0.5, b=lambda i: i % 2))
    Path("headless.csv").write_text("".join(f"{sentence(i, 20)},{i % 2}\n" for i in range(20)))
    write("lists.jsonl", rows_of(text=sentence, tags=lambda i: ["a", "b"][: 1 + i % 2]))
    spam = "".join(f"{'ham' if i % 5 else 'spam'}\t{sentence(i)}\n" for i in range(1, 60))
    Path("spam.tsv").write_text(spam)
    Path("Collection").write_text(spam)
    Path("lines.txt").write_text("".join(f"__label__{i % 2} {sentence(i)}\n" for i in range(60)))
    write("ones.jsonl", rows_of(text=sentence, label=lambda i: ["ab"[i % 2]]))
    write("aclImdb/train/pos/0_9.txt", [{"text": "good"}])
    for name in ("dataset_info.json", "state.json"):
        write(f"saved/{name}", [{"features": 1}])
    write("german.csv", rows_of(text=lambda i: f"sch\u00f6n {sentence(i)}", label=lambda i: i % 2))
    Path("empty.csv").write_text("")
    Path("names.csv").write_text("text,label\n")
    Path("table.xlsx").write_text("")
    before = sorted(here.iterdir())
    assert main(["init", *words]) == 2
    assert printed in capsys.readouterr().err
    assert sorted(here.iterdir()) == before
