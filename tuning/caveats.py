"""What a comparison cannot carry, in sentences: pure functions over its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from tuning.outcome import StudyOutcome

if TYPE_CHECKING:
    from tuning.comparison import StrategyRow, StudyRow

SAME_BUDGET = 1.1  # costs within this factor of each other count as equal


def verdict_of(rows: Sequence[StrategyRow], metric: str, mode: Literal["max", "min"]) -> str:
    """One sentence: which strategy's chosen configuration does better on the test split, or why that is not known.

    A difference is claimed only where the 95 % intervals of the two best strategies do not touch: stricter than a
    test of the difference, since the rows are the same but the paired predictions are not kept.
    """
    scored = [(row.strategy, row.best) for row in rows if row.best is not None]
    if len(scored) < 2:
        return "No verdict: fewer than two strategies have a score, so there is nothing to compare."
    unscored = [name for name, study in scored if study.test is None]
    if unscored:
        return (
            f"No verdict: {_names(unscored)} {_have(unscored)} no test score, "
            "and a validation score that chose a configuration cannot judge it as well."
        )
    sign = 1 if mode == "max" else -1
    ranked = sorted(scored, key=lambda pair: sign * (pair[1].test or 0.0), reverse=True)
    (first, a), (second, b) = ranked[:2]
    assert a.test is not None
    assert b.test is not None
    if a.interval is None or b.interval is None:
        return (
            f"No verdict: {first} {a.test:.4g} and {second} {b.test:.4g} on test, but {metric} is no share of rows, "
            "so its uncertainty cannot be told from one score per seed."
        )
    told = f"{first} {_shown(a)} and {second} {_shown(b)}"
    overlap = a.interval.low <= b.interval.high and b.interval.low <= a.interval.high
    if overlap:
        return (
            f"No difference shown: test {metric} of the two best, {told}, differ by {abs(a.test - b.test):.3f}, "
            "and their intervals overlap."
        )
    return (
        f"{first} did better than {second} on test: {told}; their intervals do not overlap. "
        "That covers the choice of test rows only, not another seed."
    )


def caveats_of(rows: Sequence[StrategyRow], studies: Sequence[StudyOutcome]) -> tuple[str, ...]:
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
    names = [f"{study.strategy} seed {study.seed}" for study in studies if study.state.value != "finished"]
    return [f"Not finished: {_names(names)}."] if names else []


def _seeds(rows: Sequence[StrategyRow]) -> list[str]:
    counts = {row.strategy: len(row.studies) for row in rows}
    single = [name for name, count in counts.items() if count == 1]
    found = []
    if single:
        found.append(f"One seed only for {_names(single)}: another seed may turn the order around.")
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
        found.append(f"Not every seed has a test score: {_names(missing)}.")
    return found


def _shown(study: StudyRow) -> str:
    assert study.interval is not None
    return f"{study.test:.3f} [{study.interval.low:.3f}, {study.interval.high:.3f}]"


def _names(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _have(names: Sequence[str]) -> str:
    return "has" if len(names) == 1 else "have"
