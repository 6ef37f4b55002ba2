"""The W&B key reaches the server and no file: a driver has a Ray, a home and a temporary folder of its own."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.refusing_server import RefusingServer
from tests.support.serving import serving

pytestmark = pytest.mark.system

OF_VARIABLE, OF_FILE = "c0ffee00" * 5, "decafbad" * 5  # 40 hexadecimal characters, as a key has

# Three experiments of one process: with a key out of a file, with one out of the environment, and offline.
# A copy of Ray's folder is kept before it goes, for the search.
DRIVER = """
import os, shutil, sys
from pathlib import Path
from types import SimpleNamespace
from cluster import ClusterSpec
from cluster.session import connect
from trainables.spec import FineTuneSpec, Objective
from tuning.tracking.spec import WandbSpec
from tuning.tracking.tracking import Tracking

key_file, folder, copy = sys.argv[1], Path(sys.argv[2]), sys.argv[3]

def tracking(name, **wandb):
    tracked = Tracking.of(SimpleNamespace(wandb=WandbSpec(**wandb), name=name, run_folder=folder / name))
    print(name, tracked.describe(), flush=True)
    return tracked

kept = os.environ.pop("WANDB_API_KEY")  # it would come before the file
ways = [tracking("file", key_file=key_file)]
os.environ["WANDB_API_KEY"] = kept
ways += [tracking("variable"), tracking("offline", mode="offline")]
with connect(ClusterSpec(), run_folder=folder):
    import ray
    from ray import tune
    from trainables.worker.slot import make_trainable
    trial = FineTuneSpec(trainable="learning_curve", task="reviews", epochs=3,
                         objective=Objective(metric="accuracy", mode="max"))
    for way in ways:
        results = tune.Tuner(
            make_trainable(trial, devices=1),
            param_space={"learning_rate": tune.grid_search([1e-3, 1e-2])},
            run_config=tune.RunConfig(name="study", storage_path=str(way.run_folder / "studies"), verbose=0,
                                      callbacks=way.callbacks("pbt", 7)),
        ).fit()
        assert results.num_errors == 0 and len(results) == 2
    ray_folder = ray._private.worker._global_node.get_temp_dir_path()
    shutil.copytree(ray_folder, copy, symlinks=True, ignore=lambda _, names: [n for n in names if n == "sockets"])
"""


class Driven(NamedTuple):
    """The output of the driver and the files that it left."""

    output: str
    shown: set[str]  # credentials, by the server
    folder: Path  # with all that it was given
    temporary: Path


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driven]:
    folder = tmp_path_factory.mktemp("tracked")
    (folder / "home").mkdir()
    (folder / "key-of-the-user").write_text(OF_FILE + "\n")
    RefusingServer.shown.clear()
    with (
        tempfile.TemporaryDirectory(prefix="tft", dir="/tmp") as temporary,  # Ray's sockets have long names
        serving(ThreadingHTTPServer(("127.0.0.1", 0), RefusingServer)) as server,
    ):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "WANDB_"))}
        own = {"HOME": str(folder / "home"), "TMPDIR": temporary, "WANDB_API_KEY": OF_VARIABLE}
        own |= {"WANDB_BASE_URL": f"http://127.0.0.1:{server.server_port}", "WANDB_INIT_TIMEOUT": "10"}
        words = [str(folder / "key-of-the-user"), str(folder / "run"), str(folder / "ray")]
        done = subprocess.run(
            [sys.executable, "-c", DRIVER, *words],
            env={**kept, **own},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        yield Driven(done.stdout + done.stderr, set(RefusingServer.shown), folder, Path(temporary))


def header(key: str) -> bytes:
    return base64.b64encode(f"api:{key}".encode())


def test_a_key_reaches_the_server_out_of_the_environment_and_out_of_a_file(driven: Driven) -> None:
    for way, mode in (("file", "online"), ("variable", "online"), ("offline", "offline")):
        assert f"{way} W&B: {mode}" in driven.output
    assert driven.shown - {""} == {f"Basic {header(key).decode()}" for key in (OF_FILE, OF_VARIABLE)}


def test_a_server_that_refuses_is_reported_once_per_experiment_and_the_trials_go_on(driven: Driven) -> None:
    assert driven.output.count("is not tracked") == 2


def test_a_key_is_in_no_file_and_in_nothing_that_is_said(driven: Driven) -> None:
    files = [path for path in driven.folder.rglob("*") if path.is_file() and path.name != "key-of-the-user"]
    assert len(files) > 60, "the search found next to nothing to search"
    assert list((driven.folder / "run/offline/wandb").glob("offline-run-*/*.wandb"))
    for key in (OF_FILE, OF_VARIABLE):
        forms = (key.encode(), header(key))  # plain, and as the HTTP header has it
        assert [path for path in files if any(form in path.read_bytes() for form in forms)] == []
        assert key not in driven.output


def test_nothing_is_written_into_the_home_or_the_temporary_folder(driven: Driven) -> None:
    assert list((driven.folder / "home").rglob("*")) == []
    assert list(driven.temporary.iterdir()) == []
