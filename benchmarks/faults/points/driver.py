"""The driver and its Ray are killed every two to four seconds of training, and once at the very beginning."""

from __future__ import annotations

import random
from typing import Any

from benchmarks.faults.checker import complaints, repeated
from benchmarks.faults.experiments import PLANNED
from benchmarks.faults.kills import Run, after_training, every, run_through
from benchmarks.faults.row import Row, Settings, Tally

NUMBER = 1
SLOTS = 2
SECONDS = 0.7  # of an epoch
EPOCHS = 6
LOW, HIGH = 2.0, 4.0  # seconds of training between kills
EARLY = 3.0  # seconds of training within which a young run is killed
MOST_TIME = 2.5  # times the undisturbed training


def measure(settings: Settings) -> Row:
    """Every strategy and seed: killed again and again; and killed early, once."""
    tally, slowest = Tally(), 0.0
    options: dict[str, Any] = {"seconds": SECONDS, "slots": SLOTS, "epochs": EPOCHS}
    for strategy in settings.strategies:
        whole = run_through(settings.place, strategy, **options)
        tally.add(whole, repeated(whole.lives), complaints(whole.lives, PLANNED[strategy]), strategy=strategy)
        for seed in settings.seeds:
            rng = random.Random(f"{strategy}/{seed}")
            early = run_through(settings.place, strategy, [after_training(rng.uniform(0, EARLY))], **options)
            _judge(tally, early, strategy, seed=seed, kind="early")
            often = run_through(settings.place, strategy, every(LOW, HIGH, rng), **options)
            ratio = often.training_seconds / whole.training_seconds
            _judge(tally, often, strategy, seed=seed, kind="every 2-4 s", times_undisturbed=round(ratio, 2))
            slowest = max(slowest, ratio)
            settings.say(f"driver: {strategy}, seed {seed}: {tally.figures[-2:]}")
    return Row(
        "driver killed",
        f"kill -9 of the driver, then of its Ray, after every {LOW:g} to {HIGH:g} s of training; also once within "
        f"{EARLY:g} s; {len(settings.seeds)} seeds x {len(settings.strategies)} strategies, {SLOTS} slots, epochs of "
        f"{SECONDS:g} s",
        f"{tally.kills} kills in {tally.runs} runs, {tally.repeated} epochs repeated, at most {slowest:.2f} x the "
        f"undisturbed training; {tally.told()}",
        "FINDINGS: never finishes with Tune's own 10 s between snapshots (18 kills, 16 distinct iterations); with 1 s: "
        "2.2 x, 18 of 82 iterations repeated",
        not tally.complaints,
        {"runs": tally.figures},
    )


def _judge(tally: Tally, run: Run, strategy: str, **facts: object) -> None:
    found, again = complaints(run.lives, PLANNED[strategy]), repeated(run.lives)
    if again > SLOTS * (len(run.lives) - 1):
        found.append(f"{again} epochs repeated by {len(run.lives) - 1} kills with {SLOTS} trials at a time")
    ratio = facts.get("times_undisturbed")
    if isinstance(ratio, float) and ratio > MOST_TIME:
        found.append(f"took {ratio:.2f} times the undisturbed training, {MOST_TIME:g} are allowed")
    tally.add(run, again, found, strategy=strategy, **facts)
