"""The watchdog: which beats it takes for those of a process that hangs."""

from __future__ import annotations

import pytest

from trainables.progress import Beat
from tuning.supervision.watchdog import Watchdog

pytestmark = pytest.mark.unit


def beat(number: int, quiet: float, *, begun: bool = True) -> Beat:
    return Beat(number, "node", 1, quiet, begun, 1.0, 14)


def hung_after(watch: Watchdog, beats: list[Beat | None], *, step: float = 1.0) -> int | None:
    """The number of the look at which an actor with these beats, one per look, hangs; None if it never does."""
    for number, newest in enumerate(beats):
        if found := watch.find_hung(number * step, {"actor": {} if newest is None else {0: newest}}):
            (one,) = found
            assert one.actor == "actor"
            return number
    return None


def test_silence_and_standing_still_both_count() -> None:
    assert hung_after(Watchdog(60), [beat(1, 0.0)] * 100) == 60
    assert hung_after(Watchdog(60), [beat(n, float(n)) for n in range(100)]) == 60
    assert hung_after(Watchdog(60), [beat(n, n % 50) for n in range(1000)]) is None


def test_a_process_that_is_stopped_right_after_its_report_has_begun_though_no_beat_says_so() -> None:
    old = beat(1, 0.0, begun=False)
    watch = Watchdog(4.0)
    watch.find_hung(0.0, {"actor": {0: old}})
    watch.record_report("actor")
    (found,) = [one for now in range(1, 6) for one in watch.find_hung(now, {"actor": {0: old}})][:1]
    assert found.describe(2.0) == "no progress for 4 s in epoch 3, step 0 (process stopped or hung)"
    reset = Watchdog(4.0)  # the process gets another trial: its newer beats count
    reset.find_hung(0.0, {"actor": {0: old}})
    reset.record_report("actor")
    newer = [beat(number, float(number - 4), begun=False) for number in range(4, 20)]
    assert hung_after(reset, [*newer]) is None


def test_before_the_first_step_there_is_more_time() -> None:
    assert hung_after(Watchdog(60), [None] * 1000) == 600
    assert hung_after(Watchdog(120), [beat(n, float(n), begun=False) for n in range(2000)]) == 1200
    slow = [beat(n, float(n), begun=False) for n in range(500)]
    assert hung_after(Watchdog(60), [*slow, *(beat(500 + n, 0.0) for n in range(100))]) is None


def test_a_process_that_is_stopped_before_its_first_step_is_found_by_its_silence() -> None:
    last = beat(2, 0.0, begun=False)
    assert hung_after(Watchdog(2), [beat(1, 0.0, begun=False), *[last] * 1000]) == 61
    assert hung_after(Watchdog(120), [beat(1, 0.0, begun=False), *[last] * 1000]) == 121


def test_a_driver_that_was_asleep_itself_does_not_blame_the_trials() -> None:
    watch = Watchdog(60)
    assert watch.find_hung(0.0, {"actor": {0: beat(1, 0.0)}}) == []
    assert watch.find_hung(3600.0, {"actor": {0: beat(1, 0.0)}}) == []
    assert watch.find_hung(3601.0, {"actor": {0: beat(2, 1.0)}}) == []


def test_one_of_several_processes_that_hangs_is_enough_and_its_place_is_reported() -> None:
    watch = Watchdog(60)
    for second in range(60):
        assert watch.find_hung(float(second), {"actor": {0: beat(second, 0.0), 1: beat(1, 0.0)}}) == []
    (one,) = watch.find_hung(60.0, {"actor": {0: beat(60, 0.0), 1: beat(1, 0.0)}})
    assert one.describe() == "no progress for 60 s in epoch 2, step 14 (process stopped or hung)"
