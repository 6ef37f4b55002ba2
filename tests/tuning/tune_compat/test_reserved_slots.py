"""A slot that Ray holds for a process which is still to start is known, on Ray's own placement groups."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from ray.air.execution import ResourceRequest

from tuning.tune_compat.slot_pool import SlotPool

pytestmark = pytest.mark.ray

SECONDS = 60.0  # that Ray may take


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_of_two_groups_for_one_room_the_one_that_has_it_is_reserved_until_its_process_starts(ray_session: None) -> None:
    pool, three_of_four = SlotPool(), ResourceRequest([{"CPU": 3}])
    manager = pool._resource_manager
    assert pool.slots_reserved() == 0
    for _ in range(2):
        manager.request_resources(three_of_four)
    wait_until(lambda: pool.slots_reserved() == 1)  # before a worker has said that it is ready, or after
    wait_until(lambda: manager.has_resources_ready(three_of_four))
    assert pool.slots_reserved() == 1
    held = manager.acquire_resources(three_of_four)
    assert held is not None
    assert pool.slots_reserved() == 0  # it is counted with the processes from now on
    manager.free_resources(held)
    wait_until(lambda: pool.slots_reserved() == 1)
    manager.cancel_resource_request(three_of_four)
    assert pool.slots_reserved() == 0
