"""Faults of all kinds, drawn at random, over all strategies, until the time is up."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from collections.abc import Iterator

from benchmarks.faults.checker import complaints, repeated
from benchmarks.faults.experiments import PLANNED
from benchmarks.faults.kills import FAULTS, Kill, after_training, run_through
from benchmarks.faults.row import Row, Settings, Tally

NUMBER = 14
SECONDS = 0.5  # of an epoch
EPOCHS = 6
SLOTS = (1, 2)
LONGEST = 5.0  # seconds of training before a fault


def measure(settings: Settings) -> Row:
    """One run after the other, each of the next strategy, each life ended by a fault drawn anew."""
    tally, counts = Tally(), Counter[str]()
    until = time.monotonic() + 60 * settings.minutes
    for number, strategy in enumerate(itertools.cycle(settings.strategies)):
        if time.monotonic() >= until:
            break
        rng = random.Random(f"soak/{number}")
        drawn: list[str] = []
        run = run_through(
            settings.place,
            strategy,
            _drawn(rng, drawn),
            seconds=SECONDS,
            epochs=EPOCHS,
            slots=rng.choice(SLOTS),
            seed=number,
        )
        counts.update(drawn)
        found = complaints(run.lives, PLANNED[strategy])
        tally.add(run, repeated(run.lives), found, strategy=strategy, number=number, faults=drawn)
        settings.say(f"soak: {tally.figures[-1]}")
    return Row(
        "soak",
        f"{settings.minutes:g} minutes of faults drawn at random: {', '.join(FAULTS)}; one or two slots",
        f"{sum(counts.values())} faults in {tally.runs} runs ({', '.join(f'{n} {c}' for n, c in counts.items())}), "
        f"{tally.repeated} epochs repeated; {tally.told()}",
        "not run: its restored studies lose trials and rungs, see points 1 and 2",
        not tally.complaints,
        {"runs": tally.figures},
    )


def _drawn(rng: random.Random, drawn: list[str]) -> Iterator[Kill]:
    """Without end; the names of the faults that were asked for are added to `drawn`."""
    while True:
        name = rng.choice(list(FAULTS))
        drawn.append(name)
        yield after_training(rng.uniform(0, LONGEST), FAULTS[name])
