"""Several experiments by arithmetic, each a task, for the tests of what is compared over them. No Ray, no store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tests.support.outcomes import make_report, scored, study, trial
from tuning.outcome import ExperimentOutcome

BETTER = {"pbt": 0.02, "asha": 0.012, "grid": 0.0}  # test accuracy above that of the worst


def experiment(
    name: str, scores: Mapping[str, Sequence[float]], metric: str = "accuracy", mode: str = "max"
) -> ExperimentOutcome:
    """Returns an experiment with one search per test score, with seeds 0, 1, ..."""
    return ExperimentOutcome(name, "d", tuple(
        replace(
            study(strategy, [trial(0, [make_report(1, 0.7)])], seed=seed, metric="accuracy"),
            metric=metric, mode=mode, test=replace(scored("t0", 1, 0.0), metrics={metric: score}),
            trials=(trial(0, [make_report(1, 0.7)._replace(metrics={metric: 0.7})]),),
        )
        for strategy, found in scores.items()
        for seed, score in enumerate(found)
    ))  # fmt: skip


def alike_everywhere(tasks: int, ahead: Mapping[str, float] = BETTER, seeds: int = 3) -> list[ExperimentOutcome]:
    """Returns tasks in which the same strategy leads, by a little more from task to task."""
    return [
        experiment(
            f"task{task}",
            {name: [0.6 + by * (1 + task / 100) + seed / 1000 for seed in range(seeds)] for name, by in ahead.items()},
        )
        for task in range(tasks)
    ]
