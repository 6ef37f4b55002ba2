"""The folder of a kept model: written whole or not at all, and without places of the machine."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from trainables.errors import InputError
from tuning.selection.config_paths import path_notices, shorten_config_paths
from tuning.selection.local_paths import find_local_paths, remove_local_paths, shorten_paths
from tuning.selection.model_folder import ModelFolder


@pytest.mark.unit
def test_a_folder_appears_whole_and_replaces_only_its_like(tmp_path: Path) -> None:
    files = {"best.yaml": b"a", "README.md": b"b", "model.safetensors": b"c"}
    target = ModelFolder(tmp_path / "new" / "model")
    target.write(files)
    assert {path.name: path.read_bytes() for path in target.folder.iterdir()} == files
    assert list(target.folder.parent.iterdir()) == [target.folder]
    with pytest.raises(InputError, match=r"holds a model already; .*--force"):
        target.check()
    ModelFolder(target.folder, replace=True).write({**files, "model.safetensors": b"d"})
    assert (target.folder / "model.safetensors").read_bytes() == b"d"
    with pytest.raises(InputError, match="holds something that train-final has not written"):
        ModelFolder(tmp_path, replace=True).check()


@pytest.mark.unit
@pytest.mark.parametrize(
    ("place", "needed", "rule"),
    [
        ("file/model", 0, "cannot be written: .*file: Not a directory"),
        ("/proc/model", 0, "cannot be written: /proc: No such file or directory"),
        ("m" * 250, 0, "cannot be written: .*File name too long"),
        ("new/model", 1 << 60, r"has [\d,]+ MB free on its disk, and the model takes about 1,152,921,504,607 MB"),
        ("link", 0, "is a symbolic link; name the folder itself"),
        ("dangling", 0, "is a symbolic link; name the folder itself"),
    ],
)
def test_a_folder_that_could_not_be_written_is_refused_beforehand(
    tmp_path: Path, place: str, needed: int, rule: str
) -> None:
    (tmp_path / "file").touch()
    made = ModelFolder(tmp_path / "made")
    made.write({"best.yaml": b"a", "README.md": b"b"})
    (tmp_path / "link").symlink_to(made.folder)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=rule):
        ModelFolder(tmp_path / place, replace=True).check(needed)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.unit
def test_a_model_that_cannot_be_written_after_its_training_is_kept_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    target = ModelFolder(tmp_path / "model")
    target.check()
    target.folder.mkdir()  # by somebody, during the training
    with pytest.raises(OSError, match="The model is trained and recorded, and its files are in ") as told:
        target.write_or_rescue({"model.safetensors": b"c"})
    (rescued,) = tmp_path.glob("tunefleet-model-*/model")
    assert str(rescued) in str(told.value)
    assert (rescued / "model.safetensors").read_bytes() == b"c"


@pytest.mark.unit
def test_what_is_published_names_no_place_of_the_machine() -> None:
    raw = {
        "model": "/home/ann/client/bert",
        "data": {"path": "/home/ann/client", "train": "/home/ann/client/2024/churn.csv", "test": "~/held_out.csv"},
        "task": "text_classification",
        "space": {"model.x": {"choice": ["/srv/a/weights", "and/or", 3]}},
        "hp_space": "shipped:/home/ann/runs/.shipped/hp_space-1.pkl",
        "seed": 1,
    }
    assert find_local_paths(raw).keys() == {
        "model",
        "data.path",
        "data.train",
        "data.test",
        "hp_space",
        "space.model.x.choice.0",
    }
    assert shorten_paths(raw, "/home/ann/client") == {
        "model": "bert",
        "data": {"path": "client", "train": "2024/churn.csv", "test": "held_out.csv"},
        "task": "text_classification",
        "space": {"model.x": {"choice": ["weights", "and/or", 3]}},
        "hp_space": "hp_space-1.pkl",
        "seed": 1,
    }
    text = "x=/srv/a/weights, y=/home/ann/client/2024/churn.csv"
    assert remove_local_paths(text, raw) == "x=weights, y=churn.csv"


@pytest.mark.unit
def test_the_base_of_an_adapter_is_reported_and_not_published_as_a_place_of_the_machine(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed")
    peft.LoraConfig(base_model_name_or_path="/home/ann/client/bert", r=4).save_pretrained(tmp_path)
    written = (tmp_path / "adapter_config.json").read_bytes()
    files = {"adapter_config.json": written, "deep/tokenizer.json": b'{"merges": ["/ a", "/b"]}', "a.safetensors": b"x"}
    key = "adapter_config.json: base_model_name_or_path"
    (own,) = path_notices(files, for_others=False)
    assert own.startswith(f"{key}: /home/ann/client/bert is a place of this machine")
    (published,) = path_notices(files, for_others=True)
    assert published.startswith(f"{key}: only 'bert' is left of /home/ann/client/bert")
    changed = json.loads(shorten_config_paths(files)["adapter_config.json"])
    assert changed == {**json.loads(written), "base_model_name_or_path": "bert"}
    assert shorten_config_paths(files).keys() == files.keys()
    assert not list(path_notices(shorten_config_paths(files), for_others=False))
