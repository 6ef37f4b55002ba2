"""Kills runs at chosen moments and resumes them until they have ended; collects what each life has left."""

from __future__ import annotations

import contextlib
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.faults.checker import Life
from benchmarks.faults.curve import Step, steps
from benchmarks.faults.experiments import experiment, journal, storage
from benchmarks.faults.happenings import Fault, driver_and_ray
from tests.support.disks import small_disk
from tests.support.drivers import DriverFailed, Drivers, Watched, drivers_in
from tests.support.raylets import RayNode
from trainables.checkpoints.manifest import CheckpointManifest
from trainables.checksums import DamagedCheckpoint
from trainables.machine.shared_memory import SharedMemory
from tuning.outcome import StudyOutcome
from tuning.spec.loading import load_spec
from tuning.spec.models import STUDIES, ExperimentSpec
from tuning.store.study_store import StoreError, StudyStore

MOST_LIVES = 60
Kill = Callable[["Run", Watched], None]  # waits for its moment; the driver ends by it, or by itself


@dataclass
class Run:
    """The run of an experiment of one study, from its first driver to its last."""

    drivers: Drivers
    raw: Mapping[str, Any]
    lives: list[Life] = field(default_factory=list)
    seconds: float = 0.0  # of all lives, from the start of each driver to its end
    died: float | None = None  # when the last driver was killed, by the monotonic clock; None: when its life was over
    training_seconds: float = 0.0  # of each life from its first epoch's begin on
    overrides: Sequence[str] = ()  # key=value, of the resumes from now on
    environment: Mapping[str, str] = field(default_factory=dict)  # of its drivers
    started: float = 0.0  # when the last driver was; seconds since 1970
    _noted: int = 0  # steps in the journal that earlier lives made

    @property
    def spec(self) -> ExperimentSpec:
        """The spec as the driver reads it."""
        return load_spec(dict(self.raw))

    @property
    def folder(self) -> Path:
        """The folder around the run folder."""
        return self.drivers.folder

    def steps(self) -> list[Step]:
        """Returns the steps of the present life."""
        return steps(journal(self.folder))[self._noted :]

    def live(self, kill: Kill | None = None) -> bool:
        """Runs one life, to its end or to the kill; returns true if the run has ended.

        Raises:
            DriverFailed: the driver ended with an error, before its kill.
        """
        begun, self.started, self.died = time.monotonic(), time.time(), None
        watched = Watched(self._start())
        if kill is not None:
            kill(self, watched)
        status = watched.end()
        self.seconds += (self.died or time.monotonic()) - begun
        if kill is None and status != 0:
            raise DriverFailed(f"exit status {status}: {''.join(watched.lines[-5:])}{watched.errors}")
        self._bury(watched)
        return status == 0

    def to_the_end(self, kills: Iterable[Kill]) -> None:
        """Runs life after life, one for each kill, and the last one undisturbed.

        Raises:
            DriverFailed: an undisturbed driver failed, or there is no end.
        """
        for kill in kills:
            if self.live(kill):
                return
            if len(self.lives) > MOST_LIVES:
                raise DriverFailed(f"{MOST_LIVES} lives and no end")
        self.live()

    def close(self) -> None:
        """Deletes what its killed drivers have left in shared memory."""
        for study in (self.spec.run_folder / STUDIES).glob("*"):
            SharedMemory(study).remove()

    def study(self) -> StudyOutcome | None:
        """Returns the study as it is recorded now."""
        store = StudyStore(self.spec.store_url)
        try:
            (study,) = store.load(self.spec.name).studies
        except (StoreError, ValueError):
            return None
        finally:
            store.close()
        return study

    def _start(self) -> Any:
        spec = self.folder / "spec.yaml"
        if (self.spec.run_folder / "spec.yaml").exists():
            resume = ("resume", self.spec.name, *self.overrides, "--storage", str(storage(self.folder)))
            return self.drivers.start(*resume, **self.environment)
        spec.write_text(yaml.safe_dump(dict(self.raw)))
        return self.drivers.start("run", str(spec), **self.environment)

    def _bury(self, watched: Watched) -> None:
        made = self.steps()
        self._noted += len(made)
        if made:
            self.training_seconds += max(step.time for step in made) - min(step.time for step in made)
        self.lives.append(Life(self.study(), tuple(watched.told), tuple(made), self._saved()))

    def _saved(self) -> dict[str, float]:
        """Returns, by trial, the epoch of its newest checkpoint with a state in memory or on the storage."""
        found: dict[str, float] = {}
        for folder in self.spec.run_folder.glob("studies/*/*/checkpoint_*"):
            with contextlib.suppress(OSError, DamagedCheckpoint):  # half written: no valid one
                manifest = CheckpointManifest.read(folder)
                with contextlib.closing(SharedMemory(folder.parents[1])) as memory:
                    if memory.find(manifest.state) or (folder / manifest.state).is_dir():
                        found[folder.parent.name] = max(manifest.epoch, found.get(folder.parent.name, 0.0))
        return found


def after_reports(count: int, delay: float = 0.0, how: Fault | None = None) -> Kill:
    """Waits until the driver has printed `count` reports of this life, and `delay` seconds more."""

    def kill(run: Run, watched: Watched) -> None:
        if watched.wait_until(lambda: len(watched.told) >= count):
            time.sleep(delay)
        (how or driver_and_ray)(run, watched)

    return kill


def after_training(seconds: float, how: Fault | None = None) -> Kill:
    """Waits `seconds` after the first epoch of this life has begun."""

    def kill(run: Run, watched: Watched) -> None:
        if watched.wait_until(lambda: bool(run.steps())):
            begun = run.steps()[0].time
            watched.wait_until(lambda: time.time() >= begun + seconds)
        (how or driver_and_ray)(run, watched)

    return kill


def every(low: float, high: float, rng: random.Random, how: Fault | None = None) -> Iterator[Kill]:
    """Yields kills without end, each after a time of training drawn between the two."""
    while True:
        yield after_training(rng.uniform(low, high), how)


def run_through(
    place: Path,
    strategy: str,
    kills: Iterable[Kill] = (),
    disk: int | None = None,
    head: RayNode | None = None,
    **options: Any,
) -> Run:
    """Runs one experiment in a new folder below `place` through all `kills`, then deletes its files.

    Args:
        disk: bytes that its storage has; None: it is not on a disk of its own.
        head: of a cluster that lives longer than its drivers; None: each of them starts its own Ray.
        options: as `experiment`.

    Raises:
        DriverFailed: a driver failed by itself.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=place, prefix=f"{strategy}-")))
        storage(folder).mkdir()
        if disk is not None:
            stack.enter_context(small_disk(storage(folder), disk))
        raw = experiment(folder, strategy, **options)
        if head is not None:
            raw["cluster"] |= {"address": head.address, "allow_unauthenticated": head.is_open}
        run = Run(stack.enter_context(drivers_in(folder)), raw, environment={} if head is None else head.access)
        stack.callback(run.close)
        run.to_the_end(kills)
    return run
