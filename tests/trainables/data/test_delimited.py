"""CSV and its relatives: separators, quotes, line ends, and which rows a file has."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.support.data_files import generic, labels_by_text, read_as, unusable
from trainables.spec import DataSpec
from trainables.tasks import find_task

pytestmark = pytest.mark.unit

ROWS = [(f"a film, number {i}", ("neg", "pos")[i % 2]) for i in range(40)]


def lines(separator: str, header: str = "text{}label") -> list[str]:
    """Rows whose texts hold commas, so that they are quoted where the comma separates."""
    quote = '"' if separator == "," else ""
    return [header.format(separator), *(f"{quote}{text}{quote}{separator}{label}" for text, label in ROWS)]


def write(path: Path, text: str) -> DataSpec:
    path.write_bytes(text.encode())
    return generic(path)


# Quotes


def test_a_tsv_is_read_without_quoting_as_glue_has_it(tmp_path: Path) -> None:
    rows = [f"{'' if i % 3 else chr(34)}a film number {i}\t{i % 2}" for i in range(60)]
    options = write(tmp_path / "train.tsv", "\n".join(["text\tlabel", *rows]) + "\n")
    loaded = find_task("text_classification").load(options)
    found = labels_by_text(loaded)
    assert len(found) == 60
    assert found['"a film number 3'] == "1"
    [file] = loaded.summary.files
    assert (file.rows, file.lines, file.quoted, file.separator) == (60, 60, False, "\t")


def test_a_tsv_that_a_quoting_writer_wrote_is_read_with_quoting(tmp_path: Path) -> None:
    rows = [f'"he said ""{i}""\tand left"\t{i % 2}' for i in range(40)]
    options = write(tmp_path / "train.tsv", "\n".join(["text\tlabel", *rows]) + "\n")
    loaded = find_task("text_classification").load(options)
    assert labels_by_text(loaded)['he said "3"\tand left'] == "1"
    assert loaded.summary.files[0].quoted is True


def test_quoting_can_be_asked_for_and_refused(tmp_path: Path) -> None:
    rows = [f'"film {i}"\t{i % 2}' for i in range(40)]
    options = write(tmp_path / "train.tsv", "\n".join(["text\tlabel", *rows]) + "\n")
    assert '"film 3"' in read_as(options)  # as the file's own words, unless it is said otherwise
    assert "film 3" in read_as(options.model_copy(update={"quoted": True}))
    comma = write(tmp_path / "train.csv", "\n".join(["text,label", *(row.replace("\t", ",") for row in rows)]) + "\n")
    assert "film 3" in read_as(comma)
    assert '"film 3"' in read_as(comma.model_copy(update={"quoted": False}))


@pytest.mark.parametrize(
    ("rows", "rule"),
    [
        (['"a,0', "b,1", '"c,0', "d,1"], "line 4: a double quote stands inside a field .*may have begun in line 2"),
        (['"a,0', "b,1", "c,0", "d,1"], "line 2: a double quote begins a field here and is never closed"),
        (["a,0", 'b "x" y,1', '"c,0', "d,1"], "line 4: a double quote begins a field here and is never closed"),
        (["a,0", "b,1", '"c,0', 'd",1'], "double quote in line 4 begins a text that goes on to line 5"),
        (["a,0", '"he said \\"hi\\" to me",1'], "line 3: a double quote stands inside a field"),
    ],
)
def test_a_quote_that_swallows_rows_is_refused_with_its_line(rows: list[str], rule: str, tmp_path: Path) -> None:
    options = write(tmp_path / "train.csv", "\n".join(["text,label", *rows]) + "\n")
    unusable("data.path", rf"{rule}.*data\.quoted: false", "text_classification", options)


def test_texts_over_several_lines_are_read_and_reported(tmp_path: Path) -> None:
    rows = [f'"Dear editor,\nfilm {i}, again\r\n5, and so on",{i % 2}' for i in range(40)]
    options = write(tmp_path / "train.csv", "\n".join(["text,label", *rows]) + "\n")
    loaded = find_task("text_classification").load(options)
    assert labels_by_text(loaded)["Dear editor,\nfilm 3, again\r\n5, and so on"] == "1"
    [file] = loaded.summary.files
    assert (file.rows, file.lines) == (40, 120)


def test_whoever_asks_for_quoting_may_have_texts_that_look_like_rows(tmp_path: Path) -> None:
    rows = [f'"a table: {i},0\nand {i},1",{i % 2}' for i in range(40)] + [f"film {i},{i % 2}" for i in range(4)]
    options = write(tmp_path / "train.csv", "\n".join(["text,label", *rows]) + "\n")
    unusable("data.path", "holds what look like rows", "text_classification", options)
    assert "a table: 3,0\nand 3,1" in read_as(options.model_copy(update={"quoted": True}))


# Separators


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt"])
def test_the_separator_is_found_and_reported_whatever_the_file_is_called(
    separator: str, suffix: str, tmp_path: Path
) -> None:
    options = write(tmp_path / f"train{suffix}", "\n".join(lines(separator)) + "\n")
    quoted = options if separator != "," else options.model_copy(update={"quoted": True})
    loaded = find_task("text_classification").load(quoted)
    assert labels_by_text(loaded) == dict(ROWS)
    assert loaded.summary.files[0].separator == separator


@pytest.mark.parametrize("word", ["semicolon", ";"])
def test_the_separator_can_be_set(word: str, tmp_path: Path) -> None:
    text = "\n".join(["text;label,x", *(f"a film {i};{i % 2}" for i in range(40))])
    options = write(tmp_path / "train.csv", text).model_copy(update={"separator": word, "label": "label,x"})
    assert len(read_as(options)) == 40


@pytest.mark.parametrize(
    ("separator", "rule"),
    [
        ("comma", r"',': does not separate the columns of .*train\.csv: the semicolon does; set data\.separator: semi"),
        ("::", "is no single character; write comma, semicolon, tab or pipe"),
        ('"', "is no single character"),
    ],
)
def test_a_wrong_separator_is_named(separator: str, rule: str, tmp_path: Path) -> None:
    options = write(tmp_path / "train.csv", "\n".join(lines(";")) + "\n").model_copy(update={"separator": separator})
    unusable("data.separator", rule, "text_classification", options)


def test_a_misspelt_column_is_missed_among_the_columns_that_there_are(tmp_path: Path) -> None:
    options = write(tmp_path / "train.csv", "\n".join(lines(";")) + "\n").model_copy(update={"label": "lable"})
    unusable("data.label", r"no such column; set data\.label; did you mean label\?", "text_classification", options)


def test_what_excel_puts_before_the_header_is_no_row(tmp_path: Path) -> None:
    options = write(tmp_path / "train.csv", "\r\n".join(["sep=;", *lines(";"), "; "]) + "\r\n")
    unusable("data.text", r"a row has no text: line 43 of .*train\.csv", "text_classification", options)
    assert read_as(options.model_copy(update={"drop_empty": True})) == dict(ROWS)


# Rows and columns


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_ends_a_row(end: str, tmp_path: Path) -> None:
    mixed = lines(",")
    options = write(tmp_path / "train.csv", end.join(mixed[:20]) + "\r\n" + end.join(mixed[20:]) + end)
    assert read_as(options) == dict(ROWS)


def test_a_file_may_be_compressed(tmp_path: Path) -> None:
    for name, text in (("train.csv.gz", "\n".join(lines(";"))), ("test.jsonl.gz", '{"text": "new", "label": "pos"}')):
        (tmp_path / name).write_bytes(gzip.compress(text.encode()))
    loaded = find_task("text_classification").load(generic(tmp_path))
    assert loaded.test["text"][:] == ["new"]
    assert len(loaded.train) + len(loaded.validation) == 40
    packed = (tmp_path / "train.csv.gz").read_bytes()
    for damaged in (packed[:-40], packed[:60] + bytes(60) + packed[120:], packed[:-8] + bytes(8)):
        (tmp_path / "train.csv.gz").write_bytes(damaged)
        unusable("data.path", "cannot be read as csv: ", "text_classification", generic(tmp_path))


def test_a_text_may_be_a_book(tmp_path: Path) -> None:
    book = "word " * 400_000
    options = write(tmp_path / "train.csv", "\n".join([*lines(","), f'"{book}",pos']) + "\n")
    assert read_as(options)[book] == "pos"


def test_an_index_column_without_a_name_is_left_alone(tmp_path: Path) -> None:
    for header, row in (",text,label", "{0},film {0},{1}"), ("text,label,", "film {0},{1},"):
        rows = [row.format(i, i % 2) for i in range(40)]
        assert len(read_as(write(tmp_path / "train.csv", "\n".join([header, *rows])))) == 40


def test_spaces_around_the_names_of_columns_mean_nothing(tmp_path: Path) -> None:
    options = write(tmp_path / "train.csv", "\n".join([" text , label", *(f"film {i},{i % 2}" for i in range(40))]))
    assert len(read_as(options)) == 40


@pytest.mark.parametrize("row", ["{0},film {0},{1}", "film {0},{1},"])
def test_a_column_that_only_rows_have_is_reported_as_that(row: str, tmp_path: Path) -> None:
    text = "\n".join(["text,label", *(row.format(i, i % 2) for i in range(40))])
    rule = "40 rows have not as many fields .*; name the first column too"
    unusable("data.path", rule, "text_classification", write(tmp_path / "train.csv", text))


def test_a_tsv_whose_header_is_quoted_is_read_with_quoting(tmp_path: Path) -> None:
    rows = ['"text"\t"label"', *(f'"film {i}"\t"{i % 2}"' for i in range(40))]
    assert "film 3" in read_as(write(tmp_path / "train.tsv", "\n".join(rows)))


def test_a_file_without_names_of_columns_is_reported_as_such(tmp_path: Path) -> None:
    options = write(tmp_path / "train.csv", "\n".join(f"film {i},{i % 2}" for i in range(40)))
    unusable(
        "data.text", "no such column; its first line looks like a row: the names .*", "text_classification", options
    )


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    options = write(
        tmp_path / "train.csv", "\n".join(["text,label,label", *(f"film {i},{i % 2},9" for i in range(40))])
    )
    unusable("data.label", r"2 columns of .*train\.csv have this name", "text_classification", options)


def test_options_about_fields_are_refused_where_no_file_has_any(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("\n".join(f'{{"text": "film {i}", "label": {i % 2}}}' for i in range(40)))
    options = generic(tmp_path).model_copy(update={"separator": "tab", "quoted": False})
    found = find_task("text_classification").check(options)
    assert [path for path, _ in found] == ["data.separator", "data.quoted"]
    assert all("train.jsonl is none" in message for _, message in found)


def test_options_about_files_are_refused_where_there_are_none() -> None:
    options = DataSpec(hub="me/mine", text=("text",), label="label", separator=";", quoted=True, encoding="cp1252")
    problems = dict(find_task("text_classification").check(options))
    assert set(problems) == {"data.separator", "data.quoted", "data.encoding"}
    assert "there are none" in problems["data.quoted"]
