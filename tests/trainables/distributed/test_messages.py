"""Messages between the processes of a trial come from these alone, over loopback alone."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.drivers import own_environment
from trainables.distributed.messages import ForgedMessage, sign, verify

SECRET = b"s" * 64
README = Path(__file__).parents[3] / "cluster" / "README.md"


class Evil:
    """Leaves a file where it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.place),)


@pytest.mark.unit
def test_a_message_comes_back_as_it_was_sent() -> None:
    for value in (None, [1.5, "x"], {"state": b"\0" * 1000}):
        assert verify(sign(value, SECRET, sender=1, number=7), SECRET, sender=1, number=7) == value


@pytest.mark.unit
def test_what_somebody_else_has_sent_is_refused_and_not_unpickled(tmp_path: Path) -> None:
    evil = Evil(tmp_path / "ran")
    sealed = sign(evil, SECRET, sender=1, number=7)
    others = [
        pickle.dumps(evil),
        sign(evil, b"t" * 64, sender=1, number=7),
        sign(evil, SECRET, sender=0, number=7),  # of another process
        sign(evil, SECRET, sender=1, number=6),  # an earlier one, again
        sealed[:-1],
        sealed[:32],
        b"",
    ]
    for message in others:
        with pytest.raises(ForgedMessage, match="another account of this machine may interfere"):
            verify(message, SECRET, sender=1, number=7)
    assert not (tmp_path / "ran").exists()


MEMBER = """
import json, pathlib, sys, psutil
from trainables.distributed.replicas import Replicas, join_process_group
rank, folder = int(sys.argv[1]), pathlib.Path(sys.argv[2])
join_process_group(rank, 2, folder)
gathered = [Replicas.here().gather("x" * (1 + 1000 * rank)) for _ in range(2)]
listening = [c.laddr.ip for c in psutil.Process().net_connections("inet") if c.status == psutil.CONN_LISTEN]
Replicas.here().gather(None)  # nobody leaves before all have looked
print(json.dumps([[len(text) for text in gathered[1]], listening]))
"""


@pytest.mark.system
def test_the_processes_of_a_trial_listen_on_loopback_alone_as_the_readme_tells(tmp_path: Path) -> None:
    folder = tmp_path / "meeting"
    folder.mkdir(mode=0o700)
    command = [sys.executable, "-c", MEMBER]
    members = [
        subprocess.Popen(
            [*command, str(rank), str(folder)], env=own_environment(), stdout=subprocess.PIPE, text=True, cwd="/"
        )
        for rank in range(2)
    ]
    try:
        said = [json.loads(member.communicate(timeout=240)[0].splitlines()[-1]) for member in members]
    finally:
        for member in members:
            member.kill()
    assert [lengths for lengths, _ in said] == [[1, 1001]] * 2
    assert {address for _, listening in said for address in listening} <= {"127.0.0.1", "::1"}
    (row,) = (line for line in README.read_text().splitlines() if line.startswith("| process of a trial of several"))
    assert "| loopback |" in row
