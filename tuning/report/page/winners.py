"""Finds the trials to highlight: the winner of the experiment and the best of each strategy, by validation score."""

from __future__ import annotations

from typing import NamedTuple

from tuning.comparison import Comparison, StrategyRow
from tuning.outcome import ExperimentOutcome, TrialState


class TrialKey(NamedTuple):
    """Identifies a trial among those of all studies."""

    strategy: str
    seed: int
    trial: str  # its display name, such as '0 (a8e2fb5c)'


class Winners(NamedTuple):
    """The trials whose configurations were chosen, overall and by strategy."""

    overall: TrialKey | None  # with the best configuration; None before the first score
    of: dict[str, TrialKey]  # strategy -> its best, for each strategy with a score


def winners(comparison: Comparison) -> Winners:
    """Returns the trials behind `comparison.best` and behind the best study of each strategy.

    None of several objectives: a front has no winner.
    """
    if comparison.goal:
        return Winners(None, {})
    found = {row.strategy: key for row in comparison.rows if (key := _chosen(row)) is not None}
    return Winners(None if comparison.best is None else found.get(comparison.best.strategy), found)


def _chosen(row: StrategyRow) -> TrialKey | None:
    best = row.best
    if best is None or best.chosen is None:
        return None
    chosen = best.chosen if best.confirmed is None else best.confirmed.configuration
    return TrialKey(row.strategy, best.seed, chosen.name)


def failed_apart(outcome: ExperimentOutcome, chosen: Winners) -> frozenset[TrialKey]:
    """Returns the failed trials with a score, except chosen ones.

    The last score of a failed trial is no result and could stretch the axis, so figures show these trials separately.
    """
    failed = {
        TrialKey(study.strategy, study.seed, trial.name)
        for study in outcome.studies
        for trial in study.trials
        if trial.state is TrialState.FAILED and trial.reports
    }
    return frozenset(failed - {chosen.overall, *chosen.of.values()})


def not_drawn(count: int, where: str) -> str:
    """Returns a sentence about `count` failed trials that a figure leaves out, with a leading space; empty for none."""
    if count == 0:
        return ""
    trials = "1 failed trial is" if count == 1 else f"{count} failed trials are"
    return f" {trials} not drawn here; {where}."
