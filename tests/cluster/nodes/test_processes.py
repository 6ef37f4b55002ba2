"""A process that was written down is found again, and no other one for it."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

from cluster.nodes.processes import find_process, mark_of, wait_for_ends

PATIENCE = 60.0  # seconds


@pytest.mark.unit
def test_a_process_is_found_again_after_the_clock_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    mark = mark_of(os.getpid())
    if sys.platform == "linux":  # psutil adds the time of the boot, which a step of the clock moves
        monkeypatch.setattr("psutil._pslinux.boot_time", lambda: 1e9)
    found = find_process(mark)
    assert found is not None
    assert found.pid == os.getpid()


@pytest.mark.unit
def test_another_process_of_the_same_number_is_not_taken_for_it() -> None:
    mark = mark_of(os.getpid())
    assert find_process(mark._replace(began=mark.began + 2)) is None
    if mark.boot is not None:
        assert find_process(mark._replace(boot="another start of the machine")) is None


@pytest.mark.system
def test_a_process_that_has_ended_is_not_found() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        mark = mark_of(process.pid)
        assert find_process(mark) is not None
    assert find_process(mark) is None


@pytest.mark.system
def test_a_process_that_nobody_asks_for_its_end_counts_as_ended() -> None:
    """Its parent does not wait for it, so that the kernel keeps it; the other one still runs."""
    script = "import os, sys; child = os.fork() or os._exit(0); print(child, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child, running = psutil.Process(int(parent.stdout.readline())), psutil.Process(parent.pid)
        assert wait_for_ends([child], PATIENCE) == []
        assert child.status() == psutil.STATUS_ZOMBIE
        assert wait_for_ends([child, running], 0.1) == [running]
