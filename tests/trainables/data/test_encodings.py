"""Files in other encodings than UTF-8, and files that are no text at all."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from tests.support.data_files import generic, read_as, unusable
from trainables.tasks import find_task

pytestmark = pytest.mark.unit

FRENCH = [f"Le café numéro {i} était très bon" for i in range(40)]


def csv(texts: list[str]) -> str:
    return "\n".join(["text,label", *(f"{text},{i % 2}" for i, text in enumerate(texts))]) + "\n"


@pytest.mark.parametrize(
    ("encoding", "mark", "told"),
    [
        ("utf-8", b"", "utf-8"),
        ("utf-8", codecs.BOM_UTF8, "utf-8"),
        ("utf-16-le", codecs.BOM_UTF16_LE, "utf-16"),
        ("utf-16-be", codecs.BOM_UTF16_BE, "utf-16"),
        ("utf-32-le", codecs.BOM_UTF32_LE, "utf-32"),
    ],
)
@pytest.mark.parametrize("name", ["train.csv", "train.jsonl"])
def test_unicode_is_known_by_its_mark(name: str, encoding: str, mark: bytes, told: str, tmp_path: Path) -> None:
    lines = [f'{{"text": "{text}", "label": {i % 2}}}' for i, text in enumerate(FRENCH)]
    text = csv(FRENCH) if name.endswith(".csv") else "\n".join(lines)
    (tmp_path / name).write_bytes(mark + text.encode(encoding))
    loaded = find_task("text_classification").load(generic(tmp_path / name))
    assert FRENCH[3] in read_as(generic(tmp_path / name))
    assert loaded.summary.files[0].encoding == told


@pytest.mark.parametrize(
    ("texts", "encoding", "likely"),
    [
        (FRENCH, "cp1252", "cp1252"),
        (["the movie was \u201cgreat\u201d \u2013 really"], "cp1252", "cp1252"),
        (["Das war sch\xf6n, \x8d und mehr"], "latin-1", "latin-1"),  # a byte that cp1252 leaves out
        (["Отличный фильм, рекомендую всем"], "cp1251", "cp1251"),
        (["这部电影很好看，推荐给大家"], "gb18030", "gb18030"),
        (["この映画はとても素晴らしいです"], "cp932", "cp932"),
        (["이 영화는 정말 재미있어요"], "euc_kr", "euc_kr"),
    ],
)
def test_another_encoding_is_guessed_and_shown(texts: list[str], encoding: str, likely: str, tmp_path: Path) -> None:
    rows = [f'"{text}",{i % 2}' for i, text in enumerate(["plain words"] * 20 + texts)]
    (tmp_path / "train.csv").write_bytes("\n".join(["text,label", *rows]).encode(encoding))
    rule = rf"is not UTF-8: line 22 holds the byte 0x.*{likely} .*{texts[0][:9]}.*set data\.encoding: {likely}"
    unusable("data.path", rule, "text_classification", generic(tmp_path))
    [(path, message)] = find_task("text_classification").check(generic(tmp_path))
    assert (path, f"set data.encoding: {likely}" in message) == ("data.path", True)


def test_all_lines_in_another_encoding_are_counted(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_bytes(csv(FRENCH).encode("cp1252"))
    unusable(
        "data.path",
        "line 2 holds the byte 0xe9, the first of 40 such lines; as cp1252",
        "text_classification",
        generic(tmp_path),
    )


def test_the_encoding_can_be_set(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_bytes(csv(FRENCH).encode("cp1252"))
    options = generic(tmp_path).model_copy(update={"encoding": "cp1252"})
    assert FRENCH[3] in read_as(options)
    for encoding, rule in (
        ("utf-8", "is not in this encoding: line 2 holds the byte 0xe9"),
        ("cp9999", "is no encoding that Python knows"),
        ("rot13", "is no encoding that Python knows"),
    ):
        wrong = options.model_copy(update={"encoding": encoding})
        unusable("data.encoding", rf"'{encoding}': .*{rule}", "text_classification", wrong)


def test_utf_8_with_a_mark_may_be_called_utf_8(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_bytes(codecs.BOM_UTF8 + csv(FRENCH).encode())
    assert FRENCH[3] in read_as(generic(tmp_path).model_copy(update={"encoding": "UTF8"}))


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (
            csv(["plain"] * 4).encode("utf-16-le"),
            "is utf-16-le without a byte-order mark.*; set data.encoding: utf-16-le",
        ),
        (csv(["plain"] * 4).encode("utf-16-be"), "is utf-16-be without a byte-order mark"),
        (csv(["plain", "da\0maged\0"]).encode(), "holds 2 NUL bytes, the first in line 3"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "Git LFS pointer.*git lfs pull"),
        (b"PK\x03\x04" + bytes(40), "ZIP archive or an Excel workbook; unpack it, or export it as CSV"),
        (b"<!DOCTYPE html>\n<title>Sign in</title>", "is a web page, not data"),
        (b"PAR1\x15\x04", "is a Parquet file; name it .parquet"),
    ],
)
@pytest.mark.parametrize("name", ["train.csv", "train.json"])
def test_what_is_no_text_is_reported_as_what_it_is(name: str, content: bytes, rule: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    unusable("data.path", rule, "text_classification", generic(tmp_path / name))


def test_a_git_lfs_pointer_in_place_of_a_parquet_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n")
    unusable("data.path", "Git LFS pointer", "text_classification", generic(tmp_path))


@pytest.mark.parametrize(
    ("name", "step"),
    [("rows.xlsx", "export the sheet as CSV"), ("rows.csv.zip", "unpack it"), ("rows.feather", "write it as Parquet")],
)
def test_a_file_of_another_type_is_refused_with_what_to_convert_it_to(name: str, step: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"anything")
    unusable("data.path", rf"cannot be read; {step}", "text_classification", generic(tmp_path / name))


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_utf8_is_not_read_as_something_else_though_that_is_asked_for(tmp_path: Path, encoding: str) -> None:
    rows = "".join(f"sch\u00f6n {i},{i % 2}\n" for i in range(40))
    (tmp_path / "train.csv").write_text(f"text,label\n{rows}", encoding="utf-8")
    options = generic(tmp_path).model_copy(update={"encoding": encoding})
    rule = r"train.csv is UTF-8: 'sch\u00f6n' would become 'sch\u00c3\u00b6n'; remove it"
    unusable("data.encoding", rule, "text_classification", options)
    (tmp_path / "train.csv").write_text(f"text,label\n{rows}", encoding=encoding)
    assert find_task("text_classification").load(options).train.num_rows > 0
