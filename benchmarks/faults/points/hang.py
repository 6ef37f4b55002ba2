"""Makes a step hang: its process is stopped."""

from __future__ import annotations

import os
import signal
import time
from typing import NamedTuple

from benchmarks.faults.checker import complaints, repeated
from benchmarks.faults.curve import Step
from benchmarks.faults.experiments import PLANNED
from benchmarks.faults.kills import Run, run_through
from benchmarks.faults.row import Row, Settings, Tally
from tests.support.drivers import Watched

NUMBER = 8
ALONE = True  # seconds count
HEARTBEAT = 2.0  # seconds
MOST_MORE = 5.0  # seconds beyond it
SECONDS = 1.5  # of an epoch
INTO = 0.8  # seconds into an epoch: a beat has told that the trial has begun; before its first step it has ten minutes
EPOCHS = 4
REPORTS = (3, 7)  # after which a process is stopped


class Delay(NamedTuple):
    """Seconds from the stop of a process to the first step of a new process, and of its trial in another one."""

    slot: float
    trial: float


def measure(settings: Settings) -> Row:
    """Measures two stops in a run of each strategy, in seconds."""
    tally, found = Tally(), list[Delay]()
    for strategy in settings.strategies:
        delays: list[Delay] = []

        def stops(run: Run, watched: Watched, delays: list[Delay] = delays) -> None:
            for reports in REPORTS:
                if watched.wait_until(lambda reports=reports: len(watched.told) >= reports):  # type: ignore[misc]
                    delays.append(_stopped_for(run, watched))

        run = run_through(
            settings.place, strategy, [stops], seconds=SECONDS, epochs=EPOCHS, slots=2, heartbeat=HEARTBEAT
        )
        complained = complaints(run.lives, PLANNED[strategy])
        late = [delay.slot for delay in delays if delay.slot > HEARTBEAT + MOST_MORE]
        complained += [f"{seconds:g} s until another process was at work" for seconds in late]
        tally.add(run, repeated(run.lives), complained, strategy=strategy, delays=[*map(Delay._asdict, delays)])
        found += delays
        settings.say(f"hang: {tally.figures[-1]}")
    return Row(
        "hung step",
        f"SIGSTOP of the process that computes a trial, {len(REPORTS)} times in a run of each strategy, two slots, "
        f"heartbeat of {HEARTBEAT:g} s",
        f"{len(found)} found; at most {max(delay.slot for delay in found):.1f} s from the stop to the first step of a "
        f"new process ({HEARTBEAT + MOST_MORE:g} s are allowed), {max(delay.trial for delay in found):.1f} s to that "
        f"of the same trial, for a trial that waits may get the process before it; {tally.repeated} epochs computed "
        f"twice; {tally.told()}",
        "no heartbeat: Tune waits for ever (read, not measured)",
        len(found) == len(REPORTS) * len(settings.strategies) and not tally.complaints,
        {"runs": tally.figures},
    )


def _stopped_for(run: Run, watched: Watched) -> Delay:
    """Stops the process that has just begun an epoch, until its trial begins one in another process."""
    begun = len(run.steps())
    watched.wait_until(lambda: any(not step.ended for step in run.steps()[begun:]))
    last = next(step for step in run.steps()[begun:] if not step.ended)
    time.sleep(INTO)
    os.kill(last.process, signal.SIGSTOP)
    stopped = time.time()
    before = {step.process for step in run.steps()}

    def new() -> list[Step]:
        return [step for step in run.steps() if step.process not in before]

    def its_own() -> list[Step]:
        values = last.rate, last.decay
        return [
            s for s in run.steps() if s.time >= stopped and s.process != last.process and (s.rate, s.decay) == values
        ]

    if not watched.wait_until(lambda: bool(its_own())):
        raise RuntimeError(f"the driver ended, and the trial of {last} has not gone on")
    first = min(step.time for step in (*new(), *its_own()))
    return Delay(round(first - stopped, 2), round(its_own()[0].time - stopped, 2))
