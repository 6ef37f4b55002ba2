"""The simulated Ray keeps its promises: order, ends of processes, room on nodes, and no trace afterwards."""

from __future__ import annotations

import logging
import os
import time
from typing import Any

import pytest
import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.ray_compat.leaks import release_leaks
from trainables.machine import clock, shared_memory
from tuning.testing.simulated_ray import PowerCut, SimulatedNode, SimulatedRay, simulated_ray

pytestmark = pytest.mark.tune


class Worker:
    """Sleeps by the clock."""

    def __init__(self, broken: bool = False) -> None:
        if broken:
            raise ValueError("cannot start")
        self.done: list[str] = []

    def work(self, name: str, seconds: float = 10.0) -> list[str]:
        clock.sleep(seconds)
        self.done.append(name)
        return self.done

    def fail(self) -> None:
        raise LookupError("out of luck")

    def node(self) -> str:
        return str(ray.get_runtime_context().get_node_id())


def started(**options: Any) -> Any:
    return ray.remote(Worker).options(**{"num_cpus": 1, **options}).remote()


def test_time_jumps_to_what_happens_next_and_calls_take_what_they_sleep() -> None:
    with simulated_ray(start_seconds=5.0) as simulated:
        slow, fast = started(), started()
        answers = [slow.work.remote("slow", 7200.0), fast.work.remote("fast", 3600.0)]
        ready, left = ray.wait(answers)
        assert (ready, left, simulated.seconds) == ([answers[1]], [answers[0]], 3605.0)
        assert ray.get(answers) == [["slow"], ["fast"]]
        assert simulated.seconds == 7205.0


def test_what_was_ready_first_is_returned_first_in_whatever_order_it_is_asked_for() -> None:
    with simulated_ray():
        answers = [started().work.remote(str(number), 10.0) for number in range(4)]
        ray.get(answers)
        order = [ray.wait(left)[0][0] for left in (answers[::-1], answers[:0:-1], answers[2:])]
        assert order == [answers[0], answers[1], answers[2]]


def test_a_process_does_one_thing_after_the_other_and_hands_out_copies() -> None:
    with simulated_ray() as simulated:
        worker = started()
        first, second = worker.work.remote("a"), worker.work.remote("b")
        assert (ray.get(first), ray.get(second), simulated.seconds) == (["a"], ["a", "b"], 25.0)


def test_a_wait_ends_with_its_time_and_looks_at_least_a_tick_ahead() -> None:
    with simulated_ray(tick=30.0) as simulated:
        answer = started().work.remote("a", 1000.0)
        assert ray.wait([answer], timeout=0.1) == ([], [answer])
        assert simulated.seconds == 30.0
        assert ray.wait([answer], timeout=0) == ([], [answer])
        assert simulated.seconds == 30.0


def test_what_can_never_come_is_not_waited_for() -> None:
    with simulated_ray() as simulated:
        worker = started()
        answer = worker.work.remote("a")
        simulated.hang(simulated.actors[0])
        with pytest.raises(RuntimeError, match="never come"):
            ray.get(answer)


def test_an_error_in_a_process_arrives_as_the_error_of_a_task_and_the_process_goes_on() -> None:
    with simulated_ray():
        worker = started()
        with pytest.raises(LookupError, match="out of luck") as told:
            ray.get(worker.fail.remote())
        assert isinstance(told.value, RayTaskError)
        assert ray.get(worker.work.remote("a")) == ["a"]


def test_the_death_of_a_process_fails_at_once_all_that_was_asked_of_it_and_all_that_will_be() -> None:
    with simulated_ray() as simulated:
        worker = started()
        answers = [worker.work.remote("a", 1000.0), worker.work.remote("b")]
        simulated.at(100.0, lambda: simulated.kill(simulated.actors[0]))
        for answer in (*answers, worker.work.remote("c")):
            with pytest.raises(RayActorError):
                ray.get(answer)
        assert simulated.seconds == 100.0
        with pytest.raises(RayActorError):
            ray.get(worker.work.remote("d"))
        assert simulated.calls == []


def test_a_process_that_cannot_start_tells_so_with_the_first_answer() -> None:
    with simulated_ray():
        broken = ray.remote(Worker).remote(True)
        with pytest.raises(RayActorError, match="cannot start"):
            ray.get(broken.__ray_ready__.remote())


def test_a_process_of_which_nobody_holds_a_handle_ends_when_it_has_done_its_work() -> None:
    with simulated_ray() as simulated:
        worker = started()
        answer = worker.work.remote("a")
        del worker
        assert ray.get(answer) == ["a"]
        assert not simulated.actors[0].alive


def test_nodes_hold_no_more_than_they_have_and_who_has_no_room_waits() -> None:
    with simulated_ray(SimulatedNode("a", cpus=2), SimulatedNode("b", cpus=1, gpus=1)) as simulated:
        workers = [started(), started(num_cpus=0, num_gpus=1), started(), started(), started()]
        answers = [worker.work.remote("x") for worker in workers]

        def held(kind: str) -> dict[str, float]:
            living = [actor for actor in simulated.actors if actor.alive and actor.node is not None]
            return {
                node.name: sum(actor.held.get(kind, 0.0) for actor in living if actor.node is node)
                for node in simulated.nodes
            }

        for answer in answers[:4]:
            ray.get(answer)
            assert (held("CPU"), held("GPU")) == ({"a": 2.0, "b": 1.0}, {"a": 0.0, "b": 1.0})
        assert simulated.actors[4].node is None
        ray.kill(workers[0])
        assert ray.get(answers[4]) == ["x"]
        assert held("CPU") == {"a": 2.0, "b": 1.0}


def test_another_job_holds_its_part_from_when_there_is_room_to_its_end() -> None:
    with simulated_ray(SimulatedNode("a", cpus=2, gpus=1)) as simulated:
        assert ray.available_resources() == {"CPU": 2.0, "GPU": 1.0}
        first, second = simulated.start_other_job(CPU=1.0, GPU=1.0), simulated.start_other_job(CPU=2.0)
        assert ray.available_resources() == {"CPU": 1.0}
        assert second.node is None
        worker = started()
        assert ray.available_resources() == {}
        simulated.kill(first)
        assert ray.available_resources() == {"CPU": 1.0, "GPU": 1.0}
        ray.kill(worker)
        assert second.node is not None
        clock.sleep(100.0)
        assert ray.available_resources() == {"GPU": 1.0}


def test_a_node_that_joins_is_used_and_one_that_is_lost_is_not() -> None:
    with simulated_ray(SimulatedNode("a", cpus=1)) as simulated:
        first, second = started(), started()
        simulated.at(100.0, lambda: simulated.add(SimulatedNode("b", cpus=2)))
        nodes = [ray.get(worker.node.remote()) for worker in (first, second)]
        assert nodes == [node.id for node in simulated.nodes]
        assert simulated.seconds == 105.0
        simulated.lose("b", noticed_after=20.0)
        with pytest.raises(RayActorError):
            ray.get(second.node.remote())
        assert [node["Alive"] for node in ray.nodes()] == [True, True]
        started()
        assert simulated.actors[-1].node is None
        clock.sleep(20.0)
        assert [node["Alive"] for node in ray.nodes()] == [True, False]
        assert ray.cluster_resources()["CPU"] == 1.0


def where() -> str:
    return str(ray.get_runtime_context().get_node_id())


def test_a_task_runs_on_its_node_and_fails_when_the_loss_of_that_is_known() -> None:
    def on(node: SimulatedNode) -> Any:
        pinned = NodeAffinitySchedulingStrategy(node.id, soft=False)
        return ray.remote(where).options(num_cpus=0, scheduling_strategy=pinned).remote()

    with simulated_ray(SimulatedNode("a"), SimulatedNode("b")) as simulated:
        there = simulated.nodes[1]
        assert ray.get(on(there)) == there.id
        simulated.lose("b", noticed_after=20.0)
        answer = on(there)
        assert ray.wait([answer], timeout=10.0)[0] == []
        with pytest.raises(RayError):
            ray.get(answer)
        assert simulated.seconds == 20.0


@pytest.mark.parametrize("noticed_after", [0.0, 20.0])
def test_a_task_whose_node_is_lost_while_it_runs_answers_with_that_and_not_with_what_it_met(
    noticed_after: float,
) -> None:
    """As a copy that the driver's thread makes there: its files are gone in the middle."""
    with simulated_ray(SimulatedNode("a"), SimulatedNode("b")) as simulated:
        pinned = NodeAffinitySchedulingStrategy(simulated.nodes[1].id, soft=False)

        def read() -> None:
            simulated.lose("b", noticed_after=noticed_after)
            raise FileNotFoundError("the node's memory is gone")

        answer = ray.remote(read).options(num_cpus=0, scheduling_strategy=pinned).remote()
        with pytest.raises(RayError) as told:
            ray.get(answer)
        assert not isinstance(told.value, RayTaskError)
        assert simulated.seconds == noticed_after


def test_each_node_has_its_own_shared_memory_and_loses_it_with_its_power() -> None:
    def memory(node: SimulatedNode) -> str:
        pinned = NodeAffinitySchedulingStrategy(node.id, soft=False)
        return str(ray.get(ray.remote(memory_here).options(scheduling_strategy=pinned).remote()))

    real = str(shared_memory.own_root())
    with simulated_ray(SimulatedNode("a"), SimulatedNode("b")) as simulated:
        assert memory(simulated.nodes[0]) == real
        folder = memory(simulated.nodes[1])
        assert folder != real
        assert os.path.isdir(folder)
        simulated.lose("b")
        assert not os.path.exists(folder)


def memory_here() -> str:
    return str(shared_memory.own_root())


def test_what_a_simulation_was_asked_for_has_to_happen() -> None:
    with pytest.raises(AssertionError, match="ended after 0 s, before 100 s came"), simulated_ray() as simulated:
        simulated.at(100.0, simulated.end_driver)


def patched() -> list[object]:
    """Returns the current values of all that a simulation replaces in Ray and the clock."""
    from ray._private import state, worker
    from ray.experimental import internal_kv
    from ray.tune.execution import tune_controller

    return [
        ray.is_initialized, ray.wait, ray.get, ray.put, ray.kill, ray.nodes, ray.cluster_resources,
        ray.get_runtime_context, ray.actor.ActorClass._remote, ray.remote_function.RemoteFunction._remote,
        state.actors, worker._global_node, internal_kv._internal_kv_put, internal_kv._internal_kv_list,
        tune_controller.PlacementGroupResourceManager, shared_memory.own_root(), logging.getLogger("ray").level,
        dict(os.environ), clock.time() < time.time() - 3600,
    ]  # fmt: skip


@pytest.mark.parametrize("raised", [None, ValueError("a fault"), PowerCut("a cut")])
def test_nothing_stays_patched_however_the_block_ends(raised: BaseException | None) -> None:
    before = patched()

    def block() -> SimulatedRay:
        with simulated_ray() as simulated:
            assert ray.is_initialized()
            assert patched() != before
            if raised is not None:
                raise raised
        return simulated

    if raised is None:
        block()
    else:
        with pytest.raises(type(raised)):
            block()
    assert patched() == before


@pytest.mark.parametrize("times", range(2))
def test_each_simulation_begins_at_the_same_moment(times: int) -> None:
    with simulated_ray() as simulated:
        began = clock.time(), clock.monotonic()
        clock.sleep(60.0)
        assert (clock.time() - began[0], clock.monotonic() - began[1], simulated.seconds) == (60.0, 60.0, 60.0)
    with simulated_ray(passed=3600.0):
        assert clock.time() - began[0] == 3600.0


def test_a_look_for_leaks_finds_none() -> None:
    """A study looks once a minute of the real clock, so only a busy machine comes to it."""
    with simulated_ray():
        assert release_leaks() == {}
