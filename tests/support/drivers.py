"""Drivers in processes of their own: started, read line by line, and killed with every process that they started."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import psutil

SECONDS = 240.0  # that a driver may take to its first report, between two, or to its end, on a busy machine
POLL = 0.02
ROOT = str(Path(__file__).parents[2])  # a driver and its workers import trainables from here
REPORT = re.compile(r"  trial (\d+) \(\w+\)  epoch ([\d.]+)/[\d.]+  accuracy (\S+)  (.*)  best ")


def own_environment() -> dict[str, str]:
    """Returns this process's environment, in which children import our packages from ROOT."""
    paths = filter(None, (ROOT, os.environ.get("PYTHONPATH")))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


class DriverFailed(RuntimeError):
    """A driver has failed; the message is its output."""


class Told(NamedTuple):
    """One report that a driver has acknowledged: the line is printed after the report is in the study store."""

    epoch: float
    accuracy: str  # as printed, four digits
    params: str
    trial: int = 0  # its number


class Drivers:
    """Runs the command in processes that can be found again by a variable in their environment, Ray's included."""

    def __init__(self, folder: Path, program: tuple[str, ...] = ("-m", "tuning.cli")) -> None:
        self.folder, self.program = folder, program
        self.mark = f"TUNEFLEET_TEST={uuid.uuid4().hex}"
        self.temp = Path(tempfile.mkdtemp(prefix="tr", dir="/tmp"))  # short: Ray puts its sockets there

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Starts `tunefleet` with these arguments."""
        name, _, value = self.mark.partition("=")
        inherited = {key: value for key, value in own_environment().items() if not key.startswith("TUNE_")}
        return subprocess.Popen(
            [sys.executable, *self.program, *arguments],
            env={**inherited, **environment, name: value, "TMPDIR": str(self.temp)},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def alive(self) -> dict[int, str]:
        """Returns every process of these drivers that still runs, with its command."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    environment = (entry / "environ").read_bytes()
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                except OSError:  # gone meanwhile, or another user's
                    continue
                if self.mark.encode() in environment:
                    found[int(entry.name)] = command.decode(errors="replace")
        return found

    def pull_the_plug(self) -> None:
        """Kills all processes at once, as a power cut does."""
        while pids := self.alive():
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.1)

    def clear(self) -> None:
        """Deletes Ray's temporary folder, with Tune's staging folder in it, as a lost machine does."""
        shutil.rmtree(self.temp, ignore_errors=True)
        self.temp.mkdir(exist_ok=True)


@contextlib.contextmanager
def drivers_in(folder: Path) -> Iterator[Drivers]:
    """Yields drivers below a folder, of which nothing is left at the end."""
    drivers = Drivers(folder)
    try:
        yield drivers
    finally:
        drivers.pull_the_plug()
        shutil.rmtree(drivers.temp, ignore_errors=True)


class Watched:
    """A driver whose output is read while it runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.told: list[Told] = []
        self.lines: list[str] = []
        self._errors: list[str] = []
        assert process.stdout is not None
        assert process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=(process.stdout,), daemon=True),
            threading.Thread(target=self._keep_errors, args=(process.stderr,), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, output: IO[str]) -> None:
        for line in output:
            self.lines.append(line)
            if line.endswith("\n") and (found := REPORT.search(line)):  # a killed driver's last line may be torn
                self.told.append(Told(float(found[2]), found[3], found[4], int(found[1])))

    def _keep_errors(self, output: IO[str]) -> None:
        self._errors += output

    @property
    def errors(self) -> str:
        """Everything that the driver has written to standard error."""
        return "".join(self._errors)

    def wait_until(self, reached: Callable[[], bool]) -> bool:
        """Waits until the condition is true; returns False if the driver ends before.

        Raises:
            DriverFailed: neither, for `SECONDS`.
        """
        until = time.monotonic() + SECONDS
        while not reached():
            if self.process.poll() is not None:
                self.join()
                return reached()
            if time.monotonic() > until:
                raise DriverFailed(f"nothing for {SECONDS:g} s: {''.join(self.lines[-5:])}{self.errors}")
            time.sleep(POLL)
        return True

    def end(self) -> int:
        """Waits for the driver's end; returns its exit status.

        Raises:
            DriverFailed: it does not end.
        """
        try:
            self.process.wait(SECONDS)
        except subprocess.TimeoutExpired as error:
            raise DriverFailed(f"does not end: {''.join(self.lines[-5:])}{self.errors}") from error
        self.join()
        return int(self.process.returncode)

    def join(self) -> None:
        """Waits until all output is read."""
        for reader in self._readers:
            reader.join(timeout=10)


def reports_seen(driver: subprocess.Popen[str], most: int) -> int:
    """Reads what `driver` prints until it has reported `count` epochs, or has ended; returns their number."""
    assert driver.stdout is not None
    seen = 0
    for line in driver.stdout:
        seen += "  epoch " in line
        if seen == most:
            break
    return seen


def run_until_power_cut(command: Sequence[str], reports: int, folder: Path) -> None:
    """Runs `command` in `folder`, and kills it with all its processes after so many reports.

    Raises:
        DriverFailed: it has ended by itself before.
    """
    environment = own_environment()
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as driver:
        seen = reports_seen(driver, reports)
        below = [child.pid for child in psutil.Process(driver.pid).children(recursive=True)]
        for pid in (driver.pid, *below):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    if seen < reports:
        raise DriverFailed(f"{' '.join(command)}: ended by itself after {seen} of {reports} reports")
