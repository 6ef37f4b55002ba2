"""Collects the caveats of a comparison: what a reader has to know so that its tables do not mislead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tuning.comparison.fairness_caveats import fairness_caveats
from tuning.comparison.formatting import decimals_for, join_names
from tuning.comparison.imputation import ImputedScore
from tuning.comparison.repeats import repeated_seeds
from tuning.comparison.score_caveats import score_caveats
from tuning.comparison.scores import StudyScores, not_finite, study_scores
from tuning.comparison.types import Pair, StrategyRow
from tuning.comparison.version_caveats import version_caveats
from tuning.outcome import StudyOutcome


def comparison_caveats(
    rows: Sequence[StrategyRow],
    pairs: Sequence[Pair],
    studies: Sequence[StudyOutcome],
    spec: Mapping[str, Any] | None,
    imputed: Sequence[ImputedScore] = (),
) -> tuple[str, ...]:
    """Returns all caveats, a sentence or two each, the most important first.

    Args:
        rows: the strategies.
        pairs: all pairs.
        studies: all studies.
        spec: the resolved spec as its YAML has it; None: search spaces are not compared.
        imputed: scores that are used for failed searches.
    """
    if all(row.best is None for row in rows):  # there are no scores that could mislead
        return (*_unfinished(studies), *_failures(rows), *_not_finite(studies), *_lost_nodes(studies))
    repeats = _repeats(studies)
    return (
        *_unfinished(studies),
        *version_caveats(studies),
        *_seeds(rows, pairs, repeats),
        *_failures(rows),
        *_not_finite(studies),
        *_imputed(imputed),
        *_repeated(repeats),
        *_withheld(pairs),
        *_lost_nodes(studies),
        *fairness_caveats(rows, studies, spec or {}),
        *score_caveats(rows, pairs, studies, imputed),
    )


def _unfinished(studies: Sequence[StudyOutcome]) -> list[str]:
    open_ones = [f"{study.strategy} seed {study.seed}" for study in studies if study.state.value != "finished"]
    return [f"Not finished: {join_names(open_ones)}."] if open_ones else []


def _seeds(rows: Sequence[StrategyRow], pairs: Sequence[Pair], repeats: Mapping[str, Sequence[int]]) -> list[str]:
    counts = {row.strategy: len(row.studies) for row in rows}
    single = [name for name, count in counts.items() if count == 1]
    found = []
    if single:
        order = "find another configuration" if len(rows) == 1 else "reverse the order"
        found.append(f"One seed only for {join_names(single)}: another seed may {order}.")
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        found.append(f"Unequal numbers of seeds ({listed}): pairs are compared on common seeds only.")
    equal = [
        row.strategy
        for row in rows
        if len(scores := [study.chosen.validation for study in row.studies if study.chosen]) > 1
        and len(set(scores)) == 1
    ]
    if equal:
        found.append(f"All seeds of {join_names(equal)} gave the same score: they are one observation, repeated.")
    alone = [pair for pair in pairs if pair.first not in repeats and pair.second not in repeats]
    short = [pair for pair in alone if pair.seeds < max(counts.values())]
    if short and len(set(counts.values())) == 1:
        listed = ", ".join(f"{pair.first} and {pair.second} {pair.seeds}" for pair in short)
        found.append(f"Not all seeds have test scores of both strategies of a pair ({listed}).")
    return found


def _failures(rows: Sequence[StrategyRow]) -> list[str]:
    return [
        f"{row.strategy}: {row.failed} of {row.trials} trials failed; they cost time and gave no configuration."
        for row in rows
        if row.failed
    ]


def _not_finite(studies: Sequence[StudyOutcome]) -> list[str]:
    found = [f"{study.strategy} seed {study.seed}" for study in studies if not_finite(study)]
    return [f"The test score is not finite, so the search counts as failed: {join_names(found)}."] if found else []


def _repeats(studies: Sequence[StudyOutcome]) -> dict[str, list[int]]:
    """Returns, by strategy, seeds that led to the same model as an earlier seed."""
    tests: dict[str, list[StudyScores]] = {}
    for study in studies:
        if (test := study_scores(study)) is not None:
            tests.setdefault(study.strategy, []).append(test)
    return {name: seeds for name, found in tests.items() if (seeds := repeated_seeds(found))}


def _repeated(repeats: Mapping[str, Sequence[int]]) -> list[str]:
    if not repeats:
        return []
    found = [f"{name} seed{'s' if len(of) > 1 else ''} {', '.join(map(str, of))}" for name, of in repeats.items()]
    return [
        f"The same configuration and training seeds as an earlier seed of the strategy: {join_names(found)}. Both are "
        "one observation, and count as one."
    ]


def _imputed(found: Sequence[ImputedScore]) -> list[str]:
    by: dict[str, list[ImputedScore]] = {}
    for one in found:
        by.setdefault(one.by, []).append(one)
    digits = decimals_for(one.score for one in found)
    return [
        f"Searches without a test score: {join_names([f'{one.strategy} seed {one.seed}' for one in those])}. In the "
        f"pairs {words} ({join_names(list(dict.fromkeys(f'{one.score:.{digits}f}' for one in those)))}) stands for "
        "theirs: to leave them out would favour the strategy whose searches fail."
        for words, those in by.items()
    ]


def _withheld(pairs: Sequence[Pair]) -> list[str]:
    """Explains why no difference is claimed for some pairs, each reason once."""
    by: dict[str, list[str]] = {}
    for pair in pairs:
        if pair.withheld is not None and pair.about == "strategies":
            by.setdefault(pair.withheld, []).append(f"{pair.first} and {pair.second}")
    if len(by) == 1 and len(those := next(iter(by.values()))) == len(pairs):
        return [f"No difference is claimed, whatever its p: {next(iter(by))}."] if those else []
    return [
        f"No difference between {join_names(those)} is claimed, whatever its p: {reason}."
        for reason, those in by.items()
    ]


def _lost_nodes(studies: Sequence[StudyOutcome]) -> list[str]:
    return [
        f"{study.strategy} seed {study.seed}: {len(study.node_losses)} restarts of trials whose node "
        f"({', '.join(sorted({loss.node for loss in study.node_losses}))}) was lost; recomputed epochs are part of "
        "the cost."
        for study in studies
        if study.node_losses
    ]
