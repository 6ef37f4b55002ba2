"""The OOM probe of a process, also after a death that was not for lack of memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from trainables.machine import oom_probe
from trainables.machine.oom_probe import oom_counter, read_oom_probe

PROBED = """
import sys, time
from trainables.machine.oom_probe import OomProbe

probe = OomProbe(sys.argv[1])
print(1)
time.sleep(99)
"""


@pytest.mark.system
def test_a_process_that_somebody_kills_has_not_run_out_of_memory() -> None:
    name = uuid.uuid4().hex
    environment = {**os.environ, "PYTHONPATH": str(Path(oom_probe.__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-u", "-c", PROBED, name], stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline(), "it could not write its probe"
        process.send_signal(signal.SIGKILL)
    death = read_oom_probe(name)
    assert death is not None
    assert not death.killed
    assert 0 < death.held < death.limit
    assert read_oom_probe(name) is None  # it is read once


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 1 GiB, as files."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal:        1048576 kB\nMemFree: 7 kB\n")
    (tmp_path / "proc/vmstat").write_text("nr_free_pages 9\noom_kill 5\n")
    monkeypatch.setattr(oom_probe, "PROC", tmp_path / "proc")
    monkeypatch.setattr(oom_probe, "CGROUPS", tmp_path / "cgroup")
    return tmp_path


@pytest.mark.unit
def test_without_a_memory_cgroup_the_machine_counts(system: Path) -> None:
    (system / "proc/self/cgroup").write_text("0::/\n")
    assert oom_counter() == (str(system / "proc/vmstat"), 2**30, "machine")
    assert oom_counter().kills() == 5


@pytest.mark.unit
@pytest.mark.parametrize(("above", "limit", "by"), [("67108864", 2**26, "cgroup"), ("max", 2**30, "machine")])
def test_a_cgroup_counts_its_own_and_is_limited_by_all_above(system: Path, above: str, limit: int, by: str) -> None:
    own = system / "cgroup/job/step"
    own.mkdir(parents=True)
    (own.parent / "memory.max").write_text(f"{above}\n")
    (own / "memory.max").write_text("max\n")
    (own / "memory.events").write_text("low 0\nhigh 0\nmax 4\noom 3\noom_kill 2\noom_group_kill 0\n")
    (system / "proc/self/cgroup").write_text("0::/job/step\n")
    assert oom_counter() == (str(own / "memory.events"), limit, by)
    assert oom_counter().kills() == 2


@pytest.mark.unit
def test_so_does_one_of_the_first_version_and_a_container_finds_itself_at_the_top(system: Path) -> None:
    own = system / "cgroup/memory"
    own.mkdir(parents=True)
    (own / "memory.stat").write_text("cache 1\nhierarchical_memory_limit 33554432\n")
    (own / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    (system / "proc/self/cgroup").write_text("5:cpu:/\n4:memory:/docker/abc\n0::/\n")
    assert oom_counter() == (str(own / "memory.oom_control"), 2**25, "cgroup")
    assert oom_counter().kills() == 1


@pytest.mark.unit
def test_a_system_that_counts_nothing_is_no_guess(system: Path) -> None:
    (system / "proc/meminfo").unlink()
    with pytest.raises(OSError, match="meminfo"):
        oom_counter()
