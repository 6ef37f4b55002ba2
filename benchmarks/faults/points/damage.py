"""Damages one file of an interrupted run (cut off, or bits flipped), then resumes the run."""

from __future__ import annotations

from collections import Counter

from benchmarks.faults import damaging_ray
from benchmarks.faults.damaging import AS_UNDISTURBED, REFUSED, WRONG, cases, interrupted
from benchmarks.faults.row import Row, Settings
from tests.support.drivers import DriverFailed

NUMBER = 7
MINUTES = 29  # about
RAYS_CASES = 12


def measure(settings: Settings) -> Row:
    """Measures cases that are drawn from the seed 0, with strategies and kinds of file in turn."""
    runs = [interrupted(strategy, settings.place / strategy) for strategy in settings.strategies]
    found = []
    for verdict in cases(runs, settings.cases, seed=0):
        found.append(verdict)
        settings.say(f"damage {len(found)}: {verdict.verdict}: {verdict.kind}: {verdict.file} ({verdict.how})")
    for run in runs:
        run.forget()
    count = Counter(verdict.verdict for verdict in found)
    rays, told = Counter[tuple[str, str]](), ""
    try:
        rays = damaging_ray.outcomes(RAYS_CASES, 0, settings.say)
    except DriverFailed as problem:  # ours has been measured
        told = f"could not be measured: {problem}"
    told = told or "; ".join(f"{kind}: {number} x {verdict}" for (kind, verdict), number in sorted(rays.items()))
    return Row(
        "corruption",
        f"{len(found)} cases: a snapshot, Tune's own files, a manifest, a state, the study store or the spec of a run "
        "whose machine went down, cut off or with 1 to 16 bits flipped; `tunefleet resume` in a process of its own",
        f"{count[AS_UNDISTURBED]} end as the undisturbed run, {count[REFUSED]} are refused with the file's name, "
        f"{count[WRONG]} are wrong",
        f"measured, Tuner.restore after the same, {RAYS_CASES} cases: {told}. FINDINGS: a truncated "
        "experiment_state starts a new experiment of ONE trial, exit status 0; a corrupt newest checkpoint burns every "
        "retry",
        not count[WRONG],
        {"cases": [verdict._asdict() for verdict in found], "raw_ray": [[*ends, n] for ends, n in rays.items()]},
    )
