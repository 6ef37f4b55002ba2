"""Files that are no spec are refused by name: endless, nested, full of aliases, with tags that do not fit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.specs import GOOD
from tuning.core_yaml import MAX_DEPTH, MAX_VALUES, DamagedSpec, parse_recorded_spec
from tuning.spec.file import LONGEST, dump, read_source
from tuning.spec.mistakes import SpecError

pytestmark = pytest.mark.unit


def bomb(levels: int = 9, width: int = 9) -> str:
    """A few lines that stand for width ** levels values."""
    lines = [f"a0: &a0 [{', '.join(['x'] * width)}]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"a: {'[' * 5000}{']' * 5000}", f"nests deeper than {MAX_DEPTH} levels"),
        (f"a: {'[' * 100}{']' * 100}", f"nests deeper than {MAX_DEPTH} levels"),
        (f"{'{a: ' * 1000}1{'}' * 1000}", f"nests deeper than {MAX_DEPTH} levels"),
        ("a: &a [*a]", f"nests deeper than {MAX_DEPTH} levels"),
        ("a: &a {b: *a}", f"nests deeper than {MAX_DEPTH} levels"),
        (bomb(), f"more than {MAX_VALUES:,} values"),
        (f"seed: {'9' * 5000}", "'9999999999999999999999999999999999999999... (5,000 characters)' is no int"),
        ("seed: !!int x", "hostile.yaml:1:7: not valid YAML: 'x' is no int"),
        ("seed: !!float x", "'x' is no float"),
        ("seed: !!bool x", "'x' is no bool"),
        ("seed: !!timestamp x", "'x' is no timestamp"),
        ("!!timestamp a: 3", "'a' is no timestamp"),
        ("a: !!python/object/apply:os.system [id]", "could not determine a constructor"),
    ],
)
def test_what_yaml_allows_and_no_spec_has_is_reported_with_its_rule(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "hostile.yaml"
    file.write_text(text)
    with pytest.raises(SpecError) as caught:
        read_source(file)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400


def test_what_is_merged_stands_below_what_a_mapping_has_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "merged.yaml"
    repeated = "\n".join(f"d{n}: &d{n} {{<<: [{', '.join([f'*d{n - 1}'] * 9)}]}}" for n in range(1, 9))
    file.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [*a, {z: 4}]}\nd0: &d0 {x: 1}\n" + repeated)
    raw = read_source(file).raw
    assert raw["d8"] == {"x": 1}
    assert raw["b"] == {"x": 1, "y": 3}
    assert raw["c"] == {"x": 1, "y": 2, "z": 4}


@pytest.mark.parametrize("text", [f"fixed={'[' * 2000}{']' * 2000}", "fixed=&a [*a]", "seed=!!int x"])
def test_an_override_is_read_no_further_than_a_file(text: str) -> None:
    with pytest.raises(SpecError, match="not valid YAML"):
        read_source(GOOD, [text])


def test_a_mapping_that_holds_itself_is_reported() -> None:
    endless: dict[str, object] = dict(GOOD)
    endless["fixed"] = endless
    with pytest.raises(SpecError, match="nests deeper than"):
        read_source(endless)


def test_a_file_of_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "big.yaml"
    file.touch()
    os.truncate(file, 10**9)
    with pytest.raises(SpecError, match=f"longer than {LONGEST:,} bytes"):
        read_source(file)


def test_a_pipe_is_no_spec_and_nobody_waits_for_it(tmp_path: Path) -> None:
    file = tmp_path / "pipe.yaml"
    os.mkfifo(file)
    with pytest.raises(SpecError, match="no such file"):
        read_source(file)


@pytest.mark.parametrize("text", [bomb(), "a: &a [*a]", f"a: {'[' * 2000}", "seed: !!int x", "[1]", "a: b: c"])
def test_what_a_store_of_another_machine_holds_as_a_spec_is_read_no_further_than_a_file(text: str) -> None:
    with pytest.raises(DamagedSpec, match="the recorded spec is no"):
        parse_recorded_spec(text)


def test_a_spec_that_was_recorded_is_read_as_it_was_written() -> None:
    raw = {"fixed": {"a": "no", "b": "on", "c": 1e-05, "d": "012", "e": None}}
    assert parse_recorded_spec(dump(raw)) == raw
    assert parse_recorded_spec("") == {}
