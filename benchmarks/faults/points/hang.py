"""A step that hangs: a stopped process, a sleep that does not end."""

from __future__ import annotations

import os
import signal
import time

from benchmarks.faults.by_tests import checked
from benchmarks.faults.checker import complaints, repeated
from benchmarks.faults.drivers import Watched
from benchmarks.faults.experiments import PLANNED
from benchmarks.faults.kills import Run, run_through
from benchmarks.faults.row import Row, Settings, Tally

NUMBER = 8
ALONE = True  # seconds count
HEARTBEAT = 2.0  # seconds
MOST_MORE = 5.0  # seconds beyond it
SECONDS = 0.5  # of an epoch
EPOCHS = 6
REPORTS = (3, 7)  # after which a process is stopped


def measure(settings: Settings) -> Row:
    """Two stops in a run of each strategy, with seconds; endless sleeps as the tests do it."""
    tests = checked("", "", "", ["tests/test_hang.py"], "the others are unharmed, also of several processes of a trial")
    tally, found = Tally(), list[float]()
    for strategy in settings.strategies:
        delays: list[float] = []

        def stops(run: Run, watched: Watched, delays: list[float] = delays) -> None:
            for reports in REPORTS:
                if watched.wait_until(lambda reports=reports: len(watched.told) >= reports):  # type: ignore[misc]
                    delays.append(_stopped_for(run, watched))

        run = run_through(
            settings.place, strategy, [stops], seconds=SECONDS, epochs=EPOCHS, slots=2, heartbeat=HEARTBEAT
        )
        complained = complaints(run.lives, PLANNED[strategy])
        complained += [f"{delay:.1f} s until it went on" for delay in delays if delay > HEARTBEAT + MOST_MORE]
        tally.add(run, repeated(run.lives), complained, strategy=strategy, seconds_to_go_on=delays)
        found += delays
        settings.say(f"hang: {tally.figures[-1]}")
    return Row(
        "hung step",
        f"SIGSTOP of the process that computes a trial, {len(REPORTS)} times in a run of each strategy, two slots, "
        f"heartbeat of {HEARTBEAT:g} s; an endless sleep, and one process of a trial's two",
        f"{len(found)} found; at most {max(found):.1f} s from the stop to the trial's next step in a new process "
        f"({HEARTBEAT + MOST_MORE:g} s are allowed), {tally.repeated} epochs computed twice; {tally.told()}; "
        f"{tests.tunefleet}",
        "no heartbeat: Tune waits for ever (read, not measured)",
        tests.passed and len(found) == len(REPORTS) * len(settings.strategies) and not tally.complaints,
        {"runs": tally.figures, **tests.figures},
    )


def _stopped_for(run: Run, watched: Watched) -> float:
    """Stop the process that has just begun an epoch; seconds until its trial begins one in another process."""
    begun = len(run.steps())
    watched.wait_until(lambda: any(not step.ended for step in run.steps()[begun:]))
    last = next(step for step in run.steps()[begun:] if not step.ended)
    os.kill(last.process, signal.SIGSTOP)
    stopped = time.time()

    def next_step() -> float | None:
        times = (
            step.time
            for step in run.steps()
            if (step.rate, step.decay) == (last.rate, last.decay) and step.process != last.process
        )
        return next((moment for moment in times if moment >= stopped), None)

    if not watched.wait_until(lambda: next_step() is not None):
        raise RuntimeError(f"the driver ended, and the trial of {last} has not gone on")
    moment = next_step()
    assert moment is not None
    return round(moment - stopped, 2)
