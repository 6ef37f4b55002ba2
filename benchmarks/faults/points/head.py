"""Loses the head, with the driver on it and all their files except the storage; a new head replaces it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.faults.checker import complaints, repeated
from benchmarks.faults.experiments import PLANNED, experiment
from benchmarks.faults.happenings import driver_and_ray
from benchmarks.faults.kills import Run, after_reports, run_through
from benchmarks.faults.row import Row, Settings, Tally
from tests.support.drivers import Watched, drivers_in
from tests.support.raylets import NO_TOKEN, RayNode, ray_nodes

NUMBER = 3
ALONE = True  # seconds count
SECONDS = 0.5  # of an epoch
REPORTS = 7
MOST_SECONDS = 60.0  # from the start of the resume to the first new epoch


def measure(settings: Settings) -> Row:
    """Measures each strategy once, with two heads one after the other."""
    tally, slowest = Tally(), 0.0
    for strategy in settings.strategies:
        undisturbed = run_through(settings.place, strategy, seconds=SECONDS).lives[-1].study
        run, seconds = _two_heads(settings.place, strategy)
        slowest = max(slowest, seconds)
        found = complaints(run.lives, PLANNED[strategy], undisturbed)
        if seconds > MOST_SECONDS:
            found.append(f"{seconds:.0f} s to the first new epoch, {MOST_SECONDS:g} are allowed")
        facts = {"strategy": strategy, "to_first_epoch": round(seconds, 1)}
        tally.add(run, repeated(run.lives), found, **facts)
        settings.say(f"head: {tally.figures[-1]}")
    return Row(
        "head lost",
        f"`ray start --head` and the driver killed after {REPORTS} reports, Ray's temporary folder with Tune's staging "
        "folder deleted; a new head with other ports and another folder; `tunefleet resume` with its address",
        f"at most {slowest:.0f} s to the first new epoch, {tally.repeated} epochs repeated; {tally.told()}",
        "FINDINGS: pbt's policy logs are overwritten when the staging folder is lost; ASHA's rungs are empty",
        not tally.complaints,
        {"runs": tally.figures},
    )


def _two_heads(place: Path, strategy: str) -> tuple[Run, float]:
    """Returns the run, and the seconds from the start of the resume to its first epoch."""
    with (
        tempfile.TemporaryDirectory(dir=place, prefix="r") as folder,
        tempfile.TemporaryDirectory(dir=place, prefix="a") as first,
        tempfile.TemporaryDirectory(dir=place, prefix="b") as second,
        drivers_in(Path(folder)) as drivers,
    ):
        environment = {**NO_TOKEN, "HOME": folder}
        raw: dict[str, Any] = experiment(Path(folder), strategy, seconds=SECONDS)
        with ray_nodes(Path(first), HOME=folder) as nodes:
            head = nodes.start("head", cpus=2, gpus=0)
            raw["cluster"] |= {"address": head.address, "allow_unauthenticated": True}
            run = Run(drivers, raw, environment=environment)
            run.live(after_reports(REPORTS, how=lambda run, watched: _lose(head, Path(first), run, watched)))
        with ray_nodes(Path(second), HOME=folder) as nodes:
            run.overrides = [f"cluster.address={nodes.start('head', cpus=2, gpus=0).address}"]
            run.live()
        run.close()
    return run, run.lives[-1].steps[0].time - run.started


def _lose(head: RayNode, folder: Path, run: Run, watched: Watched) -> None:
    head.kill()
    driver_and_ray(run, watched)
    shutil.rmtree(folder / "ray")
