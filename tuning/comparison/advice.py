"""The advice which configuration to use, with its validation and test score.

It is chosen by validation, never by test, so another strategy may have the best test score.
"""

from __future__ import annotations

from collections.abc import Sequence

from tuning.comparison.formatting import decimals_for, format_interval
from tuning.comparison.types import StrategyRow, StudyRow


def advice_text(best: StrategyRow | None, rows: Sequence[StrategyRow], metric: str, mode: str) -> str:
    """Returns the advice as a sentence, and a second one if another strategy is best on test.

    Args:
        best: the strategy with the best configuration; None: no trial has a score.
        rows: all strategies.
        metric: of the objective.
        mode: its direction.
    """
    if best is None or best.best is None or best.best.chosen is None:
        return "No configuration to use yet: no trial has reported a score."
    study, confirmed = best.best, best.best.confirmed
    chosen = study.chosen if confirmed is None else confirmed.configuration
    assert chosen is not None
    if confirmed is None:
        by = f"it has the best validation {metric}, {chosen.validation:.4f}"
    else:
        by = f"its mean validation {metric} over {len(confirmed.seeds)} trainings is the best, {confirmed.mean:.4f}"
    running = "" if all(one.finished for row in rows for one in row.studies) else " so far"
    advice = (
        f"Use the configuration of {best.strategy}, seed {study.seed}, trial {chosen.name} after epoch "
        f"{chosen.epoch:g}: {by}{running}; {_test(study, metric)}."
    )
    first = _first_on_test(rows, mode)
    if first is None or first == best.strategy:
        return advice
    return f"{advice} On test {first} is best, but configurations are not chosen by test scores."


def _test(study: StudyRow, metric: str) -> str:
    if study.test is None:
        return "it has no test score"
    interval = "" if study.interval is None else f" {format_interval(study.interval, [study.test])}"
    return f"test {metric} {study.test:.{decimals_for([study.test])}f}{interval}"


def _first_on_test(rows: Sequence[StrategyRow], mode: str) -> str | None:
    sign = 1 if mode == "max" else -1
    tested = [(sign * row.test.value, row.strategy) for row in rows if row.test is not None]
    best = max(tested, key=lambda one: one[0], default=None)
    return None if best is None else best[1]
