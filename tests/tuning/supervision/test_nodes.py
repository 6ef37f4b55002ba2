"""Real nodes that are lost while trials run on them: one cluster of several raylets on this machine.

A killed node is a power cut, a stopped one (SIGSTOP) a network that swallows everything. Ray's health check is
shortened: `benchmarks.nodes` measures what it takes by default. What follows from a loss, at which moment and how
often, is proved in `test_nodes_whole`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.raylets import RayNode, RayNodes, ray_nodes
from tests.support.specs import GRID, HYPEROPT_ASHA, PBT, curve_fields
from trainables.learning_curve import LearningCurve
from trainables.spec import Params
from tuning import compare, load_spec
from tuning.outcome import ExperimentOutcome, TrialState
from tuning.spec.models import ExperimentSpec
from tuning.store.study_store import StudyStore

pytestmark = pytest.mark.system

EPOCHS = 3
PATIENCE = 60.0  # seconds for processes of trials to appear, on a busy machine
TRAINS = ("ray::Slot.train", "ray::_Inner.train")  # titles of a process that trains, whatever it is
SOON = {"RAY_health_check_period_ms": "1000", "RAY_health_check_timeout_ms": "2000"}


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayNodes]:
    """A head that holds no trial, and a worker with two slots."""
    with (
        tempfile.TemporaryDirectory(prefix="tfn", dir="/tmp", ignore_cleanup_errors=True) as folder,
        ray_nodes(Path(folder), HOME=folder, **SOON) as made,
    ):
        made.start("head", cpus=0, gpus=0)
        made.start("stays", cpus=2, gpus=2)
        yield made


def run(
    nodes: RayNodes, folder: Path, act: Callable[[str], None], **changed: Any
) -> tuple[ExperimentSpec, ExperimentOutcome, list[str]]:
    """Runs an experiment on these nodes; `act` is called with each line of its progress as it comes."""
    fields: dict[str, Any] = {
        "epochs": EPOCHS,
        "fixed": {"model.seconds_per_epoch": 1.0},
        "cluster": {"address": nodes.nodes[0].address, "max_concurrent": None},
    }
    (folder / "spec.yaml").write_text(yaml.safe_dump(curve_fields(folder, **{**fields, **changed})))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}
    lines = []
    with subprocess.Popen(
        [sys.executable, "-m", "tuning.cli", "run", str(folder / "spec.yaml")],
        env={**environment, "HOME": str(nodes.folder), "RAY_AUTH_MODE": "disabled"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            act(line)
    assert process.returncode == 0, "".join(lines)
    spec = load_spec(folder / "spec.yaml")
    return spec, StudyStore(spec.store_url).load(spec.name), lines


def wait_until(what: str, holds: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until, f"in {PATIENCE:g} s {what}"
        time.sleep(0.05)


class Once:
    """Calls `what` at the first line in which all of `words` are, if one comes."""

    def __init__(self, what: Callable[[], None], *words: str) -> None:
        self._what, self._words, self.done = what, words, False

    def __call__(self, line: str) -> None:
        if not self.done and all(word in line for word in self._words):
            self.done = True
            self._what()


def lose(node: RayNode, how: Callable[[], None]) -> None:
    """Acts while a trial trains there: a process that only starts, or waits, is no trial's that could be lost."""
    wait_until(f"no trial trains on {node.name}", lambda: node.computes(TRAINS) > 0)
    how()


def undisturbed(spec: ExperimentSpec, params: Params) -> float:
    """The accuracy of a whole trial that nothing happens to."""
    trial = spec.trial_spec(0)
    curve = LearningCurve({**trial.fixed, **params, "model.seconds_per_epoch": 0.0}, trial)
    return curve.advance(EPOCHS).metrics["accuracy"]


@pytest.mark.smoke
def test_a_node_is_lost_in_the_middle_of_a_run_and_all_trials_are_complete(nodes: RayNodes, tmp_path: Path) -> None:
    node = nodes.start("killed", cpus=2, gpus=2)
    loss = Once(lambda: lose(node, node.kill), "epoch 1/")
    spec, outcome, lines = run(nodes, tmp_path, loss, strategies=[{**GRID, "points": 4}], test=False)
    assert loss.done
    (study,) = outcome.studies
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETED] * 4, lines
    assert len(study.node_losses) >= 1
    for trial in study.trials:
        assert [report.epoch for report in trial.reports] == [1, 2, 3]
        assert trial.reports[-1].metrics["accuracy"] == pytest.approx(undisturbed(spec, trial.params), abs=1e-12)


def test_all_strategies_go_on_while_one_node_is_killed_and_one_cut_off(nodes: RayNodes, tmp_path: Path) -> None:
    """One after the other: the grid loses one and gets one; the population loses that, silently; the search has what is
    left."""
    killed = nodes.start("killed too", cpus=2, gpus=2)
    joined: list[Future[RayNode]] = []

    def kill_and_join() -> None:
        lose(killed, killed.kill)
        joined.append(starter.submit(nodes.start, "joined", cpus=2, gpus=2))

    def cut_off() -> None:
        node = joined[0].result(timeout=2 * PATIENCE)
        lose(node, lambda: node.signal(signal.SIGSTOP))

    happen = [Once(kill_and_join, "grid-seed0", "epoch 1/"), Once(cut_off, "pbt-seed0", "epoch 1/")]

    def act(line: str) -> None:
        for one in happen:
            one(line)

    strategies = [{**GRID, "points": 4}, PBT, HYPEROPT_ASHA]
    cluster = {"address": nodes.nodes[0].address, "max_concurrent": None, "fill_slots": False}
    with ThreadPoolExecutor(1) as starter:
        _, outcome, lines = run(nodes, tmp_path, act, strategies=strategies, cluster=cluster)
    assert all(one.done for one in happen), lines
    for study in outcome.studies:
        assert {trial.error for trial in study.trials} == {None}, lines
        assert {trial.state for trial in study.trials} <= {TrialState.COMPLETED, TrialState.STOPPED}
        assert study.test is not None
    assert all(member.epochs == EPOCHS for member in outcome.study("pbt", 0).trials)
    named = [caveat.split(" seed")[0] for caveat in compare(outcome).caveats if "was lost" in caveat]
    assert named == ["grid", "pbt"]
    last = outcome.study("hyperopt_asha", 0)
    assert last.slots == 2  # it is no loss of this study
    assert last.slot_seconds == pytest.approx(2 * last.wall_seconds, rel=0.01)


def test_a_training_after_the_search_whose_node_is_lost_starts_again_and_has_not_failed(
    nodes: RayNodes, tmp_path: Path
) -> None:
    node = nodes.start("killed last", cpus=2, gpus=2)
    loss = Once(lambda: lose(node, node.kill), "confirming 1/")
    _, outcome, lines = run(
        nodes,
        tmp_path,
        loss,
        epochs=2,
        space={"learning_rate": {"choice": [1e-3, 1e-4]}},
        strategies=[{"kind": "grid"}],
        confirm={"top": 2, "seeds": 4},
    )
    assert loss.done
    assert any("training seed" in line and "is lost; it goes on elsewhere" in line for line in lines), lines
    (study,) = outcome.studies
    assert [one.error for one in study.confirmations] == [None] * 8
    assert sum(one.test is not None for one in study.confirmations) == 4


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


def test_a_node_that_cannot_run_trials_is_named_before_the_first(nodes: RayNodes, tmp_path: Path) -> None:
    """The last one: a node that is odd stays."""
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
