"""Tests the content of W&B runs, on the shared Ray, and which processes import wandb."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.offline_runs import records, rows_of
from trainables.spec import FineTuneSpec, Objective
from tuning.tracking.spec import WandbSpec
from tuning.tracking.tracking import Tracking


@pytest.mark.ray
def test_an_offline_run_per_trial_holds_params_in_force_and_metrics(ray_session: None, tmp_path: Path) -> None:
    from ray import tune

    from trainables.worker.slot import make_trainable

    spec = SimpleNamespace(wandb=WandbSpec(mode="offline"), name="exp", run_folder=tmp_path)
    tracked = Tracking.of(spec)  # type: ignore[arg-type]
    assert tracked.describe().startswith("W&B: offline")
    trial = FineTuneSpec(
        trainable="learning_curve", task="reviews", epochs=3, fixed={"lr_scheduler_type": "cosine"},
        objective=Objective(metric="accuracy", mode="max"),
    )  # fmt: skip
    results = tune.Tuner(
        make_trainable(trial, devices=1),
        param_space={"learning_rate": tune.grid_search([1e-3, 1e-2])},
        run_config=tune.RunConfig(
            name="study", storage_path=str(tmp_path / "studies"), verbose=0, callbacks=tracked.callbacks("pbt", 7)
        ),
    ).fit()
    assert (results.num_errors, len(results)) == (0, 2)

    rates = set()
    for file in sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb")):
        (run,) = (record.run for record in records(file) if record.HasField("run"))
        assert run.run_group == "exp/pbt/seed7"
        assert run.run_id.startswith("exp-pbt-seed7-")
        rows = list(rows_of(file))
        assert [row["epoch"] for row in rows] == [1, 2, 3]
        assert {row["params/lr_scheduler_type"] for row in rows} == {"cosine"}
        assert all(0 < row["metrics/accuracy"] < 1 for row in rows)
        rates.add(rows[-1]["params/learning_rate"])
    assert rates == {1e-3, 1e-2}


@pytest.mark.ray
def test_results_that_arrive_after_the_end_are_written_before_it(ray_session: None, tmp_path: Path) -> None:
    """Ray may deliver calls to an actor with several threads in any order, also the last ones."""
    import ray
    from ray.air.integrations.wandb import _QueueItem

    from tuning.tracking.wandb_writer import RunWriter

    (tmp_path / "sockets").mkdir()
    remote = ray.remote(num_cpus=0, concurrency_groups={"inbox": 1})(RunWriter)
    given = {"exclude": [], "to_config": [], "mode": "offline", "project": "exp", "id": "late", "dir": str(tmp_path)}
    writer = remote.remote(str(tmp_path), str(tmp_path / "sockets"), **given)
    written = writer.run.remote({})
    items = [(_QueueItem.RESULT, {"epoch": epoch, "params": {}}) for epoch in (1, 2)]
    for number, item in reversed(list(enumerate([*items, (_QueueItem.END, None)]))):
        ray.get(writer.put.remote(number, item))
    ray.get(written)
    (file,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    assert [row["epoch"] for row in rows_of(file)] == [1, 2]


@pytest.mark.system
def test_a_run_that_is_not_tracked_imports_no_wandb() -> None:
    code = (
        "import sys; from types import SimpleNamespace as N; from pathlib import Path\n"
        "from tuning.spec.models import WandbSpec; from tuning.tracking.tracking import Tracking\n"
        "assert Tracking.of(N(wandb=WandbSpec(), name='e', run_folder=Path('.'))).callbacks('g', 0) == []\n"
        "assert not {'wandb', 'ray'} & set(sys.modules)\n"
        "import tuning.study.study_runner, tuning.selection.test_scoring\n"
        "assert 'wandb' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
