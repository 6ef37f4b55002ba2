"""Tests the study store on a PostgreSQL server, for problems that a single user with a file does not have.

What the store itself promises is in test_store.py, on both databases.
"""

from __future__ import annotations

import shutil
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.support.outcomes import make_report
from tests.support.specs import curve_experiment
from tests.support.stores import begin_trial, open_study
from tuning import compare, load_spec, run_experiment
from tuning.cli import main
from tuning.outcome import StudyState
from tuning.spec.models import SPEC_FILE, STORE_VARIABLE
from tuning.store import database as database_module
from tuning.store.study_store import StoreError, StudyStore
from tuning.testing.simulated_ray import simulated_ray

if TYPE_CHECKING:
    from tests.support.postgres_server import PostgresServer

pytestmark = [pytest.mark.postgres, pytest.mark.system]


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.new_database()


def at_once(count: int, work: Callable[[int], object]) -> None:
    """Runs `work(0)` to `work(count - 1)` in threads that start together."""
    together = threading.Barrier(count)

    def started(number: int) -> None:
        together.wait(timeout=60)
        work(number)

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(started, range(count)))


def test_drivers_that_open_a_new_database_at_once_all_record_their_own_experiment(
    postgres: PostgresServer, url: str
) -> None:
    def drive(number: int) -> None:
        writer = open_study(StudyStore(url), experiment=f"mine-{number}", new=True)
        begin_trial(writer, "a")
        for epoch in range(1, 11):
            writer.add_report("a", make_report(epoch, number / 10))

    at_once(6, drive)
    store = StudyStore(url)
    assert sorted(store.experiments()) == [f"mine-{number}" for number in range(6)]
    for number in range(6):
        (trial,) = store.load(f"mine-{number}").studies[0].trials
        assert [(r.epoch, r.metrics["accuracy"]) for r in trial.reports] == [(e, number / 10) for e in range(1, 11)]
    assert len(postgres.sql("select * from alembic_version", url.rpartition("/")[2])) == 1


def test_of_drivers_that_start_one_experiment_at_once_all_but_one_are_refused(url: str) -> None:
    refused = []

    def drive(number: int) -> None:
        try:
            begin_trial(open_study(StudyStore(url), new=True), f"trial-{number}")
        except StoreError as error:
            refused.append(str(error))

    at_once(4, drive)
    assert len(StudyStore(url).load("reviews").studies[0].trials) == 1
    assert len(refused) == 3
    assert all("another run has recorded reviews/pbt/seed-3" in message for message in refused)


@pytest.fixture
def stoppable(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """A server that the test may stop; it is started again afterwards."""
    yield postgres
    postgres.start()


@contextmanager
def started_again_once_asked(server: PostgresServer) -> Iterator[threading.Event]:
    """Starts the stopped server inside the block, after a connection attempt failed."""
    asked = threading.Event()

    def come_back() -> None:
        with socket.create_server(("127.0.0.1", server.port)) as nobody:
            nobody.settimeout(60)
            nobody.accept()[0].close()
        asked.set()
        server.start()

    with ThreadPoolExecutor(1) as pool:
        back = pool.submit(come_back)
        yield asked
        back.result()


def test_a_server_that_is_restarted_between_two_reports_costs_nothing(stoppable: PostgresServer, url: str) -> None:
    store = StudyStore(url)
    writer = open_study(store)
    begin_trial(writer, "a")
    writer.add_report("a", make_report(1, 0.5))
    stoppable.stop()
    with started_again_once_asked(stoppable) as asked:
        writer.add_report("a", make_report(2, 0.6))
        begin_trial(writer, "b")
    assert asked.is_set()
    assert [r.epoch for r in store.load("reviews").studies[0].trials[0].reports] == [1, 2]


def test_a_server_that_stays_away_is_reported_with_what_to_do(
    stoppable: PostgresServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "RECONNECT", 0.1)
    writer = open_study(StudyStore(url))
    begin_trial(writer, "a")
    stoppable.stop()
    with pytest.raises(
        StoreError, match=r"cannot record report of trial a .*is the server up.*tunefleet resume"
    ) as caught:
        writer.add_report("a", make_report(1, 0.5))
    assert_no_password(str(caught.value), stoppable)


def assert_no_password(text: str, server: PostgresServer) -> None:
    password = server.password
    assert password not in text
    assert quote(password, safe=" ") not in text
    assert quote(password, safe="") not in text


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"password": "wrong-one"}, r"password authentication failed.*TUNEFLEET_STORE"),
        ({"user": "stranger"}, r'authentication failed for user "stranger"'),
        ({"database": "nowhere"}, r'database "nowhere" does not exist; create it on the server \(createdb'),
    ],
)
def test_a_server_that_refuses_is_reported_without_the_password(
    postgres: PostgresServer, changed: dict[str, str], problem: str
) -> None:
    url = postgres.url(**{"database": "postgres", **changed})
    with pytest.raises(StoreError, match=rf"study store postgresql://.*{problem}") as caught:
        open_study(StudyStore(url))
    assert_no_password(str(caught.value), postgres)
    assert "wrong-one" not in str(caught.value)


def test_an_empty_database_holds_no_studies_and_reading_makes_no_tables(postgres: PostgresServer, url: str) -> None:
    with pytest.raises(StoreError, match="holds no studies"):
        StudyStore(url).experiments()
    assert postgres.sql("select * from pg_tables where schemaname = 'public'", url.rpartition("/")[2]) == []


def test_a_missing_driver_is_reported_with_what_to_install(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "psycopg"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match=r"psycopg is not installed; pip install 'tunefleet\[postgres\]'"):
        StudyStore(url).experiments()


@pytest.mark.smoke
def test_a_whole_run_is_recorded_resumed_and_compared_and_leaves_no_password_on_disk(
    postgres: PostgresServer, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STORE_VARIABLE, url)
    spec, elsewhere = (
        curve_experiment(tmp_path / place, fixed={"model.seconds_per_epoch": 60.0}) for place in ("here", "there")
    )
    with simulated_ray() as ray:
        outcome = run_experiment(spec, progress=False)
        assert {s.strategy: len(s.trials) for s in outcome.studies} == {"grid": 3, "hyperopt_asha": 6, "pbt": 4}
        assert all(s.state is StudyState.FINISHED and s.test for s in outcome.studies)
        assert all(0 < s.wall_seconds < ray.seconds for s in outcome.studies)
        assert StudyStore(url).load("whole") == outcome
        assert compare(outcome).verdict
        assert run_experiment(spec, progress=False, resume=True) == outcome
    for path in filter(Path.is_file, tmp_path.rglob("*")):
        assert_no_password(path.read_text(errors="replace"), postgres)
    assert not list(tmp_path.rglob("*.db"))

    with (
        simulated_ray(),
        pytest.raises(StoreError, match=r"another run has recorded whole/grid/seed-0 .*choose another name"),
    ):
        run_experiment(elsewhere, progress=False)
    assert not elsewhere.run_folder.exists()
    assert StudyStore(url).load("whole") == outcome


def test_what_is_recorded_there_is_extended_with_that_store_alone_and_from_one_run_folder(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(STORE_VARIABLE, url)
    monkeypatch.chdir(tmp_path)
    spec = curve_experiment(tmp_path / "runs", strategies=[{"kind": "grid", "points": 1}], epochs=1)
    (tmp_path / "mine.yaml").write_text(spec.to_yaml())
    with simulated_ray():
        assert main(["run", "mine.yaml"]) == 0
        before = StudyStore(url).load(spec.name).studies
        shutil.copytree("runs", "copy")
        first = (spec.run_folder / SPEC_FILE).read_text()
        monkeypatch.delenv(STORE_VARIABLE)
        assert main(["extend", spec.name, "seeds=[0, 1]"]) == 2
        assert "TUNEFLEET_STORE" in capsys.readouterr().err
        assert (spec.run_folder / SPEC_FILE).read_text() == first
        monkeypatch.setenv(STORE_VARIABLE, url)
        assert main(["extend", spec.name, "seeds=[0, 1]"]) == 0
        for words in (["resume"], ["extend", "seeds=[0, 5]"]):
            assert main([words[0], spec.name, "--storage", "copy", *words[1:]]) == 2
            assert "holds studies that" in capsys.readouterr().err
    after = StudyStore(url)
    assert (after.load(spec.name).studies[:1], len(after.load(spec.name).studies)) == (before, 2)
    assert after.spec(spec.name) == load_spec(spec.run_folder / SPEC_FILE).to_yaml()
    assert not list(tmp_path.rglob("*.db"))
