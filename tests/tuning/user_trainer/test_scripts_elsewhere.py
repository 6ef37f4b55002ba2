"""Whole searches from a script whose storage is a bucket, or whose trials run on a machine that joined a cluster."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.buckets import credentials, objects, s3_server
from tests.support.raylets import can_disguise, ray_nodes

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[3]
# `parts` and what is defined here travel by value; the two members of the population are cloned.
SCRIPT = """
import json, sys
import tunefleet
from parts import rows, trainer

made = trainer({"output_dir": "out", "num_train_epochs": 3})


def hp_space(trial):
    return {"learning_rate": trial.suggest_float("learning_rate", 1e-3, 1e-2, log=True)}


best = tunefleet.hyperparameter_search(
    made,
    hp_space,
    n_trials=2,
    strategies={"kind": "pbt", "quantile": 0.5},
    test_dataset=rows(32, 2),
    name="mine",
    **json.loads(sys.argv[1]),
)
study = best.run_summary.study
print("the same:", best.objective == made.evaluate()["eval_loss"])
print("cloned:", any(trial.lineage for trial in study.trials), [str(trial.state) for trial in study.trials])
print("test rows:", study.test.rows)
"""


def searched(folder: Path, environment: dict[str, str], **where: Any) -> str:
    """The output of the script, started in `folder`."""
    shutil.copy(ROOT / "tests" / "support" / "user_trainers.py", folder / "parts.py")
    (folder / "script.py").write_text(SCRIPT)
    paths = f"{ROOT}{os.pathsep}{ROOT / 'tuning' / 'api'}"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}
    done = subprocess.run(
        [sys.executable, "script.py", json.dumps({"cluster": {"gpus_per_trial": 0}, **where})],
        cwd=folder,
        env={**inherited, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def require_whole(shown: str) -> None:
    assert "the same: True" in shown
    assert "cloned: True ['completed', 'completed']" in shown
    assert "test rows: 32" in shown


def test_with_a_storage_in_a_bucket_everything_lies_there_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, machine = tmp_path / "home", tmp_path / "machine"
    home.mkdir()
    with s3_server() as server:
        access = credentials(server)
        for name, value in access.items():
            monkeypatch.setenv(name, value)
        shown = searched(home, {**access, "TUNEFLEET_CACHE": str(machine)}, storage="s3://bucket/runs")
        there = objects("s3://bucket/runs")
    require_whole(shown)
    assert {"mine/spec.yaml", "mine/study.db"} <= {*there}
    shipped = [Path(name) for name in there if name.startswith(".shipped/")]
    assert sorted({path.suffix for path in shipped} - {""}) == [".arrow", ".pkl"]
    assert {path.name for path in home.iterdir()} <= {"parts.py", "script.py", "__pycache__", "out"}


@pytest.mark.skipif(not can_disguise(), reason="needs the right to make namespaces")
def test_on_a_machine_that_has_joined_a_cluster_the_same_comes_back(tmp_path: Path) -> None:
    """All trials run on the machine that joined, in shared memory of its own, which the driver never sees."""
    with (
        tempfile.TemporaryDirectory(prefix="tfe", dir="/tmp", ignore_cleanup_errors=True) as folder,
        ray_nodes(Path(folder), disguised=True, closed=True) as nodes,
    ):
        head = nodes.start("head", cpus=0, gpus=0)
        nodes.start("other-machine", cpus=1, gpus=0)
        where = {"cluster": {"gpus_per_trial": 0, "address": head.address}, "storage": str(tmp_path / "runs")}
        shown = searched(tmp_path, dict(head.access), **where)
    require_whole(shown)
    assert (tmp_path / "runs" / "mine" / "study.db").is_file()
