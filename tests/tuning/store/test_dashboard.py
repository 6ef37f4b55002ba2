"""Tests what `optuna-dashboard` shows of a study store."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.support.outcomes import make_report
from tests.support.stores import begin_trial, make_exploit
from tuning.outcome import TrialState
from tuning.store.study_store import StudyStore, StudyWriter

pytestmark = pytest.mark.system

DASHBOARD_STATES = {
    "Complete": TrialState.COMPLETED,
    "Pruned": TrialState.STOPPED,
    "Fail": TrialState.FAILED,
    "Running": TrialState.RUNNING,
}


def test_optuna_dashboard_shows_the_trials_that_we_load(store: StudyStore, writer: StudyWriter, store_url: str) -> None:
    """Makes trials of each state, one with a NaN metric, and one that copied another's weights."""
    for rate, trial in zip((0.1, 0.2, 0.3, 0.4), "abcd", strict=True):
        begin_trial(writer, trial, rate)
        writer.add_report(
            trial, make_report(1, 0.5 + rate)._replace(metrics={"accuracy": 0.5 + rate, "f1": float("nan")})
        )
    writer.add_exploit("d", make_exploit(1.0))
    writer.add_report("d", make_report(2, 0.95))
    for trial, state in (("a", TrialState.STOPPED), ("b", TrialState.COMPLETED), ("c", TrialState.FAILED)):
        writer.end_trial(trial, state, "it broke" if state is TrialState.FAILED else None)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "optuna-dashboard"), store_url]
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        (summary,) = fetch(f"http://127.0.0.1:{port}/api/studies")["study_summaries"]
        assert summary["study_name"] == "reviews/pbt/seed-3"
        detail = fetch(f"http://127.0.0.1:{port}/api/studies/{summary['study_id']}")
        shown = [
            (
                next(a["value"] for a in trial["user_attrs"] if a["key"] == "trial_id"),
                DASHBOARD_STATES[trial["state"]],
                {param["name"]: param["param_external_value"] for param in trial["params"]},
                [value["value"] for value in trial["intermediate_values"]],
            )
            for trial in detail["trials"]
        ]
        assert shown == [
            (
                trial.id,
                trial.state,
                {name: str(value) for name, value in trial.params.items()},
                [r.metrics["accuracy"] for r in trial.reports],
            )
            for trial in store.load("reviews").studies[0].trials
        ]
        assert len(shown) == 4
    finally:
        server.terminate()
        server.wait(timeout=20)


def fetch(url: str, patience: float = 60.0) -> Any:
    deadline = time.monotonic() + patience
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.loads(answer.read(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
