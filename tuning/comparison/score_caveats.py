"""Caveats about the scores: missing or unequal test scores, low power, selection bias, evaluations on test."""

from __future__ import annotations

from collections.abc import Sequence

from trainables.wording import counted
from tuning.comparison.formatting import decimals_for, join_names
from tuning.comparison.imputation import ImputedScore
from tuning.comparison.types import Pair, StrategyRow
from tuning.comparison.verdict import evidence_in_words, pair_of_two_best
from tuning.outcome import StudyOutcome


def score_caveats(
    rows: Sequence[StrategyRow],
    pairs: Sequence[Pair],
    studies: Sequence[StudyOutcome],
    imputed: Sequence[ImputedScore],
) -> list[str]:
    """Returns the caveats about validation and test scores.

    Args:
        rows: the strategies.
        pairs: all pairs.
        studies: all studies.
        imputed: scores that are used for failed searches.
    """
    return [
        *_tests(rows, studies, imputed),
        *_small_test(rows, pairs),
        *_confirmations(rows, studies),
        *_selection_bias(rows),
        *_borrowed_tests(studies),
        *_evaluations(studies),
    ]


def _tests(rows: Sequence[StrategyRow], studies: Sequence[StudyOutcome], imputed: Sequence[ImputedScore]) -> list[str]:
    found = []
    sizes = sorted({study.test.rows for study in studies if study.test})
    if len(sizes) > 1:
        found.append(f"Test scores are computed from different numbers of rows ({', '.join(f'{n:,}' for n in sizes)}).")
    for study in studies:
        best = study.best()
        if study.confirmations or not study.test or not best:
            continue
        if (study.test.trial, study.test.epoch) != (best[0].id, best[1].epoch):
            found.append(
                f"{study.strategy} seed {study.seed}: the test score is of trial {study.name_of(study.test.trial)} at "
                f"epoch {study.test.epoch:g}, not of the best validation score (trial {best[0].name}, epoch "
                f"{best[1].epoch:g})."
            )
    filled = {(one.strategy, one.seed) for one in imputed}
    missing = [
        row.strategy
        for row in rows
        if any(study.test is None and (row.strategy, study.seed) not in filled for study in row.studies)
    ]
    if missing and any(study.test is not None for row in rows for study in row.studies):
        found.append(f"Not every seed has a test score: {join_names(missing)}.")
    return found


def _small_test(rows: Sequence[StrategyRow], pairs: Sequence[Pair]) -> list[str]:
    """Reports if the two best differ by less than these seeds and rows can detect."""
    if not pairs or (pair := pair_of_two_best(rows, pairs)).difference == 0 or pair.detectable is None:
        return []
    size = abs(pair.difference)
    if pair.shown or pair.answer == "no larger" or pair.detectable <= size:
        return []
    if pair.about == "strategies" and not any(one.shown for one in pairs):
        return []  # the verdict reports it
    digits = decimals_for(pair.means)
    return [
        f"The test is too small for the effect: {pair.first} and {pair.second} differ by {size:.{digits}f}, "
        f"while {evidence_in_words(pair)} can detect differences from {pair.detectable:.{digits}f} on (with "
        "80 % power)."
    ]


def _confirmations(rows: Sequence[StrategyRow], studies: Sequence[StudyOutcome]) -> list[str]:
    found = []
    for row in rows:
        trainings = [one for study in studies if study.strategy == row.strategy for one in study.confirmations]
        if failed := sum(one.error is not None for one in trainings):
            found.append(f"{row.strategy}: {failed} of {len(trainings)} trainings of its confirmation failed.")
    confirmed = [row for row in rows if any(study.confirmed for study in row.studies)]
    if confirmed and (other := [row.strategy for row in rows if any(not study.confirmed for study in row.studies)]):
        found.append(f"Not confirmed, or not yet with every seed: {join_names(other)}; the others are.")
    digits = decimals_for(study.confirmed.mean for row in rows for study in row.studies if study.confirmed)
    too_good = [f"{row.strategy} by {row.gap:.{digits}f}" for row in rows if row.gap is not None and row.gap > 0]
    if too_good:
        found.append(
            f"Winner's curse: the search's best validation score exceeds the confirmed one, "
            f"{join_names(too_good)}. The true gap is larger, since the confirmed one is the best of several, too."
        )
    return found


def _selection_bias(rows: Sequence[StrategyRow]) -> list[str]:
    """Reports the number of validation scores behind each best score that was not confirmed."""
    found = [row for row in rows if row.best and any(not study.confirmed for study in row.studies)]
    counts = ", ".join(f"{row.strategy} {sum(study.reports for study in row.studies)}" for row in found)
    if not found:
        return []
    return [f"Validation scores are the best of many evaluations on the same rows ({counts}), so they are too good."]


def _borrowed_tests(studies: Sequence[StudyOutcome]) -> list[str]:
    """Reports if a user's Trainer validates on a published test split."""
    splits = {str(study.attributes.get("validation_split", "")) for study in studies}
    if not (borrowed := sorted(split for split in splits if split.startswith("test"))):
        return []
    return [
        f"The validation rows are from the published split `{borrowed[0]}`. The search chose by them, so scores on "
        "that split are no test of the model any more. Validate on rows that are held out of the training split."
    ]


def _evaluations(studies: Sequence[StudyOutcome]) -> list[str]:
    """Reports how many models were evaluated on the test rows, of this experiment and of earlier ones."""
    memory = next((study.test_memory for study in studies if study.test_memory is not None), None)
    if memory is None:
        return []
    chosen = sum(len(study.front_tests) or study.test is not None for study in studies)
    chosen += sum(one.test is not None for study in studies for one in study.confirmations)
    final = sum(bool(model.metrics) for study in studies for model in study.finals)
    finals = f" and {counted(final, 'final model')}" if final else ""
    evaluated = f"Each model was evaluated on the test rows once: {counted(chosen, 'chosen model')}{finals}."
    return [*([evaluated] if chosen + final else []), *memory.sentences()]
