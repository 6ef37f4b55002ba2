"""Workers that were forked from one process, on real Ray: what they must not have in common."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.ray

WORKERS = 4


@pytest.mark.usefixtures("ray_session")
def test_forked_workers_draw_numbers_of_their_own() -> None:
    """Ray names objects and tasks by them: two workers that draw the same ones end each other as they start."""
    import ray

    @ray.remote(num_cpus=0)
    class Worker:
        def draw(self) -> list[str]:
            from ray import JobID, TaskID

            return [TaskID.for_fake_task(JobID.from_int(1)).hex() for _ in range(100)]

    workers = [Worker.remote() for _ in range(WORKERS)]
    drawn = [
        number for numbers in ray.get([worker.draw.remote() for worker in workers], timeout=120) for number in numbers
    ]
    assert len(set(drawn)) == WORKERS * 100
