"""Trainings and scorings after the search keep to the rules of trials, and start once more when they die."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.simulated_faults import BY_KERNEL, BY_MONITOR, by_kernel, by_monitor, job_of
from tests.support.specs import curve_experiment
from tuning import run_experiment
from tuning.errors import Interrupted
from tuning.outcome import Confirmation, StudyOutcome
from tuning.selection.training_jobs import JobLost
from tuning.spec.models import ExperimentSpec
from tuning.store.study_store import StudyStore
from tuning.testing.simulated_ray import SimulatedActor, SimulatedNode, SimulatedRay, simulated_ray

pytestmark = pytest.mark.tune

RATES = [1e-3, 1e-4]
HIT = 1e-4, 1001  # rate and seed of the training that is hit; the other rate is the better one
EPOCH = 60.0
HEARTBEAT = 90.0
WHOLE = 2 * EPOCH  # seconds of a training that nothing happens to

LOGGERS = ("tuning.supervision.supervisor", "tuning.supervision.job_supervisor")

Happens = Callable[[SimulatedRay, SimulatedActor], None]


def stands_still(ray: SimulatedRay, actor: SimulatedActor) -> None:
    ray.hang(actor)


def is_stopped(ray: SimulatedRay, actor: SimulatedActor) -> None:
    ray.hang(actor, frozen=True)


def dies(ray: SimulatedRay, actor: SimulatedActor) -> None:
    ray.kill(actor)


def loses_its_node(ray: SimulatedRay, actor: SimulatedActor) -> None:
    assert actor.node is not None
    ray.lose(actor.node.name, noticed_after=20.0)


DEATHS = (dies, by_kernel, by_monitor)  # the driver kills what hangs
KINDS: dict[str, tuple[Happens, str]] = {  # and how it is logged
    "dies": (dies, "RayActorError: The actor died unexpectedly"),
    "stands still": (stands_still, "NoProgress: no progress for 90"),
    "is stopped": (is_stopped, "NoProgress: no progress for "),
    "kernel": (by_kernel, f"OutOfMemory: {BY_KERNEL}; out of memory, also when started once more"),
    "monitor": (by_monitor, f"OutOfMemory: {BY_MONITOR}; out of memory, also when started once more"),
}


def experiment(folder: Path, **changed: Any) -> ExperimentSpec:
    fields: dict[str, Any] = {
        "epochs": 2,
        "space": {"learning_rate": {"choice": RATES}},
        "fixed": {"model.seconds_per_epoch": EPOCH},
        "strategies": [{"kind": "grid"}],
        "confirm": {"top": 2, "seeds": 2},
        "cluster": {"heartbeat_seconds": HEARTBEAT},
    }
    return curve_experiment(folder, **{**fields, **changed})


def hit(
    ray: SimulatedRay, happens: Happens, *, times: int, job: str = "train_candidate", rate: float, seed: int
) -> list[float]:
    """Let it happen half a minute into that training (or "score_weights", a look at the test split); the moments."""
    moments: list[float] = []

    def begins(actor: SimulatedActor, method: str) -> None:
        if (call := job_of(actor, method)) is None or len(moments) == times:
            return
        _, function, (spec, kept) = call
        values = kept.manifest.segments[-1].params
        if function.__name__ == job and (values["learning_rate"], spec.seed) == (rate, seed):
            moments.append(ray.seconds)
            ray.at(ray.seconds + 30.0, lambda: happens(ray, actor))

    ray.before(begins)
    return moments


def run(
    spec: ExperimentSpec, happens: Happens, times: int, *, nodes: int = 1, job: str = "train_candidate"
) -> StudyOutcome:
    rate, seed = HIT if job == "train_candidate" else (RATES[0], HIT[1])
    workers = (SimulatedNode(f"n{number}", cpus=1) for number in range(nodes))
    with simulated_ray(SimulatedNode("head", cpus=1), *workers, tick=2.0, costs={"job": 60.0}) as ray:
        moments = hit(ray, happens, times=times, job=job, rate=rate, seed=seed)
        (study,) = run_experiment(spec, progress=False).studies
    assert len(moments) == times
    return study


def of(study: StudyOutcome) -> dict[tuple[float, int], Confirmation]:
    """Maps trainings by rate and seed."""
    return {(float(c.schedule[0].params["learning_rate"]), c.seed): c for c in study.confirmations}  # type: ignore[arg-type]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name in LOGGERS]


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_whose_process_dies_or_hangs_starts_once_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    happens, error = KINDS[kind]
    study = run(experiment(tmp_path), happens, 1)
    assert [c.error for c in study.confirmations] == [None] * 4
    found = of(study)
    assert found[HIT].device_seconds > WHOLE + 30.0  # what was lost has cost, too
    assert all(c.device_seconds == pytest.approx(WHOLE) for key, c in found.items() if key != HIT)
    (line,) = warnings(caplog)
    assert line.startswith(f"grid, seed 0, no. 2, training seed 1001: {error.removeprefix('NoProgress: ')}")
    assert line.endswith("; it is started once more" if happens in DEATHS else "; restarted from epoch 0")


@pytest.mark.parametrize("kind", KINDS)
def test_one_whose_process_does_so_again_has_failed_and_the_others_are_complete(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    happens, error = KINDS[kind]
    study = run(experiment(tmp_path, max_failures=5), happens, 2)
    found = of(study)
    assert str(found.pop(HIT).error).startswith(error)
    assert [c.error for c in found.values()] == [None] * 3
    assert [(c.seed, c.test is not None) for c in study.confirmed()] == [(1000, True), (1001, True)]
    again, *last = warnings(caplog)
    assert again.endswith("; it is started once more" if happens in DEATHS else "; restarted from epoch 0")
    assert [line.endswith("; not started again: it has been once") for line in last] == [True] * (happens not in DEATHS)


@pytest.mark.parametrize("losses", [1, 2, 3])
def test_one_whose_node_is_lost_starts_again_and_has_not_failed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, losses: int
) -> None:
    study = run(experiment(tmp_path), loses_its_node, losses, nodes=5)
    assert [c.error for c in study.confirmations] == [None] * 4
    assert [c.test is not None for c in study.confirmed()] == [True, True]
    assert len(warnings(caplog)) == losses
    assert all(line.endswith(" is lost; it goes on elsewhere, from epoch 0") for line in warnings(caplog))


def test_one_that_loses_too_many_nodes_is_left_to_a_resume_and_the_others_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = experiment(tmp_path)
    with pytest.raises(
        JobLost, match=r"no\. 2, training seed 1001: lost 4 nodes in a row, at last n\d: too large for a node"
    ):
        run(spec, loses_its_node, 4, nodes=6)
    (study,) = StudyStore(spec.store_url).load(spec.name).studies
    kept = of(study)
    assert HIT not in kept
    assert [c.error for c in kept.values()] == [None] * 3
    with simulated_ray():
        (study,) = run_experiment(spec, progress=False, resume=True).studies
    found = of(study)
    assert [c.error for c in found.values()] == [None] * 4
    assert {key: found[key].time for key in kept} == {key: c.time for key, c in kept.items()}  # trained once
    assert [c.test is not None for c in study.confirmed()] == [True, True]


@pytest.mark.parametrize("kind", KINDS)
def test_an_evaluation_on_test_that_dies_or_hangs_is_started_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    study = run(experiment(tmp_path), KINDS[kind][0], 1, job="score_weights")
    assert [(c.seed, c.test is not None) for c in study.confirmed()] == [(1000, True), (1001, True)]
    (line,) = warnings(caplog)
    assert line.startswith("test of grid, seed 0, no. 1, training seed 1001: ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_trainings_after_the_search_and_a_resume_begins_only_these_again(
    tmp_path: Path, number: signal.Signals
) -> None:
    spec = experiment(tmp_path)
    with simulated_ray(SimulatedNode("head", cpus=2)) as ray:
        searched = ray.seconds + 5.0 + WHOLE  # two trials side by side; then two trainings, and two more
        ray.at(searched + 5.0 + 1.5 * WHOLE, lambda: signal.raise_signal(number))
        with pytest.raises(Interrupted, match="stopped with 2 of 4 trainings ended; everything is kept"):
            run_experiment(spec, progress=False)
    (study,) = StudyStore(spec.store_url).load(spec.name).studies
    kept = of(study)
    assert len(kept) == 2
    with simulated_ray(SimulatedNode("head", cpus=2), passed=3600.0) as ray:
        (study,) = run_experiment(spec, progress=False, resume=True).studies
    found = of(study)
    assert {key: found[key].time for key in kept} == {key: c.time for key, c in kept.items()}  # trained once
    assert [c.error for c in found.values()] == [None] * 4
    assert [c.test is not None for c in study.confirmed()] == [True, True]
