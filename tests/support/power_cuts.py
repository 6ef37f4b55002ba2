"""A study in virtual time whose power is cut: what lies on disk at each moment, and a resume from it."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import sqlalchemy

from tests.support.stopped_runs import memory_of
from trainables.checkpoints.manifest import CheckpointManifest
from trainables.checksums import damage
from trainables.learning_curve import LearningCurve
from trainables.machine.shared_memory import SharedMemory
from trainables.worker.slot import Evaluation
from tuning import load_spec, run_experiment
from tuning.outcome import ExperimentOutcome
from tuning.spec.models import STUDIES, ExperimentSpec
from tuning.store.study_store import StoreError, StudyStore, sqlite_url
from tuning.testing.simulated_ray import PowerCut, SimulatedActor, simulated_ray

COSTS = {"save": 2.0}  # seconds: moments lie between a report and its checkpoint, too


class Moment(NamedTuple):
    """A copy of storage and shared memory at one moment."""

    number: int
    before: str  # what was about to happen
    folder: Path


def in_virtual_time(
    spec: ExperimentSpec, *, resume: bool = False, force: bool = False, take_over: bool = False
) -> ExperimentOutcome:
    """Runs or resumes the experiment to its end in simulated Ray."""
    with simulated_ray(costs=COSTS):
        return run_experiment(spec, progress=False, resume=resume, force=force, take_over=take_over)


def cut_off(spec: ExperimentSpec, epochs: int) -> None:
    """Runs the experiment until its trials have trained so many epochs together; the last is not reported."""
    with simulated_ray(costs=COSTS) as ray:

        def trained(_actor: SimulatedActor, method: str, _value: Any) -> None:
            if method == "train" and sum(call[2] == "train" for call in ray.calls) == epochs:
                ray.end_driver()

        ray.after(trained)
        with contextlib.suppress(PowerCut):
            run_experiment(spec, progress=False)
            raise AssertionError(f"it has ended before {epochs} epochs")


@dataclass
class Film:
    """An undisturbed run, with copies of its run folder and shared memory at intervals.

    Args:
        raw: its spec.
        aside: where the copies go.
        every: moments; there are about ten for each report.
    """

    raw: dict[str, Any]
    aside: Path
    every: int = 7
    passed: int = 0  # moments
    moments: list[Moment] = field(default_factory=list)
    computed: list[tuple[float, float]] = field(default_factory=list)  # by the last resume: (rate, from which epoch)

    @property
    def spec(self) -> ExperimentSpec:
        """The spec as a driver reads it."""
        return load_spec(self.raw)

    @property
    def studies(self) -> list[Path]:
        """The folders of the studies."""
        return [
            self.spec.run_folder / STUDIES / f"{one.get('label', one['kind'])}-seed0" for one in self.raw["strategies"]
        ]

    def shoot(self) -> ExperimentOutcome:
        """Runs it, with moments before each answer of a trial's process, and before each commit to the store."""

        def commits(_connection: sqlalchemy.Connection) -> None:
            self._pass("a commit")

        sqlalchemy.event.listen(sqlalchemy.Engine, "commit", commits)
        try:
            with simulated_ray(costs=COSTS) as ray:
                ray.after(lambda actor, method, value: self._pass(f"the answer of {method}"))
                return run_experiment(self.spec, progress=False)
        finally:
            sqlalchemy.event.remove(sqlalchemy.Engine, "commit", commits)

    def spread(self, count: int) -> list[Moment]:
        """Returns `count` of the copies, spread from the first to the last."""
        assert len(self.moments) >= count
        return [self.moments[place * (len(self.moments) - 1) // (count - 1)] for place in range(count)]

    def bring_back(self, moment: Moment) -> ExperimentOutcome | None:
        """Restores a moment; returns the recorded study, or None without one."""
        with contextlib.ExitStack() as held:
            for study in self.studies:  # or the run of another test removes what is half there, as abandoned
                held.callback(SharedMemory(study).close)
            for place, kept in self._places(moment.folder):
                shutil.rmtree(place, ignore_errors=True)
                if kept.exists():
                    shutil.copytree(kept, place)
        return self.recorded()

    def recorded(self, moment: Moment | None = None) -> ExperimentOutcome | None:
        """Returns what the study store holds now, or held at a moment."""
        folder = self.spec.run_folder if moment is None else moment.folder / "run"
        store = StudyStore(sqlite_url(folder / Path(self.spec.store_url).name))
        try:
            return store.load(self.spec.name)
        except StoreError:
            return None
        finally:
            store.close()

    def lose_the_memory(self) -> None:
        """Deletes the shared memory, as a lost machine does."""
        for study in self.studies:
            shutil.rmtree(memory_of(study))

    def saved(self) -> dict[str, float]:
        """Returns, by trial, the epoch of its newest checkpoint with a whole state in memory or on storage."""
        found: dict[str, float] = {}
        for study in self.studies:
            for folder in study.glob("*/checkpoint_*"):
                with contextlib.suppress(FileNotFoundError):  # it was being written
                    manifest = CheckpointManifest.read(folder)
                    states = (memory_of(study) / manifest.state, folder / manifest.state)
                    if any(state.is_dir() and damage(state) is None for state in states):
                        found[folder.parent.name] = max(manifest.epoch, found.get(folder.parent.name, 0.0))
        return found

    def resume(self, *, force: bool = False) -> ExperimentOutcome:
        """Resumes from what is there; `computed` gets every epoch that it trains."""
        self.computed.clear()
        advance = LearningCurve.advance

        def noted(curve: LearningCurve, epochs: float) -> Evaluation:
            self.computed.append((curve.rate, curve.epoch))
            return advance(curve, epochs)

        with mock.patch.object(LearningCurve, "advance", noted):
            return in_virtual_time(self.spec, resume=True, force=force)

    def forget(self) -> None:
        """Releases the shared memory."""
        for study in self.studies:
            SharedMemory(study).remove()

    def _pass(self, before: str) -> None:
        self.passed += 1
        if self.passed % self.every == 0:
            moment = Moment(self.passed, before, self.aside / f"{self.passed:04d}")
            for place, kept in self._places(moment.folder):
                _copy(place, kept)
            self.moments.append(moment)

    def _places(self, folder: Path) -> Iterator[tuple[Path, Path]]:
        yield self.spec.run_folder, folder / "run"
        for study in self.studies:
            yield memory_of(study), folder / study.name


def _copy(place: Path, kept: Path) -> None:
    """Copies a folder, without files that the study deletes meanwhile."""
    for folder, _, names in os.walk(place):
        target = kept / Path(folder).relative_to(place)
        target.mkdir(parents=True, exist_ok=True)
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(Path(folder, name), target / name)
