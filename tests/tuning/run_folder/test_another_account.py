"""A run while another account of the machine tries its doors: it can read, change, end or fail none of it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.support.drivers import Drivers, Watched
from tests.support.gated import Gate
from tests.support.stopped_runs import memory_of, outcomes, spec_of, study_of
from tests.support.strangers import needs_root, stranger
from tuning import load_spec
from tuning.outcome import StudyState, TrialState


@pytest.fixture
def crossing() -> Iterator[Path]:
    """Makes a folder that every account may write to, as /tmp: what is closed in it is closed by itself."""
    folder = Path(tempfile.mkdtemp(prefix="tunefleet-crossing-", dir="/tmp"))
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.system
def test_another_account_reads_changes_ends_and_fails_nothing_of_a_run(
    crossing: Path, tmp_path: Path, drivers: Drivers
) -> None:
    needs_root()
    gate = Gate(tmp_path / "gate", 3)
    raw = spec_of(crossing / "runs", "grid", 0.0, test=False, **gate.fields())
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(raw))
    spec = load_spec(raw)
    driver = Watched(drivers.start("run", str(tmp_path / "spec.yaml"), TUNEFLEET_CACHE=str(crossing / "cache")))
    assert driver.wait_until(lambda: len(driver.told) == 3), driver.errors
    running = drivers.alive()
    ports = sorted(listening(running))

    folders = [crossing, *folders_of_ray(running), memory_of(spec.run_folder / "studies" / "grid-seed0").parent]
    assert len(folders) == 3
    control = crossing / "left open"
    control.write_text("what the attempts find, if there is anything to find")
    control.chmod(0o666)
    found = as_another_account(lambda: attempts(folders, sorted(running), ports))
    assert found == {"read": [str(control)], "changed": [str(control)], "ended": [], "answers": []}

    gate.open()
    assert driver.end() == 0, driver.errors
    study = study_of(spec)
    assert study.state is StudyState.FINISHED
    assert study.count(TrialState.FAILED) == 0
    assert len(outcomes(study)) == 4


def folders_of_ray(processes: dict[int, str]) -> set[Path]:
    """Returns the session folders of these processes' Ray."""
    return {Path(found) for command in processes.values() for found in re.findall(r"=(/[^\s=]*)/session_", command)}


def listening(processes: dict[int, str]) -> set[tuple[Any, ...]]:
    """Returns the addresses and ports on which these processes listen."""
    open_ones = [one for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
    return {tuple(one.laddr) for one in open_ones if one.pid in processes}


def as_another_account(act: Callable[[], Any]) -> Any:
    """Runs `act` in a process of another account, and returns its result."""
    told, say = os.pipe()
    with stranger(lambda: os.write(say, json.dumps(act()).encode())):
        os.close(say)
        os.set_blocking(told, False)
        with os.fdopen(told, "rb") as answer:
            return json.loads(answer.read())


def attempts(folders: list[Path], pids: list[int], ports: list[tuple[Any, ...]]) -> dict[str, Any]:
    """Returns what the calling account can reach.

    That is files that it can read or change, processes that it can end, and ports that answer it.
    """
    ended, answers, refused = [], [], 0
    for pid in pids:
        try:
            os.kill(pid, signal.SIGTERM)
            ended.append(pid)
        except PermissionError:
            refused += 1
    for host, port in ports:
        if (told := answer_of(host, port)) is None:
            refused += 1
        else:
            answers.append(f"{host}:{port}: {told}")
    read, changed = [], []
    for path in everything(folders):
        if path.is_file():
            with contextlib.suppress(OSError):
                path.read_bytes()
                read.append(str(path))
            with contextlib.suppress(OSError), path.open("ab"):
                changed.append(str(path))
        elif path.is_dir():
            with contextlib.suppress(OSError):
                (path / "of another account").touch()
                changed.append(str(path))
    return {"read": read, "changed": changed, "ended": ended, "answers": answers}


def everything(folders: list[Path]) -> Iterator[Path]:
    """Yields everything below `folders` that this account can see."""
    for folder in folders:
        for place, below, files in os.walk(folder):
            yield from (Path(place, name) for name in (*below, *files))


def answer_of(host: str, port: int) -> str | None:
    """Returns what the port answers to a stranger that requests the jobs over HTTP, as Ray's agents do.

    None: nothing of any use, as from gRPC's ports, or a refusal.
    """
    connection = http.client.HTTPConnection({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port, timeout=2)
    try:
        connection.request("GET", "/api/jobs/")
        reply = connection.getresponse()
        return None if reply.status in (401, 403, 404) else f"{reply.status} {reply.read(200)!r}"
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
