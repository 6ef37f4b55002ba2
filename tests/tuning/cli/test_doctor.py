"""`tunefleet doctor`: what it finds on a machine, in a spec and on a cluster, and its exit status."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants

from tests.support.refusing_server import RefusingServer
from trainables.machine import devices
from trainables.models.files import resolve_model
from tuning.cli import main

OF_THE_HUB = """
name: of-the-hub
task: text_classification
model: someone/small-bert
data: {path: texts.csv, text: [text], label: label}
epochs: 1
space: {learning_rate: {loguniform: [1e-5, 1e-3]}}
strategies: [{kind: random, trials: 1}]
"""
CANARY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run without a run folder, a network, or a key of this machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name in ("TUNEFLEET_STORE", "WANDB_API_KEY", "WANDB_MODE", "WANDB_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TUNEFLEET_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def server() -> Iterator[str]:
    RefusingServer.shown = set()
    with ThreadingHTTPServer(("127.0.0.1", 0), RefusingServer) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()


def findings_of(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit status, and the findings of each place by topic."""
    status = main(["doctor", "--json", *words])
    places = json.loads(capsys.readouterr().out)
    return status, {place: {one["topic"]: one for one in findings} for place, findings in places.items()}


@pytest.mark.unit
def test_a_machine_alone_is_reported_topic_by_topic(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status = main(["doctor"])
    out = capsys.readouterr().out
    assert status == 0
    assert out.startswith("this machine:\n")
    for topic in ("versions", "precision", "memory", "/dev/shm", "storage", "cache", "store", "hub", "W&B"):
        assert f"  {topic} " in out
    assert "nothing is lacking" in out
    assert list(tmp_path.iterdir()) == []  # nothing is made by looking


@pytest.mark.unit
@pytest.mark.parametrize(("has", "shown"), [(True, "bf16: its CPU has AMX"), (False, "fp32: its CPU has neither")])
def test_the_precision_of_trials_here_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, has: bool, shown: str
) -> None:
    monkeypatch.setattr(devices, "DEVICE_FILES", ())
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": has}, raising=False)
    _, found = findings_of(capsys)
    assert found["this machine"]["precision"]["found"].startswith(shown)


@pytest.mark.unit
def test_what_would_fail_a_run_is_lacking_and_ends_with_status_1(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    status, found = findings_of(capsys, f"cluster.storage={tmp_path / 'file' / 'runs'}")
    assert status == 1
    assert found["this machine"]["spec"]["state"] == "lacking"
    assert "is a file, not a folder" in found["this machine"]["spec"]["found"]
    status, found = findings_of(capsys, "quickstart", "task=revews", "epochs=0")
    assert status == 1
    assert "2 mistakes in quickstart" in found["this machine"]["spec"]["found"]


@pytest.mark.unit
def test_a_store_that_is_no_store_is_lacking(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "studies.db").write_text("this is no database")
    monkeypatch.setenv("TUNEFLEET_STORE", f"sqlite:///{tmp_path / 'studies.db'}")
    status, found = findings_of(capsys)
    assert status == 1
    assert found["this machine"]["store"]["state"] == "lacking"
    assert str(tmp_path / "studies.db") in found["this machine"]["store"]["found"]


@pytest.mark.unit
def test_servers_outside_are_asked_whether_they_answer_and_see_no_key(
    capsys: pytest.CaptureFixture[str], server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", CANARY)
    monkeypatch.setenv("WANDB_BASE_URL", server)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    status, found = findings_of(capsys)
    here = found["this machine"]
    assert status == 0  # a hub that cannot be reached matters only to who needs it
    assert here["W&B"] == {"topic": "W&B", "state": "ok", "found": f"a key is there; {server} answers", "advice": ""}
    assert RefusingServer.shown <= {""}
    assert here["hub"]["state"] == "note"
    assert "http://127.0.0.1:9 cannot be reached: no connection" in here["hub"]["found"]
    assert "HF_HUB_OFFLINE=1" in here["hub"]["advice"]
    assert CANARY not in json.dumps(found)


@pytest.mark.unit
def test_a_hub_that_the_spec_does_not_need_is_not_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    _, found = findings_of(capsys, "quickstart")
    assert found["this machine"]["hub"] == {
        "topic": "hub", "state": "ok", "found": "this spec loads nothing from it", "advice": "",
    }  # fmt: skip
    main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    assert any("http://127.0.0.1:9 cannot be reached" in line for line in lines)
    assert all(len(line) <= 120 for line in lines if "-> " in line)


@pytest.fixture
def of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spec with a model of the Hub, which this machine's empty cache does not hold."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    rows = "".join(f"text number {number},{'good' if number % 2 else 'bad'}\n" for number in range(200))
    (tmp_path / "texts.csv").write_text(f"text,label\n{rows}")
    (tmp_path / "spec.yaml").write_text(OF_THE_HUB)
    return tmp_path


def fill_cache(root: Path, *, without: str = "") -> None:
    """Put minilm's files into the Hub's cache below `root`, as those of the spec's model."""
    model, source = root / "hub" / "models--someone--small-bert", Path(resolve_model("minilm"))
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("c0ffee")
    (model / "snapshots" / "c0ffee").mkdir(parents=True)
    for file in source.iterdir():
        if file.is_file() and file.name != without:
            (model / "snapshots" / "c0ffee" / file.name).symlink_to(file)


@pytest.mark.unit
@pytest.mark.parametrize("offline", [False, True])
def test_a_model_of_the_hub_that_can_come_neither_from_there_nor_from_the_cache_is_lacking(
    capsys: pytest.CaptureFixture[str], of_the_hub: Path, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    reason = "switched off (HF_HUB_OFFLINE)" if offline else "http://127.0.0.1:9 cannot be reached: no connection"
    status, found = findings_of(capsys, "spec.yaml")
    hub = found["this machine"]["hub"]
    assert (status, hub["state"]) == (1, "lacking")
    assert hub["found"].startswith(reason)
    assert f"; model someone/small-bert is not in the cache ({of_the_hub / 'hub'})" in hub["found"]
    assert hub["advice"].startswith("unset HF_HUB_OFFLINE" if offline else "name a local folder")
    fill_cache(of_the_hub)
    status, found = findings_of(capsys, "spec.yaml")
    hub = found["this machine"]["hub"]
    assert (status, hub["state"]) == (0, "ok" if offline else "note")
    assert hub["found"].endswith("; the cache holds model someone/small-bert")
    assert ("set HF_HUB_OFFLINE=1" in hub["advice"]) is not offline
    _, found = findings_of(capsys, "spec.yaml", "revision=v2")
    assert found["this machine"]["hub"]["found"].endswith("at revision v2")


@pytest.mark.unit
def test_a_model_that_the_cache_holds_in_part_is_lacking_with_what_is_missing(
    capsys: pytest.CaptureFixture[str], of_the_hub: Path
) -> None:
    fill_cache(of_the_hub, without="model.safetensors")
    status, found = findings_of(capsys, "spec.yaml")
    assert (status, found["this machine"]["hub"]["state"]) == (1, "lacking")
    assert "model someone/small-bert cannot be loaded from the cache: " in found["this machine"]["hub"]["found"]
    assert "has no weights" in found["this machine"]["hub"]["found"]


@pytest.mark.unit
def test_a_data_set_of_the_hub_is_looked_up_by_its_configuration(
    capsys: pytest.CaptureFixture[str], of_the_hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", of_the_hub / "data sets")
    words = ("spec.yaml", "model=minilm", "data.path=null", "data.hub=nyu-mll/glue", "data.config=rte")
    status, found = findings_of(capsys, *words)
    hub = found["this machine"]["hub"]
    assert (status, hub["state"]) == (1, "lacking")
    assert "data set nyu-mll/glue is not in the cache" in hub["found"]
    assert "with data.config: rte" in hub["found"]
    for config in ("mnli", "rte"):
        assert findings_of(capsys, *words)[0] == 1
        folder = of_the_hub / "data sets" / "nyu-mll___glue" / config / "0.0.0" / "c0ffee"
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").write_text("{}")
    status, found = findings_of(capsys, *words)
    assert (status, found["this machine"]["hub"]["state"]) == (0, "ok")


@pytest.mark.unit
def test_a_cluster_that_does_not_answer_is_lacking(capsys: pytest.CaptureFixture[str]) -> None:
    status, found = findings_of(capsys, "cluster.address=127.0.0.1:9")
    assert status == 1
    assert found["cluster 127.0.0.1:9"]["cluster"]["state"] == "lacking"
    assert "127.0.0.1:9" in found["cluster 127.0.0.1:9"]["cluster"]["found"]
