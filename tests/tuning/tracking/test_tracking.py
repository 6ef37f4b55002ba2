"""W&B tracking: what a run holds, and that its key is in no file afterwards."""

from __future__ import annotations

import base64
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.offline_runs import records, rows_of
from tests.support.refusing_server import RefusingServer
from tuning.spec import WandbSpec
from tuning.tracking import tracking
from tuning.tracking.tracking import Secret, Tracking, TrackingError

CANARY = "c0ffee00" * 5  # 40 hexadecimal characters, as a key has

# A whole study in a process of its own. A copy of Ray's folder is kept before it goes, for the search.
DRIVER = """
import shutil, sys
from pathlib import Path
from cluster import ClusterSpec
from cluster.session import connect
from trainables.spec import FineTuneSpec, Objective
from tuning.spec import WandbSpec
from tuning.tracking.tracking import Tracking
from types import SimpleNamespace

mode, key_file, folder, copy = sys.argv[1], sys.argv[2] or None, Path(sys.argv[3]), sys.argv[4]
spec = SimpleNamespace(wandb=WandbSpec(mode=mode, key_file=key_file), name="exp", run_folder=folder)
tracked = Tracking.of(spec)
print(tracked.describe())
with connect(ClusterSpec(), run_folder=folder):
    import ray
    from ray import tune
    from trainables.slot import make_trainable
    trial = FineTuneSpec(trainable="learning_curve", task="reviews", epochs=3, fixed={"lr_scheduler_type": "cosine"},
                         objective=Objective(metric="accuracy", mode="max"))
    results = tune.Tuner(
        make_trainable(trial, devices=1),
        param_space={"learning_rate": tune.grid_search([1e-3, 1e-2])},
        run_config=tune.RunConfig(name="study", storage_path=str(folder / "studies"), verbose=0,
                                  callbacks=tracked.callbacks("pbt", 7)),
    ).fit()
    assert results.num_errors == 0 and len(results) == 2
    ray_folder = ray._private.worker._global_node.get_temp_dir_path()
    shutil.copytree(ray_folder, copy, symlinks=True, ignore=lambda _, names: [n for n in names if n == "sockets"])
"""


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setattr(tracking, "_taken", None)


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A short stand-in for the system's temporary folder: Ray's sockets have long names."""
    with tempfile.TemporaryDirectory(prefix="tft", dir="/tmp") as folder:
        yield Path(folder)


def track(wandb: WandbSpec, folder: Path) -> Tracking:
    return Tracking.of(SimpleNamespace(wandb=wandb, name="exp", run_folder=folder))  # type: ignore[arg-type]


def run_driver(tmp_path: Path, temporary: Path, mode: str, key_file: str = "", **environment: str) -> str:
    (tmp_path / "home").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "WANDB_"))}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, mode, key_file, str(tmp_path / "run"), str(tmp_path / "ray")],
        env={**kept, "HOME": str(tmp_path / "home"), "TMPDIR": str(temporary), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.unit
def test_without_a_key_it_is_disabled_and_says_how_to_change_that(tmp_path: Path) -> None:
    tracked = track(WandbSpec(), tmp_path)
    assert tracked.mode == "disabled"
    assert tracked.callbacks("grid", 0) == []
    assert tracked.describe() == (
        "W&B: disabled (no WANDB_API_KEY and no wandb.key_file; set wandb.mode=offline to keep local runs)"
    )


@pytest.mark.unit
def test_online_without_a_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"wandb\.mode: online needs a key.*wandb\.mode=offline"):
        track(WandbSpec(mode="online"), tmp_path)


@pytest.mark.unit
def test_a_key_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"wandb\.key_file: .*nowhere cannot be read: No such file"):
        track(WandbSpec(key_file=str(tmp_path / "nowhere")), tmp_path)


@pytest.mark.unit
@pytest.mark.parametrize("content", ["", "\n", "api_key: abc"])
def test_a_key_file_without_exactly_one_key_is_refused_without_showing_it(tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_text(content)
    with pytest.raises(TrackingError, match="must hold the key and nothing else") as caught:
        track(WandbSpec(key_file=str(tmp_path / "key")), tmp_path)
    assert "abc" not in str(caught.value)


@pytest.mark.unit
def test_the_key_leaves_the_environment_and_serves_later_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", CANARY)
    first, second = track(WandbSpec(), tmp_path), track(WandbSpec(), tmp_path)
    assert "WANDB_API_KEY" not in os.environ
    assert first.mode == second.mode == "online"
    assert second.key is not None
    assert second.key.reveal() == CANARY
    assert CANARY not in f"{first!r} {first}"


@pytest.mark.unit
def test_disabled_takes_the_key_out_of_the_environment_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", CANARY)
    tracked = track(WandbSpec(mode="disabled"), tmp_path)
    assert tracked.key is None
    assert tracked.describe() == "W&B: disabled"
    assert "WANDB_API_KEY" not in os.environ


@pytest.mark.unit
def test_a_secret_shows_itself_nowhere() -> None:
    secret = Secret(CANARY)
    assert CANARY not in f"{secret} {secret!r}"
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(secret)


@pytest.mark.unit
def test_a_pickled_callback_holds_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", CANARY)
    (callback,) = track(WandbSpec(), tmp_path).callbacks("grid", 0)
    assert CANARY.encode() not in pickle.dumps(callback)


@pytest.mark.system
def test_wandb_is_imported_only_when_it_is_used() -> None:
    code = (
        "import sys; from types import SimpleNamespace as N; from pathlib import Path\n"
        "from tuning.spec import WandbSpec; from tuning.tracking.tracking import Tracking\n"
        "Tracking.of(N(wandb=WandbSpec(), name='e', run_folder=Path('.'))).callbacks('grid', 0)\n"
        "assert not {'wandb', 'ray'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.system
def test_a_run_that_is_not_tracked_imports_no_wandb() -> None:
    code = (
        "import sys; import tuning.run.searching, tuning.finish.final; from ray.tune import Callback, tune\n"
        "from tuning.run.ray_internals import uncounted_callbacks\n"
        "with uncounted_callbacks(): tune.air_usage.tag_callbacks([Callback()])\n"
        "assert 'wandb' not in sys.modules\n"
        "tune.air_usage.tag_callbacks([Callback()])\n"
        "assert 'wandb' in sys.modules  # or there is nothing to avoid"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.unit
def test_run_ids_are_stable_distinct_and_short_enough() -> None:
    from tuning.tracking.wandb_runs import run_id

    assert run_id("exp/pbt/seed0", "ab12c_00001") == "exp-pbt-seed0-ab12c_00001"
    long = ["x" * 80 + f"/pbt/seed{seed}" for seed in range(2)]
    ids = {run_id(group, trial) for group in long for trial in ("ab12c_00000", "ab12c_00001")}
    assert len(ids) == 4
    assert max(map(len, ids)) <= 64


@pytest.mark.system
def test_an_offline_run_per_trial_holds_params_in_force_and_metrics(tmp_path: Path, temporary: Path) -> None:
    printed = run_driver(tmp_path, temporary, "offline", WANDB_API_KEY=CANARY)
    assert "W&B: offline" in printed
    files = sorted((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
    rates = set()
    for file in files:
        held = list(records(file))
        (run,) = (record.run for record in held if record.HasField("run"))  # type: ignore[attr-defined]
        assert run.run_group == "exp/pbt/seed7"
        assert run.run_id.startswith("exp-pbt-seed7-")
        rows = list(rows_of(file))
        assert [row["epoch"] for row in rows] == [1, 2, 3]
        assert {row["params/lr_scheduler_type"] for row in rows} == {"cosine"}
        assert all(0 < row["metrics/accuracy"] < 1 for row in rows)
        rates.add(rows[-1]["params/learning_rate"])
    assert rates == {1e-3, 1e-2}
    assert_nothing_outside(tmp_path, temporary)
    assert holders(tmp_path) == []


@pytest.fixture
def server() -> Iterator[str]:
    RefusingServer.shown.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), RefusingServer) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def holders(folder: Path) -> list[str]:
    """The files below `folder` that hold the key, plain or as the HTTP header would."""
    header = base64.b64encode(f"api:{CANARY}".encode())
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "key-of-the-user"]
    assert len(files) > 20, "the search found next to nothing to search"
    return [str(path) for path in files if any(form in path.read_bytes() for form in (CANARY.encode(), header))]


def assert_nothing_outside(tmp_path: Path, temporary: Path) -> None:
    assert list((tmp_path / "home").rglob("*")) == []
    assert list(temporary.iterdir()) == []


@pytest.mark.system
@pytest.mark.parametrize("source", ["variable", "file"])
def test_a_key_reaches_the_server_and_no_file(source: str, tmp_path: Path, temporary: Path, server: str) -> None:
    environment = {"WANDB_BASE_URL": server, "WANDB_INIT_TIMEOUT": "10"}
    key_file = ""
    if source == "variable":
        environment["WANDB_API_KEY"] = CANARY
    else:
        (tmp_path / "key-of-the-user").write_text(CANARY + "\n")
        key_file = str(tmp_path / "key-of-the-user")
    printed = run_driver(tmp_path, temporary, "auto", key_file, **environment)
    assert "W&B: online" in printed
    assert printed.count("is not tracked") == 1  # refused, said so once, and the study went on
    header = base64.b64encode(f"api:{CANARY}".encode()).decode()
    assert f"Basic {header}" in RefusingServer.shown
    assert CANARY not in printed
    assert holders(tmp_path) == []
    assert_nothing_outside(tmp_path, temporary)
