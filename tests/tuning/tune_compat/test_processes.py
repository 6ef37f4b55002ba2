"""Ray's private calls about processes return what supervision needs."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest

from trainables.progress import Beat
from tuning.tune_compat.heartbeats import beats_of, forget_beats, send_beat
from tuning.tune_compat.processes import actor_alive, node_loss, node_of

pytestmark = pytest.mark.ray

SECONDS = 60.0  # that Ray may take to notice


def test_a_process_that_is_killed_on_a_node_that_lives_is_reported_as_its_own_death(ray_session: None) -> None:
    import ray
    from ray.exceptions import RayActorError

    class Slot:
        def process(self) -> tuple[int, str]:
            return os.getpid(), ray.get_runtime_context().get_node_id()

    slot = ray.remote(num_cpus=0)(Slot).remote()
    process, node = ray.get(slot.process.remote())
    actor = slot._actor_id.hex()
    assert actor_alive(actor)

    os.kill(process, signal.SIGKILL)
    with pytest.raises(RayActorError) as caught:
        ray.get(slot.process.remote())
    assert caught.value.actor_id == actor
    assert node_of(caught.value) == node
    address, lost = settled(caught.value)
    assert (address, lost) == (ray.nodes()[0]["NodeManagerAddress"], False)
    assert not actor_alive(actor)


def settled(error: Any) -> tuple[str, bool | None]:
    """The node's address and whether it is lost, once Ray knows."""
    deadline = time.monotonic() + SECONDS
    while (found := node_loss(error))[1] is None:
        assert time.monotonic() < deadline, f"Ray does not say what became of the process: {found}"
        time.sleep(0.05)
    return found


def test_heartbeats_are_kept_by_actor_and_rank_until_they_are_forgotten(ray_session: None) -> None:
    first, second = "aa" * 16, "bb" * 16
    beats = [Beat(number, "node", 10 + number, 0.5, True, 1.0, 7) for number in range(3)]
    send_beat(first, 0, beats[0])
    send_beat(first, 0, beats[1])  # the newer one counts
    send_beat(first, 1, beats[2])
    asked = [first, second]
    assert beats_of(asked) == {first: {0: beats[1], 1: beats[2]}, second: {}}
    forget_beats(asked)
    assert beats_of(asked) == {first: {}, second: {}}
