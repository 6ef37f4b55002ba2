"""Tests `tunefleet report`: its file, its errors, and the live server during a run."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path

import pytest

from tests.support.outcomes import make_report
from tests.support.serving import serving
from tests.support.specs import GOOD
from tests.support.stores import open_study
from tuning.cli import main
from tuning.outcome import TrialState
from tuning.report.page import live
from tuning.report.page.document import PageContent, page_content
from tuning.report.page.live import PageServer
from tuning.space import Space
from tuning.spec.loading import load_spec
from tuning.spec.models import ExperimentSpec
from tuning.store.study_store import StudyStore
from tuning.store.study_writer import StudyWriter

pytestmark = pytest.mark.unit

SPACE = Space.model_validate({"learning_rate": {"loguniform": [1e-5, 1.0]}})


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExperimentSpec:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TUNEFLEET_STORE", raising=False)
    spec = load_spec(GOOD)
    spec.run_folder.mkdir(parents=True)
    (spec.run_folder / "spec.yaml").write_text(spec.to_yaml())
    return spec


@pytest.fixture
def writer(spec: ExperimentSpec) -> StudyWriter:
    """Makes a store of a run in progress: one trial with one report."""
    writer = open_study(
        StudyStore(spec.store_url), experiment=spec.name, digest=spec.digest(), strategy="grid", kind="grid", seed=0,
        slots=1, devices_per_trial=1.0, device="CPU core", spec_yaml=spec.to_yaml(),
    )  # fmt: skip
    writer.begin_trial("a", {"learning_rate": 0.1}, SPACE.to_optuna())
    writer.add_report("a", make_report(1, 0.5))
    return writer


@pytest.fixture
def server(spec: ExperimentSpec, writer: StudyWriter, monkeypatch: pytest.MonkeyPatch) -> Iterator[PageServer]:
    monkeypatch.setattr(live, "REBUILT_EVERY", 0.0)
    monkeypatch.setattr(live, "REST", 0.0)

    def make() -> PageContent:
        store = StudyStore(spec.store_url)
        return page_content(store.load(spec.name), store.spec(spec.name))

    with serving(PageServer(make, 0)) as server:
        yield server


def get(url: str, **headers: str) -> HTTPResponse:
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60)  # type: ignore[no-any-return]


def test_the_page_is_one_file_named_after_the_experiment(
    spec: ExperimentSpec, writer: StudyWriter, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", spec.name]) == 0
    text = Path(f"{spec.name}.html").read_text()
    assert f"{spec.name}.html is written" in capsys.readouterr().out
    assert "not finished: 1 of 1 studies" in text
    assert "learning_rate: 0.1" in text  # the best configuration
    assert "strategies:" in text  # the full spec
    assert "2.13" in text


def test_a_place_that_cannot_be_written_is_refused_with_the_option(
    spec: ExperimentSpec, writer: StudyWriter, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", spec.name, "--out", "no/such/folder/page.html"]) == 2
    assert "--out: 'no/such/folder/page.html': cannot be written" in capsys.readouterr().err


def test_a_port_that_is_taken_is_refused_with_the_option(
    spec: ExperimentSpec, server: PageServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", spec.name, "--serve", str(server.server_port)]) == 2
    assert f"--serve: {server.server_port}: cannot listen" in capsys.readouterr().err


def test_an_unknown_experiment_is_reported_before_anything_is_served(
    spec: ExperimentSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "other", "--serve"]) == 2
    assert "other" in capsys.readouterr().err


def test_the_server_tells_what_is_new_and_nothing_when_nothing_is(server: PageServer, writer: StudyWriter) -> None:
    first = get(f"{server.url}content")
    tag, content = first.headers["ETag"], json.load(first)
    assert content["figures"]["learning"]["rows"] == [["grid", 0, "0 (a)", "running", 1, 0.5]]
    with pytest.raises(urllib.error.HTTPError) as same:
        get(f"{server.url}content", **{"If-None-Match": tag})
    assert same.value.code == 304
    writer.add_report("a", make_report(2, 0.75))
    writer.end_trial("a", TrialState.COMPLETED)
    newer = get(f"{server.url}content", **{"If-None-Match": tag})
    assert json.load(newer)["figures"]["learning"]["rows"][-1] == ["grid", 0, "0 (a)", "completed", 2, 0.75]


def test_the_server_listens_on_loopback_and_to_its_own_name_alone(server: PageServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert get(server.url).headers["Cache-Control"] == "no-store"
    with pytest.raises(urllib.error.HTTPError) as stranger:
        get(server.url, Host="evil.example")
    assert stranger.value.code == 403
    with pytest.raises(urllib.error.HTTPError) as unknown:
        get(f"{server.url}../study.db")
    assert unknown.value.code == 404


def test_the_server_shows_nothing_to_who_does_not_know_the_key(server: PageServer) -> None:
    here = f"http://127.0.0.1:{server.server_port}"
    for path in ("/", "/content", "//content", f"/{'x' * 32}/", f"/{'x' * 32}/content", f"/{server.key[:-1]}/"):
        with pytest.raises(urllib.error.HTTPError) as stranger:
            get(here + path)
        assert stranger.value.code == 403
        assert b"learning_rate" not in stranger.value.read()
    assert len(server.key) >= 32
    assert b"learning_rate" in get(server.url).read()


def test_a_connection_that_says_nothing_is_closed(server: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "SILENCE", 0.05)
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=60) as silent:
        silent.sendall(b"GET / HT")
        assert silent.recv(1) == b""


def test_a_store_that_is_away_for_a_moment_is_reported_and_asked_again(
    server: PageServer, spec: ExperimentSpec
) -> None:
    database = spec.run_folder / "study.db"
    database.rename(database.with_suffix(".away"))
    with pytest.raises(urllib.error.HTTPError) as away:
        get(f"{server.url}content")
    assert away.value.code == 503
    assert "study.db" in away.value.read().decode()
    database.with_suffix(".away").rename(database)
    assert get(f"{server.url}content").status == 200
