"""Kills the driver every two to four seconds of training, and once at the very beginning."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.faults.checker import complaints, repeated
from benchmarks.faults.experiments import PLANNED
from benchmarks.faults.happenings import driver_of
from benchmarks.faults.kills import Run, after_training, every, run_through
from benchmarks.faults.row import Row, Settings, Tally
from tests.support.raylets import RayNode, ray_nodes

NUMBER = 1
ALONE = True  # seconds count
SLOTS = 2
SECONDS = 0.7  # of an epoch
EPOCHS = 6
LOW, HIGH = 2.0, 4.0  # seconds of training between kills
EARLY = 3.0  # seconds of training within which a young run is killed
MOST_TIME = 2.5  # times the undisturbed run


def measure(settings: Settings) -> Row:
    """Measures every strategy and seed, killed again and again, and killed early once, on one cluster that stays."""
    with (
        tempfile.TemporaryDirectory(dir=settings.place, prefix="h") as folder,
        ray_nodes(Path(folder), closed=True) as nodes,
    ):
        head = nodes.start("head", cpus=2, gpus=0)
        run_through(settings.place, settings.strategies[0], head=head, seconds=SECONDS)  # such a cluster is not cold
        return _measured(settings, head)


def _measured(settings: Settings, head: RayNode) -> Row:
    tally, slowest = Tally(), 0.0
    options: dict[str, Any] = {"seconds": SECONDS, "slots": SLOTS, "epochs": EPOCHS, "head": head}
    killed = driver_of(head)
    for strategy in settings.strategies:
        whole = run_through(settings.place, strategy, **options)
        tally.add(whole, repeated(whole.lives), complaints(whole.lives, PLANNED[strategy]), strategy=strategy)
        for seed in settings.seeds:
            rng = random.Random(f"{strategy}/{seed}")
            early = run_through(settings.place, strategy, [after_training(rng.uniform(0, EARLY), killed)], **options)
            _judge(tally, early, strategy, seed=seed, kind="early")
            often = run_through(settings.place, strategy, every(LOW, HIGH, rng, killed), **options)
            ratio = often.seconds / whole.seconds
            _judge(tally, often, strategy, seed=seed, kind="every 2-4 s", times_undisturbed=round(ratio, 2))
            slowest = max(slowest, ratio)
            settings.say(f"driver: {strategy}, seed {seed}: {tally.figures[-2:]}")
    return Row(
        "driver killed",
        f"kill -9 of the driver after every {LOW:g} to {HIGH:g} s of training, its cluster (`tunefleet cluster start`) "
        "stays; also once "
        f"within {EARLY:g} s; {len(settings.seeds)} seeds x {len(settings.strategies)} strategies, {SLOTS} slots, "
        f"epochs of {SECONDS:g} s",
        f"{tally.kills} kills in {tally.runs} runs, {tally.repeated} epochs computed twice, at most {slowest:.2f} x "
        f"the time of the undisturbed run, starts of drivers included; {tally.told()}",
        "FINDINGS: never finishes with Tune's own 10 s between snapshots (18 kills, 16 distinct iterations); with 1 s: "
        "2.2 x, 18 of 82 iterations repeated. A placement group that goes while it is made, as by a kill, costs its "
        "node the cores or GPUs for good (tests/cluster/ray_compat/test_leaks.py)",
        not tally.complaints,
        {"runs": tally.figures},
    )


def _judge(tally: Tally, run: Run, strategy: str, **facts: object) -> None:
    found, again = complaints(run.lives, PLANNED[strategy]), repeated(run.lives)
    if again > SLOTS * (len(run.lives) - 1):
        found.append(f"{again} epochs computed twice by {len(run.lives) - 1} kills with {SLOTS} trials at a time")
    ratio = facts.get("times_undisturbed")
    if isinstance(ratio, float) and ratio > MOST_TIME:
        found.append(f"took {ratio:.2f} times the undisturbed run, {MOST_TIME:g} are allowed")
    tally.add(run, again, found, strategy=strategy, **facts)
