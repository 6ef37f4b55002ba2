"""`tunefleet sweep-agent` against a stand-in for W&B's server, with the real client; and the stand-in against it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.serving import serving
from tests.support.wandb_server import ENTITY, PATH, PROJECT, SWEEP, ServedRun, SweepsServer
from tuning.outcome import StudyOutcome, TrialState
from tuning.spec.store_url import sqlite_url
from tuning.store.study_store import StudyStore

pytestmark = pytest.mark.system

KEY = "c0ffee00" * 5
CONFIG = {
    "method": "bayes",
    "metric": {"name": "eval/accuracy", "goal": "maximize"},
    "parameters": {"lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-2}, "note": {"value": "x"}},
}
RATES = [1e-3, 2e-3, 3e-3, 4e-3]
STOPPED = "run-1"
WORDS = [
    *("task=reviews", "trainable=learning_curve", "epochs=6", "name=served", "test=false"),
    *("fixed.model.seconds_per_epoch=2", "cluster.max_concurrent=2", "cluster.gpus_per_trial=0"),
    *("fixed.note=null",),
]
# What wandb's own agent sends, by the client's own functions.
CLIENT = f"""
import wandb
from wandb.apis.public.sweeps import _agent_heartbeat, _register_agent, _sweep_with_runs
api = wandb.Api()
assert _sweep_with_runs(api, {SWEEP!r}, "{{}}", project={PROJECT!r}, entity={ENTITY!r})["config"]
agent = _register_agent(api, "host", sweep_id={SWEEP!r}, project={PROJECT!r}, entity={ENTITY!r})["id"]
(command,) = _agent_heartbeat(api, agent, {{}}, {{}})
print(command["type"], command["run_id"], command["args"])
assert _agent_heartbeat(api, agent, {{}}, {{command["run_id"]: True}}) == []
"""


def environment(folder: Path, server: SweepsServer) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "WANDB_", "TUNEFLEET_S"))}
    own = {"HOME": str(folder / "home"), "WANDB_API_KEY": KEY, "WANDB_BASE_URL": server.url, "WANDB_SILENT": "true"}
    (folder / "home").mkdir(exist_ok=True)
    return {**kept, **own, "WANDB_ERROR_REPORTING": "false"}


class Served(NamedTuple):
    """A sweep that was served to its end."""

    server: SweepsServer
    study: StudyOutcome
    output: str
    folder: Path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    proposals = [{"lr": rate, "note": "x"} for rate in RATES]
    with serving(SweepsServer(CONFIG, proposals, stopped_after={STOPPED: 1})) as server:
        done = subprocess.run(
            [sys.executable, "-m", "tuning.cli", "sweep-agent", PATH, *WORDS],
            cwd=folder,
            env=environment(folder, server),
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        (study,) = StudyStore(sqlite_url(folder / "runs/served/study.db")).load("served").studies
        yield Served(server, study, done.stdout + done.stderr, folder)


def run_of(served: Served, rate: float) -> tuple[str, ServedRun]:
    ((name, run),) = [(name, run) for name, run in served.server.runs.items() if run.values.get("lr") == rate]
    return name, run


def test_each_proposal_of_the_server_is_a_trial(whole: Served) -> None:
    assert [trial.params["learning_rate"] for trial in whole.study.trials] == RATES
    assert whole.study.kind == "wandb_agent"


def test_each_trial_is_the_sweeps_run_with_its_values_and_scores(whole: Served) -> None:
    for trial in whole.study.trials:
        name, run = run_of(whole, float(str(trial.params["learning_rate"])))
        assert (run.created["sweep"], run.created["name"]) == (SWEEP, name)
        config = json.loads(run.created["config"])
        assert config["lr"]["value"] == config["learning_rate"]["value"] == trial.params["learning_rate"]
        scores = [row["eval/accuracy"] for row in run.rows if "eval/accuracy" in row]
        assert scores == pytest.approx([report.metrics["accuracy"] for report in trial.reports])
        assert run.exit_code == 0
    assert len(whole.server.runs) == len(RATES), "no run besides those of the sweep"


def test_a_run_that_the_server_stops_ends_early_and_others_do_not(whole: Served) -> None:
    for trial in whole.study.trials:
        name, _ = run_of(whole, float(str(trial.params["learning_rate"])))
        if name == STOPPED:
            assert trial.state is TrialState.STOPPED
            assert 0 < trial.epochs < 6


def test_two_slots_are_two_agents(whole: Served) -> None:
    assert len({run.agent for run in whole.server.runs.values()}) == 2


def test_the_key_is_shown_to_the_server_and_written_nowhere(whole: Served) -> None:
    header = base64.b64encode(f"api:{KEY}".encode())
    assert whole.server.credentials == {f"Basic {header.decode()}"}
    files = [path for path in whole.folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert [path for path in files if any(form in path.read_bytes() for form in (KEY.encode(), header))] == []
    assert KEY not in whole.output


def test_requests_are_those_of_wandbs_own_agent(whole: Served, tmp_path: Path) -> None:
    with serving(SweepsServer(CONFIG, [{"lr": 1e-3}])) as server:
        done = subprocess.run(
            [sys.executable, "-c", CLIENT], cwd=tmp_path, env=environment(tmp_path, server),
            capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.strip().endswith("run run-0 {'lr': {'value': 0.001}}")
        for name in ("CreateAgent", "Heartbeat", "SweepWithRuns"):
            (theirs, *_), (ours, *_) = server.operations(name), whole.server.operations(name)
            told: Any = {key: type(value) for key, value in theirs.items() if key != "specs"}
            assert {key: type(value) for key, value in ours.items()} == told
