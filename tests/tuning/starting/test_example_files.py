"""`tunefleet init --example NAME`: an example in the working directory, with the Python that it names."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tuning import load_spec
from tuning.cli import main
from tuning.spec.file import EXAMPLES, presets
from tuning.starting.example_files import examples

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_copy_names_the_module_that_lies_beside_it(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(here))
    assert main(["init", "--example", "token-classification"]) == 0
    assert sorted(path.name for path in here.iterdir()) == ["token-classification.yaml", "token_classification.py"]
    said = capsys.readouterr().out
    assert said.startswith("token-classification.yaml and token_classification.py are written.")
    assert said.endswith("tunefleet run token-classification.yaml\n")
    copied, shipped = load_spec("token-classification.yaml"), load_spec("token-classification")
    assert copied.trainable == "token_classification:make_trainer"
    assert copied.model_copy(update={"trainable": shipped.trainable}) == shipped


@pytest.mark.parametrize("name", sorted(examples()))
def test_every_example_is_copied_without_a_word_of_where_it_came_from(here: Path, name: str) -> None:
    assert main(["init", "--example", name]) == 0
    copied = {path.name: path.read_text() for path in here.iterdir()}
    assert copied
    assert not [text for text in copied.values() if "tuning.examples" in text]
    raw = yaml.safe_load(copied.get(f"{name}.yaml", "{}"))
    module, _, function = raw.get("trainable", "").partition(":")
    if module:
        assert f"def {function}(params: dict[str, Any]" in copied[f"{module}.py"]


def test_every_file_that_ships_is_of_an_example() -> None:
    assert presets().keys() <= examples().keys()
    shipped = {path for path in EXAMPLES.iterdir() if path.suffix in (".yaml", ".py") and path.stem != "__init__"}
    assert {path for files in examples().values() for path in files} == shipped


def test_a_script_is_copied_with_the_example_that_it_imports(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--example", "own-search"]) == 0
    assert capsys.readouterr().out.startswith(
        "own_search.py and token_classification.py are written. Next: read, edit, "
    )
    assert "from token_classification import make_trainer" in (here / "own_search.py").read_text()


def test_two_examples_with_a_module_in_common_go_into_one_folder(here: Path) -> None:
    assert main(["init", "--example", "token-classification"]) == 0
    assert main(["init", "--example", "own-search"]) == 0
    assert (here / "own_search.py").is_file()


def test_nothing_is_overwritten_and_nothing_is_written_in_part(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "sft_lora.py").write_text("mine")
    assert main(["init", "--example", "sft-lora"]) == 2
    assert "sft_lora.py exists already; go to another folder, or rename that file" in capsys.readouterr().err
    assert [path.name for path in here.iterdir()] == ["sft_lora.py"]
    assert (here / "sft_lora.py").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--example", "sft-laura"], "--example: 'sft-laura': is no example; did you mean sft-lora?"),
        (["--example", "__init__"], "is no example"),
        (["mine.yaml", "--example", "sft-lora"], "an example brings the names of its files; leave FILE away"),
        (["--data", "x.csv", "--example", "sft-lora"], "--data writes a spec of its own; give one of the two"),
    ],
)
def test_what_cannot_be_meant_is_reported(
    here: Path, words: list[str], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", *words]) == 2
    assert shown in capsys.readouterr().err
    assert not list(here.iterdir())
