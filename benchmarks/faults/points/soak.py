"""Draws faults of all kinds at random, over all strategies, until the time is up."""

from __future__ import annotations

import functools
import itertools
import random
import time
from collections import Counter
from collections.abc import Iterator

from benchmarks.faults.checker import complaints, repeated
from benchmarks.faults.experiments import PLANNED
from benchmarks.faults.happenings import FAULTS
from benchmarks.faults.kills import Kill, Run, after_training, run_through
from benchmarks.faults.row import Row, Settings, Tally
from tests.support.drivers import Watched

NUMBER = 14
MINUTES = 32  # about
SECONDS = 0.5  # of an epoch
EPOCHS = 6
SLOTS = (1, 2)
LONGEST = 5.0  # seconds of training before a fault
HEARTBEAT = 2.0  # seconds
DISK = 16 << 20  # bytes of the storage


def measure(settings: Settings) -> Row:
    """Measures one run after the other, each of the next strategy; each life ends by a fault that is drawn anew."""
    tally, counts = Tally(), Counter[str]()
    until = time.monotonic() + 60 * settings.minutes
    for number, strategy in enumerate(itertools.cycle(settings.strategies)):
        if time.monotonic() >= until:
            break
        rng = random.Random(f"soak/{number}")
        hit: list[str] = []
        run = run_through(
            settings.place,
            strategy,
            _drawn(rng, hit),
            disk=DISK,
            seconds=SECONDS,
            epochs=EPOCHS,
            slots=rng.choice(SLOTS),
            seed=number,
            heartbeat=HEARTBEAT,
        )
        counts.update(hit)
        found = complaints(run.lives, PLANNED[strategy])
        tally.add(run, repeated(run.lives), found, strategy=strategy, number=number, faults=hit)
        settings.say(f"soak: {tally.figures[-1]}")
    return Row(
        "soak",
        f"{settings.minutes:g} minutes of faults drawn at random, after 0 to {LONGEST:g} s of training each: "
        f"{', '.join(FAULTS)}; one or two slots",
        f"{sum(counts.values())} faults in {tally.runs} runs ({', '.join(f'{n} {c}' for n, c in counts.items())}), "
        f"{tally.repeated} epochs computed twice; {tally.told()}",
        "not run: its restored studies lose trials and rungs, see points 1 and 2",
        not tally.complaints,
        {"runs": tally.figures},
    )


def _drawn(rng: random.Random, hit: list[str]) -> Iterator[Kill]:
    """Yields faults without end; adds the names of those that met a running driver to `hit`."""
    while True:
        yield after_training(rng.uniform(0, LONGEST), functools.partial(_happen, rng.choice(list(FAULTS)), hit))


def _happen(name: str, hit: list[str], run: Run, watched: Watched) -> None:
    if watched.process.poll() is None:
        hit.append(name)
    FAULTS[name](run, watched)
