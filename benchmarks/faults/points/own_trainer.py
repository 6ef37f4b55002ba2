"""Kills a run of a user's own Trainer in one slot once: it must end as an undisturbed one."""

from __future__ import annotations

import random

from benchmarks.faults.checker import complaints, repeated
from benchmarks.faults.experiments import PLANNED
from benchmarks.faults.kills import after_reports, run_through
from benchmarks.faults.row import Row, Settings, Tally

NUMBER = 15
MINUTES = 12  # about
SECONDS = 0.3  # that an epoch takes besides its training
MOST_POINTS = 4  # of a strategy: each run imports torch anew


def measure(settings: Settings) -> Row:
    """Measures kill points spread over the reports of each strategy, each with a part of an epoch more."""
    tally, count = Tally(), min(MOST_POINTS, settings.kill_points)
    for strategy in settings.strategies:
        rng = random.Random(f"own/{strategy}")
        whole = run_through(settings.place, strategy, seconds=SECONDS, trainer=True)
        found = complaints(whole.lives, PLANNED[strategy], formula=False)
        tally.add(whole, repeated(whole.lives), found, strategy=strategy)
        reports = len(whole.lives[0].told)
        for place in range(count):
            moment = 1 + place * (reports - 1) // count
            kill = after_reports(moment, rng.uniform(0, SECONDS))
            run = run_through(settings.place, strategy, [kill], seconds=SECONDS, trainer=True)
            found = complaints(run.lives, PLANNED[strategy], whole.lives[-1].study, formula=False)
            tally.add(run, repeated(run.lives), found, strategy=strategy, after_reports=moment)
            settings.say(f"own_trainer: {tally.figures[-1]}")
    as_undisturbed = sum(not figure["complaints"] for figure in tally.figures)
    return Row(
        "driver killed, a user's own Trainer",
        f"as point 2, with `trainable: module:make_trainer`: one slot; killed after each of {count} numbers of reports "
        f"of {', '.join(settings.strategies)}; values, scores and ends compared with an undisturbed run, bit for bit",
        f"{as_undisturbed} of {tally.runs} runs end as the undisturbed one, {tally.repeated} epochs repeated by "
        f"{tally.kills} kills; {tally.told()}",
        "not run: `Trainer.hyperparameter_search` resumes no search",
        not tally.complaints,
        {"runs": tally.figures},
    )
