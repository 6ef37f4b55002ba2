"""Finds configurations that the validation split cannot distinguish: equal scores, or within one row of the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trainables.data.warnings import more_rows
from trainables.tasks.summary import DataSummary
from tuning.comparison.scores import PROPORTIONS
from tuning.comparison.types import TiedConfigurations
from tuning.outcome import StudyOutcome

SAME = 1e-6  # scores closer than this are equal: some were rounded to float32


def find_ties(studies: Sequence[StudyOutcome]) -> TiedConfigurations | None:
    """Counts the configurations of all studies with the best validation score, or within one row of it.

    Returns:
        The counts; None if there is one such configuration only, or no score.
    """
    metric, sign = studies[0].metric, 1 if studies[0].mode == "max" else -1
    scores = _by_configuration(studies, sign)
    if not scores:
        return None
    best = max(scores.values())
    rows = _validation_rows(studies)
    row = 1 / rows if rows and metric in PROPORTIONS else None
    equal = sum(best - score <= SAME for score in scores.values())
    within = sum(best - score <= (row or 0.0) + SAME for score in scores.values())
    return TiedConfigurations(sign * best, equal, within, rows, row) if within > 1 else None


def tie_caveats(
    ties: TiedConfigurations | None, metric: str, spec: Mapping[str, Any], data: DataSummary | None
) -> list[str]:
    """Returns the caveat about ties; [] without any.

    Args:
        ties: the counts.
        metric: of the objective.
        spec: the resolved spec as its YAML has it, which decides the advice where the data are not known.
        data: the summary of the data, which says what limits the validation split; None: not recorded.
    """
    if ties is None:
        return []
    if ties.equal > 1:
        more = f", and {ties.within - ties.equal} more lie within one row of it" if ties.within > ties.equal else ""
        count = f"Tied: {ties.equal} configurations share the best validation {metric}, {ties.best:.4f}{more}"
    else:
        count = f"Nearly tied: {ties.within} configurations lie within one row of the best validation {metric}"
        count += f", {ties.best:.4f}"
    worth = f"; one of {ties.rows:,} validation rows is worth {ties.row:.4f}" if ties.row is not None else ""
    split = data.splits.get("validation") if data is not None else None
    known = split is not None and split.available is not None
    step = more_rows(data, "validation") if data is not None and known else f"increase {_what_to_raise(spec)}"
    return [f"{count}{worth}. The first of the best was chosen. To distinguish them, {step}."]


def _by_configuration(studies: Sequence[StudyOutcome], sign: int) -> dict[tuple[tuple[str, str], ...], float]:
    """Returns the best score of each distinct configuration, times `sign`."""
    scores: dict[tuple[tuple[str, str], ...], float] = {}
    for study in studies:
        for trial in study.trials:
            if (best := trial.best_report(study.metric, study.mode)) is not None:
                proposed = trial.proposed(best).items()
                values = tuple(sorted((name, repr(best.params.get(name, value))) for name, value in proposed))
                score = sign * best.metrics[study.metric]
                scores[values] = max(score, scores.get(values, score))
    return scores


def _validation_rows(studies: Sequence[StudyOutcome]) -> int | None:
    """Returns the number of validation rows; None if it is not recorded or differs between studies."""
    found = {study.attributes.get("validation_rows") for study in studies}
    rows = found.pop() if len(found) == 1 else None
    return rows if isinstance(rows, int) and rows > 0 else None


def _what_to_raise(spec: Mapping[str, Any]) -> str:
    data = spec.get("data") or {}
    if (data.get("subset") or {}).get("validation"):
        return "data.subset.validation"
    cut = data and not data.get("validation")
    return "the number of validation rows" + (
        " (data.validation_fraction, where they are cut from train)" if cut else ""
    )
