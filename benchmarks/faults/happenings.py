"""The faults that can happen to a run at any moment."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from benchmarks.faults.curve import raising
from benchmarks.faults.experiments import journal, storage
from tests.support.damage import damage
from tests.support.disks import fill
from tests.support.drivers import POLL, DriverFailed, Watched
from tests.support.raylets import TRIALS, RayNode
from trainables.machine.shared_memory import SharedMemory
from tuning.spec.models import STUDIES

if TYPE_CHECKING:
    from benchmarks.faults.kills import Run

ORPHANS_SECONDS, LATER_SECONDS, ENDING_SECONDS = 5.0, 4.0, 30.0
Fault = Callable[["Run", Watched], None]  # returns when every process is gone, or the driver has ended


def driver_and_ray(run: Run, watched: Watched) -> None:
    """Kills the driver, then its Ray, by SIGKILL, and deletes Ray's temporary folder."""
    if watched.process.poll() is None:
        watched.process.kill()
    run.drivers.pull_the_plug()
    run.drivers.clear()


def driver_alone(run: Run, watched: Watched) -> None:
    """Kills the driver by SIGKILL; its Ray notices by itself. What has not ended soon is killed, as a reboot would."""
    watched.process.kill()
    watched.process.wait()
    until = time.monotonic() + ORPHANS_SECONDS
    while run.drivers.alive() and time.monotonic() < until:
        time.sleep(POLL)
    driver_and_ray(run, watched)


def driver_of(head: RayNode) -> Fault:
    """Kills the driver by SIGKILL; its cluster lives on, and ends what the driver has begun there."""

    def fault(run: Run, watched: Watched) -> None:
        watched.process.kill()
        watched.process.wait()
        run.died = time.monotonic()
        run.drivers.pull_the_plug()
        until = run.died + ENDING_SECONDS
        while head.trials():
            if time.monotonic() > until:
                raise DriverFailed(f"trials of a dead driver still run after {ENDING_SECONDS:g} s")
            time.sleep(POLL)

    return fault


def machine(run: Run, watched: Watched) -> None:
    """Kills all processes at once and deletes the shared memory: only what is on storage remains."""
    run.drivers.pull_the_plug()
    run.drivers.clear()
    for study in (run.spec.run_folder / STUDIES).glob("*"):
        with contextlib.closing(SharedMemory(study)) as memory:
            shutil.rmtree(memory.folder)


def asked(number: signal.Signals) -> Fault:
    """Sends a signal to which the driver reacts: it saves what it has and ends."""

    def fault(run: Run, watched: Watched) -> None:
        if watched.process.poll() is None:
            watched.process.send_signal(number)
        watched.end()
        run.drivers.clear()

    return fault


def one_process(titles: tuple[str, ...], number: signal.Signals) -> Fault:
    """Sends a signal to the first process with one of `titles`; a while later driver and Ray are killed."""

    def fault(run: Run, watched: Watched) -> None:
        alive = run.drivers.alive().items()
        for pid in sorted(pid for pid, command in alive if any(title in command for title in titles))[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        driver_and_ray_later(run, watched)

    return fault


def exception(run: Run, watched: Watched) -> None:
    """Makes the next epoch of any trial raise an error that may be chance: the trial is started again."""
    raising(journal(run.folder)).touch()
    driver_and_ray_later(run, watched)


def damaged_snapshot(run: Run, watched: Watched) -> None:
    """Does `driver_and_ray`, and damages the newest snapshot: the one before is used."""
    driver_and_ray(run, watched)
    rng = random.Random(len(run.lives))
    for study in (run.spec.run_folder / STUDIES).glob("*/snapshots"):
        if (newest := max(study.iterdir(), default=None)) is not None:
            damage(newest, rng)


def full_disk(run: Run, watched: Watched) -> None:
    """Fills the storage, a small one of its own, so that the driver ends with an error; then makes room again."""
    ballast = fill(storage(run.folder))
    watched.end()
    ballast.unlink()
    run.drivers.clear()


def driver_and_ray_later(run: Run, watched: Watched) -> None:
    """Does `driver_and_ray` a while later."""
    until = time.monotonic() + LATER_SECONDS
    while watched.process.poll() is None and time.monotonic() < until:
        time.sleep(POLL)
    driver_and_ray(run, watched)


FAULTS: dict[str, Fault] = {
    "driver and Ray killed": driver_and_ray,
    "driver killed": driver_alone,
    "machine lost": machine,
    "SIGINT": asked(signal.SIGINT),
    "SIGTERM": asked(signal.SIGTERM),
    "slot killed": one_process(TRIALS, signal.SIGKILL),
    "slot stopped": one_process(TRIALS, signal.SIGSTOP),
    "raylet killed": one_process(("/raylet ",), signal.SIGKILL),
    "exception": exception,
    "snapshot damaged": damaged_snapshot,
    "disk full": full_disk,
}
