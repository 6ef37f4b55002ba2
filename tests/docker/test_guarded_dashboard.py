"""The optuna-dashboard of compose: nobody reads or changes a study there without the password."""

from __future__ import annotations

import base64
import importlib.util
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from wsgiref.simple_server import make_server

import pytest

from tests.support.serving import serving
from tests.support.stores import open_study
from tuning.spec.store_url import sqlite_url
from tuning.store.study_store import StudyStore

pytestmark = pytest.mark.unit

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def program() -> ModuleType:
    path = Path(__file__).parents[2] / "docker" / "guarded_dashboard.py"
    spec = importlib.util.spec_from_file_location("guarded_dashboard", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def url(program: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from optuna_dashboard import wsgi

    store = sqlite_url(tmp_path_factory.mktemp("store") / "study.db")
    open_study(StudyStore(store))
    app = program.guarded(wsgi(store), PASSWORD)
    with serving(
        make_server("127.0.0.1", 0, app, server_class=program.Server, handler_class=program.Handler)
    ) as server:
        yield f"http://127.0.0.1:{server.server_port}"


def ask(url: str, authorization: str | None, method: str = "GET") -> tuple[int, bytes]:
    headers = {} if authorization is None else {"Authorization": authorization}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers, method=method), timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"me:{password}".encode()).decode()


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Basic", "Basic !!!", basic(""), basic(PASSWORD[:-1]), basic(PASSWORD + "x"), f"Bearer {PASSWORD}"],
)
def test_without_the_password_nothing_is_shown_and_nothing_is_deleted(url: str, authorization: str | None) -> None:
    for method, path in (("GET", "/"), ("GET", "/api/studies"), ("DELETE", "/api/studies/1"), ("POST", "/api/studies")):
        status, said = ask(url + path, authorization, method)
        assert status == 401
        assert b"reviews" not in said
    assert ask(f"{url}/api/studies", basic(PASSWORD))[0] == 200


def test_with_it_the_studies_are_shown(url: str) -> None:
    status, said = ask(f"{url}/api/studies", basic(PASSWORD))
    assert status == 200
    assert [study["study_name"] for study in json.loads(said)["study_summaries"]] == ["reviews/pbt/seed-3"]


def test_a_short_password_is_refused(program: ModuleType) -> None:
    with pytest.raises(ValueError, match="openssl rand -hex 24"):
        program.guarded(lambda environment, start: [], "")
