"""Jobs after a search: their order, their processes, and what reaches the caller."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.capacity import Node, trial_resources
from cluster.session import Session
from cluster.spec import ClusterSpec
from tests.support.specs import curve_experiment
from trainables.machine import clock
from trainables.worker.job_slot import JobCall, JobSlot
from tuning.selection.training_jobs import JobResult, TrainingJob, run_jobs
from tuning.spec.models import ExperimentSpec
from tuning.testing.simulated_ray import SimulatedNode, SimulatedRay, simulated_ray
from tuning.tune_compat.settings import tune_settings

pytestmark = pytest.mark.tune


def sleeps(seconds: float, value: Any, make: Any) -> Any:
    clock.sleep(seconds)
    return value


def raises(message: str, make: Any) -> None:
    raise LookupError(message)


def job(number: int, seconds: float = 10.0) -> TrainingJob[int]:
    return TrainingJob(number, JobCall(f"job {number}", sleeps, (seconds, f"value {number}")))


def session(slots: int, address: str | None = None) -> Session:
    nodes = (Node("a", "a", slots, 0.0, None),)
    return Session(address, nodes, trial_resources(ClusterSpec(cpus_per_trial=1, gpus_per_trial=0), nodes))


@pytest.fixture
def spec(tmp_path: Path) -> Iterator[ExperimentSpec]:
    with tune_settings():
        yield curve_experiment(tmp_path)


def processes(ray: SimulatedRay) -> list[int]:
    """The ids of the processes that have computed jobs."""
    return [actor.process for actor in ray.actors if isinstance(actor.instance, JobSlot)]


def test_jobs_begin_in_their_order_in_as_many_processes_as_there_are_slots(spec: ExperimentSpec) -> None:
    ended: list[JobResult[int]] = []
    with simulated_ray(SimulatedNode("a", cpus=2)) as ray:
        run_jobs([job(0, 30.0), *(job(number) for number in range(1, 5))], spec, session(2), ended.append)
        assert len(processes(ray)) == 2
    assert [one.key for one in ended] == [1, 2, 0, 3, 4]
    assert [one.result() for one in ended] == [f"value {one.key}" for one in ended]
    assert [one.lost for one in ended] == [0.0] * 5


def test_without_jobs_nothing_starts(spec: ExperimentSpec) -> None:
    with simulated_ray() as ray:
        run_jobs([], spec, session(2), pytest.fail)
        assert processes(ray) == []


def test_an_error_of_a_function_arrives_as_itself_and_its_process_is_replaced(spec: ExperimentSpec) -> None:
    ended: list[JobResult[int]] = []
    failing = TrainingJob(0, JobCall("job 0", raises, ("no such row",)))
    with simulated_ray(SimulatedNode("a", cpus=1)) as ray:
        run_jobs([failing, job(1), job(2)], spec, session(1), ended.append)
        assert len(processes(ray)) == 2
    assert [one.key for one in ended] == [0, 1, 2]
    with pytest.raises(LookupError, match="no such row"):
        ended[0].result()


def test_what_the_receiver_raises_ends_the_others_as_it_is(spec: ExperimentSpec) -> None:
    """Tune would make an error of its own of what a callback raises, with a traceback for a message."""

    def receive(one: JobResult[int]) -> None:
        raise OSError(28, "no space", str(one.key))

    with simulated_ray(SimulatedNode("a", cpus=2)) as ray:
        with pytest.raises(OSError, match="no space: '1'") as raised:
            run_jobs([job(0, 500.0), job(1)], spec, session(2), receive)
        assert type(raised.value) is OSError
        assert not any(actor.alive for actor in ray.actors if isinstance(actor.instance, JobSlot))


def test_nodes_that_join_meanwhile_are_used(spec: ExperimentSpec) -> None:
    ended: list[JobResult[int]] = []
    with simulated_ray(SimulatedNode("a", cpus=1)) as ray:
        ray.at(30.0, lambda: ray.add(SimulatedNode("b", cpus=3)))
        run_jobs([job(number, 60.0) for number in range(5)], spec, session(1, "a:1"), ended.append)
        assert {actor.node.name for actor in ray.actors if actor.node is not None} == {"a", "b"}
        assert ray.seconds < 5 * 60.0
    assert len(ended) == 5
