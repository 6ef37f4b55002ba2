"""Nodes that come and go while trials run: one cluster of several raylets, one run of all three strategies.

A killed node is a power cut, a stopped one (SIGSTOP) a network that swallows everything. Ray's health check is
shortened: what it takes by default is told by `benchmarks.nodes`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests.support.raylets import TRAINING, RayNode, RayNodes, ray_nodes
from trainables.learning_curve import LearningCurve
from trainables.spec import Params
from tuning import compare, load_spec, run_experiment
from tuning.outcome import ExperimentOutcome, StudyOutcome, TrialState
from tuning.spec import ExperimentSpec
from tuning.store.study_store import StudyStore

EPOCHS = 4
CLI = (sys.executable, "-m", "tuning.cli")
SOON = {"RAY_health_check_period_ms": "1000", "RAY_health_check_timeout_ms": "2000"}


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayNodes]:
    """A head that holds no trial, and two workers with two slots each."""
    with (
        tempfile.TemporaryDirectory(prefix="tfn", dir="/tmp", ignore_cleanup_errors=True) as folder,
        ray_nodes(Path(folder), HOME=folder, **SOON) as made,
    ):
        made.start("head", cpus=0, gpus=0)
        for name in ("a", "b"):
            made.start(name, cpus=2, gpus=2)
        yield made


class Run(NamedTuple):
    """What came of it."""

    spec: ExperimentSpec
    outcome: ExperimentOutcome
    lines: list[str]
    joined_was_used: bool


@pytest.fixture(scope="module")
def run(nodes: RayNodes, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The first study loses b, killed, and gets c; the second loses c, cut off; the third has a alone."""
    folder = tmp_path_factory.mktemp("nodes")
    spec = {
        "name": "shaken",
        "trainable": "learning_curve",
        "task": "reviews",
        "epochs": EPOCHS,
        "space": {"learning_rate": {"loguniform": [1e-5, 1e-2]}},
        "fixed": {"model.seconds_per_epoch": 1.0},
        "strategies": [
            {"kind": "grid", "points": 8},
            {"kind": "pbt", "population": 4, "quantile": 0.25},
            {"kind": "hyperopt_asha", "trials": 4},
        ],
        "cluster": {"storage": str(folder), "address": nodes.nodes[0].address},
    }
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    lines: list[str] = []
    used = False
    with driver(nodes, "run", str(folder / "spec.yaml")) as process:
        assert process.stdout is not None
        killed, joined = False, threading.Thread(target=nodes.start, args=("c",), kwargs={"cpus": 2, "gpus": 2})
        stopped = False
        for line in process.stdout:
            lines.append(line)
            if not killed and line.startswith("grid-seed0") and "trial" in line:
                wait_for_trials_on(nodes.nodes[2])
                nodes.nodes[2].kill()
                killed = True
                joined.start()
            if not stopped and line.startswith("pbt-seed0") and "epoch 1/" in line:
                joined.join()
                used = wait_for_trials_on(nodes.nodes[3])
                nodes.nodes[3].signal(signal.SIGSTOP)
                stopped = True
    assert process.returncode == 0, "".join(lines)
    loaded = load_spec(folder / "spec.yaml")
    return Run(loaded, StudyStore(loaded.store_url).load("shaken"), lines, used)


def driver(nodes: RayNodes, *arguments: str, program: Sequence[str] = CLI) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}
    return subprocess.Popen(
        [*program, *arguments],
        env={**environment, "HOME": str(nodes.folder), "RAY_AUTH_MODE": "disabled"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_trials_on(node: RayNode) -> bool:
    """Until processes of trials run there, 30 s at most."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if node.trials():
            return True
        time.sleep(0.1)
    return False


def study(run: Run, strategy: str) -> StudyOutcome:
    return run.outcome.study(strategy, 0)


def undisturbed(spec: ExperimentSpec, params: Params) -> float:
    """The accuracy of a whole trial that nothing happens to."""
    trial = spec.trial_spec(0)
    curve = LearningCurve({**trial.fixed, **params, "model.seconds_per_epoch": 0.0}, trial)
    return curve.advance(EPOCHS).metrics["accuracy"]


@pytest.mark.system
def test_every_trial_ends_and_none_has_failed(run: Run) -> None:
    ended = {s.strategy: [trial.state for trial in s.trials] for s in run.outcome.studies}
    assert {strategy: len(states) for strategy, states in ended.items()} == {"grid": 8, "pbt": 4, "hyperopt_asha": 4}
    errors = [trial.error for s in run.outcome.studies for trial in s.trials if trial.error]
    assert not errors, "".join(run.lines)
    assert not any(TrialState.FAILED in states or TrialState.RUNNING in states for states in ended.values()), run.lines
    assert set(ended["grid"]) == {TrialState.COMPLETED}


@pytest.mark.system
def test_a_lost_node_is_recorded_as_that_and_told_in_the_comparison(run: Run) -> None:
    losses = {s.strategy: len(s.node_losses) for s in run.outcome.studies}
    assert losses["grid"] >= 1
    assert losses["pbt"] >= 1
    assert losses["hyperopt_asha"] == 0
    told = [caveat for caveat in compare(run.outcome).caveats if "was lost" in caveat]
    assert [caveat.split(" seed")[0] for caveat in told] == ["grid", "pbt"]


@pytest.mark.system
def test_what_was_computed_again_is_what_it_was(run: Run) -> None:
    for trial in study(run, "grid").trials:
        assert [report.epoch for report in trial.reports] == [1, 2, 3, 4]
        assert trial.reports[-1].metrics["accuracy"] == pytest.approx(undisturbed(run.spec, trial.params), abs=1e-12)


@pytest.mark.system
def test_every_member_of_the_population_goes_through_every_generation(run: Run) -> None:
    for member in study(run, "pbt").trials:
        assert member.epochs == EPOCHS
    assert [exploit.epoch for member in study(run, "pbt").trials for exploit in member.lineage]


@pytest.mark.system
def test_a_node_that_joins_later_gets_trials_and_the_cost_follows_the_slots(run: Run) -> None:
    assert run.joined_was_used
    first, last = study(run, "grid"), study(run, "hyperopt_asha")
    assert (first.slots, last.slots) == (4, 2)
    assert last.slot_seconds == pytest.approx(2 * last.wall_seconds, rel=0.01)
    assert any("slots in use on average" in line for line in run.lines)


IMPATIENT = """
import sys
from tuning import cli
from tuning.finish import side_by_side
side_by_side.NODES = 0
sys.exit(cli.main())
"""


def confirm_and_lose_a_node(nodes: RayNodes, folder: Path, program: Sequence[str] = CLI) -> tuple[int, str]:
    """What it ended with, and what it said."""
    spec = {
        "name": "confirmed",
        "trainable": "learning_curve",
        "task": "reviews",
        "epochs": 2,
        "space": {"learning_rate": {"choice": [1e-3, 1e-4]}},
        "fixed": {"model.seconds_per_epoch": 1.0},
        "strategies": [{"kind": "grid"}],
        "confirm": {"top": 2, "seeds": 8},
        "cluster": {"storage": str(folder), "address": nodes.nodes[0].address},
    }
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    node = nodes.start(folder.name[-8:], cpus=2, gpus=2)
    with driver(nodes, "run", str(folder / "spec.yaml"), program=program) as process, ThreadPoolExecutor(1) as reader:
        assert process.stdout is not None
        told = reader.submit(process.stdout.read)  # or it would wait for us
        while process.poll() is None and not node.computes(TRAINING):  # on a busy machine that comes late
            time.sleep(0.05)
        killed = process.poll() is None
        node.kill()
    assert killed, told.result()
    return process.returncode, told.result()


def all_confirmed(folder: Path) -> bool:
    (grid,) = StudyStore(load_spec(folder / "spec.yaml").store_url).load("confirmed").studies
    assert sum(one.test is not None for one in grid.confirmations) == 8
    return [one.error for one in grid.confirmations] == [None] * 16


@pytest.mark.system
def test_a_training_after_the_search_whose_node_is_lost_starts_again_and_has_not_failed(
    run: Run, nodes: RayNodes, tmp_path: Path
) -> None:
    status, told = confirm_and_lose_a_node(nodes, tmp_path)
    assert status == 0, told
    assert "is lost. It starts again" in told
    assert all_confirmed(tmp_path)


@pytest.mark.system
def test_a_training_that_loses_too_many_nodes_is_left_to_a_resume_and_the_others_end(
    run: Run, nodes: RayNodes, tmp_path: Path
) -> None:
    status, told = confirm_and_lose_a_node(nodes, tmp_path, [sys.executable, "-c", IMPATIENT])
    assert status == 1, told
    assert "lost 1 nodes, at last" in told
    assert f"go on with `tunefleet resume {tmp_path}/confirmed`" in told
    (grid,) = StudyStore(load_spec(tmp_path / "spec.yaml").store_url).load("confirmed").studies
    kept = {(one.rank, one.seed): one.time for one in grid.confirmations if one.error is None}
    assert 14 <= len(kept) == len(grid.confirmations) < 16  # it had two slots
    with driver(nodes, "resume", "confirmed", "--storage", str(tmp_path)) as process:
        told = process.communicate()[0]
    assert process.returncode == 0, told
    (grid,) = StudyStore(load_spec(tmp_path / "spec.yaml").store_url).load("confirmed").studies
    assert kept.items() <= {(one.rank, one.seed): one.time for one in grid.confirmations}.items()
    assert all_confirmed(tmp_path)


@pytest.mark.ray
def test_a_process_that_dies_on_a_node_that_lives_is_the_trials_own_failure(ray_session: None, tmp_path: Path) -> None:
    spec = {
        "name": "dies",
        "trainable": "tests.support.own_trainables:Dies",
        "task": "reviews",
        "epochs": EPOCHS,
        "objective": {"metric": "accuracy", "mode": "max"},
        "space": {"learning_rate": 1e-3},
        "strategies": [{"kind": "grid", "points": 1}],
        "max_failures": 1,
        "cluster": {"storage": str(tmp_path)},
        "test": False,
    }
    (own,) = run_experiment(load_spec(spec), progress=False).studies
    assert [trial.state for trial in own.trials] == [TrialState.FAILED]
    assert own.node_losses == ()


CHECK = """
import sys
from pathlib import Path
from cluster import ClusterSpec
from cluster.session import ClusterError, connect
try:
    with connect(ClusterSpec(address=sys.argv[1]), run_folder=Path(sys.argv[2]), reads=[sys.argv[3]]) as session:
        print("joined")
except ClusterError as error:
    print(error)
"""


@pytest.mark.system
def test_a_node_that_cannot_run_trials_is_named_before_the_first(run: Run, nodes: RayNodes, tmp_path: Path) -> None:
    """After the run: the cluster is its own again."""
    other = tmp_path / "other" / "transformers-0.1.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: transformers\nVersion: 0.1\n")
    data = tmp_path / "data.csv"
    data.write_text("text,label\n")

    def checked(reads: Path) -> list[str]:
        command = [sys.executable, "-c", CHECK, nodes.nodes[0].address, str(tmp_path / "run"), str(reads)]
        return subprocess.run(command, capture_output=True, text=True, timeout=180, check=True).stdout.splitlines()

    assert checked(data) == ["joined"]
    assert list((tmp_path / "run").iterdir()) == []  # no probe stays
    nodes.start("odd", cpus=1, gpus=0, PYTHONPATH=str(other.parent))
    heading, *rows = checked(tmp_path / "nowhere")
    assert heading == "cluster.address: 3 of 3 nodes cannot run these trials:"
    assert sum("nowhere cannot be read: No such file or directory. Copy it" in row for row in rows) == 3
    (odd,) = [row for row in rows if "transformers" in row]
    assert "transformers 0.1, here " in odd
