"""A model that cannot be trained, or not with such long texts, is a mistake of the spec, reported before Ray starts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.specs import places_fields
from tests.support.tiny_models import FAMILIES, write_model
from tuning.cli import main
from tuning.spec.loading import load_spec
from tuning.spec.mistakes import SpecError

pytestmark = pytest.mark.unit


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A folder of a whole model, to be damaged."""
    return shutil.copytree(tiny_model, tmp_path / "mine")


def test_what_a_models_folder_lacks_is_reported_with_all_other_mistakes(
    model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    (model / "tokenizer.json").unlink()
    (model / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes()[:-8])
    with pytest.raises(SpecError) as caught:
        load_spec(places_fields(tmp_path, tiny_data, model, epochs=0))
    message = str(caught.value)
    assert [part for part in ("epochs: ", "is cut off: holds", "has no tokenizer") if part not in message] == []


def test_validate_tells_it_on_the_command_line(
    model: Path, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import yaml

    (model / "config.json").write_text("{")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(places_fields(tmp_path, tiny_data, model)))
    assert main(["validate", str(tmp_path / "mine.yaml")]) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert f"{model / 'config.json'}': is empty or cut off" in message
    assert "fetch it again" in message


def test_a_text_may_be_as_long_as_the_model_has_positions_for_it(tiny_data: Path, tmp_path: Path) -> None:
    roberta = next(family for family in FAMILIES if family.model_type == "roberta")  # 64 positions, padding 1
    model = write_model(roberta, tmp_path / "roberta")
    assert load_spec(places_fields(tmp_path, tiny_data, model, data={"max_length": 62})).data.max_length == 62
    with pytest.raises(SpecError, match="takes at most 62 tokens"):
        load_spec(places_fields(tmp_path, tiny_data, model, data={"max_length": 63}))
