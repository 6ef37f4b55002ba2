"""What a comparison cannot carry, in sentences: pure functions over its rows."""

from __future__ import annotations

from collections.abc import Sequence

from tuning.comparison.shapes import Pair, StrategyRow
from tuning.comparison.verdict import names
from tuning.outcome import StudyOutcome

SAME_BUDGET = 1.1  # costs within this factor of each other count as equal


def caveats_of(rows: Sequence[StrategyRow], pairs: Sequence[Pair], studies: Sequence[StudyOutcome]) -> tuple[str, ...]:
    """Everything that a reader of the table has to know to not be misled by it."""
    found = [
        *_unfinished(studies),
        *_seeds(rows),
        *_failures(rows),
        *_lost_nodes(studies),
        *_budgets(rows),
        *_tests(rows, studies),
    ]
    looks = ", ".join(f"{row.strategy} {sum(study.reports for study in row.studies)}" for row in rows)
    if any(row.best for row in rows):
        found.append(
            f"Validation scores are the best of many looks at the rows that they are reported on ({looks}): too high."
        )
    return tuple(found)


def _unfinished(studies: Sequence[StudyOutcome]) -> list[str]:
    open_ones = [f"{study.strategy} seed {study.seed}" for study in studies if study.state.value != "finished"]
    return [f"Not finished: {names(open_ones)}."] if open_ones else []


def _seeds(rows: Sequence[StrategyRow]) -> list[str]:
    counts = {row.strategy: len(row.studies) for row in rows}
    single = [name for name, count in counts.items() if count == 1]
    found = []
    if single:
        found.append(f"One seed only for {names(single)}: another seed may turn the order around.")
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        found.append(f"Unequal numbers of seeds ({told}): more seeds are more chances for a high best score.")
    return found


def _failures(rows: Sequence[StrategyRow]) -> list[str]:
    return [
        f"{row.strategy}: {row.failed} of {row.trials} trials failed; they cost time and gave no configuration."
        for row in rows
        if row.failed
    ]


def _lost_nodes(studies: Sequence[StudyOutcome]) -> list[str]:
    return [
        f"{study.strategy} seed {study.seed}: {len(study.node_losses)} restarts of trials whose node "
        f"({', '.join(sorted({loss.node for loss in study.node_losses}))}) was lost; what they computed again is in "
        "the cost."
        for study in studies
        if study.node_losses
    ]


def _budgets(rows: Sequence[StrategyRow]) -> list[str]:
    costs = {row.strategy: row.device_seconds / len(row.studies) for row in rows if row.device_seconds > 0}
    if len(costs) < 2:
        return []
    least, most = min(costs, key=lambda name: costs[name]), max(costs, key=lambda name: costs[name])
    factor = costs[most] / costs[least]
    if factor <= SAME_BUDGET:
        return []
    return [
        f"Unequal budgets: per seed, {most} used {factor:.1f} times the device-seconds of {least} "
        f"({costs[most]:,.0f} against {costs[least]:,.0f})."
    ]


def _tests(rows: Sequence[StrategyRow], studies: Sequence[StudyOutcome]) -> list[str]:
    found = []
    sizes = sorted({study.test.rows for study in studies if study.test})
    if len(sizes) > 1:
        found.append(f"Test scores rest on different numbers of rows ({', '.join(f'{n:,}' for n in sizes)}).")
    for study in studies:
        best = study.best()
        if study.test and best and (study.test.trial, study.test.epoch) != (best[0].id, best[1].epoch):
            found.append(
                f"{study.strategy} seed {study.seed}: the test score is of trial {study.test.trial} at epoch "
                f"{study.test.epoch:g}, not of the best validation score (trial {best[0].id}, epoch {best[1].epoch:g})."
            )
    missing = [row.strategy for row in rows if any(study.test is None for study in row.studies)]
    if missing and any(study.test for study in studies):
        found.append(f"Not every seed has a test score: {names(missing)}.")
    return found
