"""Population-based training on real Ray, where it rests on real processes, or on a function of the user's own."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.support.specs import curve_experiment
from tuning import run_experiment
from tuning.outcome import TrialState
from tuning.spec.models import ExperimentSpec
from tuning.store.study_store import StoreError, StudyStore
from tuning.tune_compat.processes import actor_alive

pytestmark = pytest.mark.ray

SECONDS = 120.0  # that each step of what follows may take, on a busy machine


def test_a_report_without_a_checkpoint_ends_the_run_and_says_what_to_do(ray_session: None, tmp_path: Path) -> None:
    own = "tests.support.own_trainables:train_without_checkpoints"
    spec = curve_experiment(tmp_path, trainable=own, strategies=[{"kind": "pbt", "population": 2}])
    with pytest.raises(RuntimeError, match="checkpoint=FOLDER"):
        run_experiment(spec, progress=False)


def test_members_that_are_functions_keep_their_slots_while_they_wait(ray_session: None, tmp_path: Path) -> None:
    """Its process computes for no other study: a member that gave its slot up would start anew for nothing."""
    starts, pace = tmp_path / "starts", "model.seconds_per_epoch"
    spec = curve_experiment(
        tmp_path,
        trainable="tests.support.own_trainables:train_and_count_starts",
        strategies=[{"kind": "pbt", "population": 2}, {"kind": "random", "trials": 3}],
        space={"learning_rate": {"loguniform": [1e-5, 1e-2]}, pace: {"choice": [0.1, 1.0], "mutate": False}},
        fixed={"model.starts": str(starts)},
        epochs=3,
        seeds=[2],  # the member that waits is the better one, and goes on as it is
        cluster={"max_concurrent": 2},
        test=False,
    )
    members, _ = run_experiment(spec, progress=False).studies
    assert len({trial.params[pace] for trial in members.trials}) == 2  # one waits for the other
    takeovers = sum(len(trial.lineage) for trial in members.trials)
    assert len(starts.read_text().splitlines()) == 2 + takeovers + 3


def test_a_dead_process_is_not_handed_to_another_member(ray_session: None, tmp_path: Path) -> None:
    """The first member that has saved epoch 2 is killed while it is held, unknown to Tune, which asks nothing of it.

    Then the second one dies. Each member fails once, which is allowed; the one that got the other's dead process would
    fail twice.
    """
    held, go_on = tmp_path / "held", tmp_path / "go-on"
    spec = curve_experiment(
        tmp_path,
        trainable="tests.support.own_trainables:Held",
        objective={"metric": "accuracy", "mode": "max"},
        strategies=[{"kind": "pbt", "population": 2}],
        fixed={"model.held": str(held), "model.go_on": str(go_on)},
        max_failures=1,
        test=False,
    )
    killer = threading.Thread(target=kill_the_held_one, args=(spec, held, go_on))
    killer.start()
    (study,) = run_experiment(spec, progress=False).studies
    killer.join(SECONDS)
    assert go_on.read_text() == "dead"
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETED] * 2


def kill_the_held_one(spec: ExperimentSpec, held: Path, go_on: Path) -> None:
    """Once its checkpoint of epoch 2 is recorded; the other member waits for the file `go_on` before it dies itself."""

    def saved() -> bool:
        try:
            (study,) = StudyStore(spec.store_url).load(spec.name).studies
        except (StoreError, ValueError):  # nothing is recorded yet
            return False
        return any(2.0 in trial.checkpoints for trial in study.trials)

    try:
        wait_until(held.exists, "a member has saved epoch 2")
        wait_until(saved, "its checkpoint is recorded")
        process, actor = json.loads(held.read_text())
        os.kill(process, signal.SIGKILL)
        wait_until(lambda: not actor_alive(actor), "Ray knows that its process is dead")
        go_on.write_text("dead")
    finally:
        if not go_on.exists():
            go_on.write_text("failed")


def wait_until(happened: object, what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not happened():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"after {SECONDS:g} s it is not so that {what}"
        time.sleep(0.05)
