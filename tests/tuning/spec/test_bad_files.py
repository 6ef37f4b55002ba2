"""A file that is no spec, and a source that is not there: each is reported with its name and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuning.spec.loading import load_spec
from tuning.spec.mistakes import SpecError

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def mistake_in(source: str, text: str | None = None) -> tuple[str, str]:
    """Returns the path and the whole message of the only mistake in a source, after writing `text` there."""
    if text is not None:
        Path(source).write_text(text)
    with pytest.raises(SpecError) as caught:
        load_spec(source)
    (mistake,) = caught.value.mistakes
    return mistake.path, str(mistake)


@pytest.mark.parametrize("text", ["- name\n", ""])
def test_a_file_that_is_no_mapping_is_reported_with_its_name(text: str) -> None:
    path, message = mistake_in("mine.yaml", text)
    assert path.startswith("mine.yaml")
    assert "must be a mapping" in message


@pytest.mark.parametrize(
    ("text", "line", "step"),
    [
        ("name: a\ndata:\n\tpath: x\n", r"'\tpath: x'", "write blanks in place of tabs"),
        ("data:\n  path: a\n label: b\n", "' label: b'", "begin it in the same column as those above it"),
        ("data:\n  path: a\n   label: b\n", "'   label: b'", "begin each key in the column of its neighbours"),
        ("name: a: b\n", "'name: a: b'", "put a text that holds ': ' into quotes"),
        ("name: @a\n", "'name: @a'", "put a text that begins with such a character into quotes"),
        ("data: {path: a\nlabel: b\n", "'label: b'", "close the bracket that is open there or above"),
        ("name: [a\n", "", "close the bracket or the quotation mark that is open above"),
        ("name: 'a\n", "", "close the bracket or the quotation mark that is open above"),
        ("name: a\nname: b\n", "the key 'name' stands twice", "keep one of them"),
        ("store: postgresql://me:hunter2@host/db: x\n", "'store: postgresql://...@host/db: x'", "into quotes"),
    ],
)
def test_a_file_that_is_no_yaml_is_reported_with_its_line_and_what_to_do(text: str, line: str, step: str) -> None:
    path, message = mistake_in("mine.yaml", text)
    assert path.startswith("mine.yaml")
    assert "not valid YAML" in message
    assert line in message
    assert step in message
    assert "hunter2" not in message


def test_a_repeated_key_is_reported_with_line_and_column() -> None:
    _, message = mistake_in("mine.yaml", "name: a\nspace:\n  learning_rate: 1\n  learning_rate: 2\n")
    assert message.startswith("mine.yaml:4:3: not valid YAML: the key 'learning_rate' stands twice")


@pytest.mark.parametrize("name", ["texts.csv", "texts.TSV", "texts.jsonl", "texts.parquet", "texts.csv.gz"])
def test_a_data_file_in_place_of_a_spec_is_reported_with_the_command_for_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"text,label\n\x96 good,1\n")
    with pytest.raises(SpecError, match=rf"{name}: is a file of data by its name.*`tunefleet init --data {name}`"):
        load_spec(name)


@pytest.mark.parametrize(
    ("source", "rule"),
    [("quikstart", "did you mean quickstart?"), ("mine.yaml", "no such file"), ("sub/mine", "no such file")],
)
def test_a_source_that_is_not_there_is_reported_with_what_to_do(source: str, rule: str) -> None:
    path, message = mistake_in(source)
    assert path == source
    assert rule in message
