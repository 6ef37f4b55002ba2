"""Kills a run in one slot once: all decisions before and after must be as in an undisturbed run."""

from __future__ import annotations

import random

from benchmarks.faults.checker import complaints, repeated
from benchmarks.faults.experiments import PLANNED
from benchmarks.faults.kills import after_reports, run_through
from benchmarks.faults.row import Row, Settings, Tally

NUMBER = 2
MINUTES = 16  # about
SECONDS = 0.3  # of an epoch
LINEAGE_KILLS = 3


def measure(settings: Settings) -> Row:
    """Measures kill points spread over the reports of each strategy, each with a part of an epoch more."""
    tally = Tally()
    for strategy in settings.strategies:
        rng = random.Random(strategy)
        whole = run_through(settings.place, strategy, seconds=SECONDS)
        undisturbed = whole.lives[-1].study
        tally.add(whole, repeated(whole.lives), complaints(whole.lives, PLANNED[strategy]), strategy=strategy)
        reports = len(whole.lives[0].told)
        points: list[tuple[int, ...]] = [
            (1 + place * (reports - 1) // settings.kill_points,) for place in range(settings.kill_points)
        ]
        if strategy == "pbt":
            points.append((reports // 4,) * LINEAGE_KILLS)
        for moments in points:
            kills = [after_reports(moment, rng.uniform(0, SECONDS)) for moment in moments]
            run = run_through(settings.place, strategy, kills, seconds=SECONDS)
            found = complaints(run.lives, PLANNED[strategy], undisturbed)
            tally.add(run, repeated(run.lives), found, strategy=strategy, after_reports=moments)
            settings.say(f"decisions: {tally.figures[-1]}")
    as_undisturbed = sum(not figure["complaints"] for figure in tally.figures)
    return Row(
        "decisions",
        f"one slot; killed after each of {settings.kill_points} numbers of reports per strategy, pbt once more "
        f"{LINEAGE_KILLS} times in a row; values, scores and ends compared with an undisturbed run, lineages replayed",
        f"{as_undisturbed} of {tally.runs} runs end as the undisturbed one, {tally.repeated} epochs repeated by "
        f"{tally.kills} kills; {tally.told()}",
        "FINDINGS: ASHA's rungs [4,4,5,5] are [0,0,0,0] after Tuner.restore (ray #30838); a pbt restore lost a trial "
        'for good ("checkpoint does not exist on storage anymore")',
        not tally.complaints,
        {"runs": tally.figures},
    )
