"""Tests the whole verdict and caveats of six typical experiments, word by word."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from tests.support.outcomes import make_report, scored, study, trial
from tuning.comparison import Comparison, compare
from tuning.outcome import ExperimentOutcome, ScoredRows, StudyOutcome, TrialState
from tuning.outcome.earlier_evaluations import EarlierEvaluations

pytestmark = pytest.mark.unit

ROWS = 2000  # of the test split, 1,200 of them of class 1
LABELS = (1.0,) * 1200 + (0.0,) * 800
RATES = {"defaults": 0.1, "grid": 0.2, "pbt": 0.3}  # each strategy has chosen another learning rate with each seed


def searches(strategy: str, *tests: float | None, rates: Sequence[float] | None = None) -> list[StudyOutcome]:
    """Makes one study per test score, with a validation score that follows from it; None: all its trials failed."""
    found = []
    for seed, test in enumerate(tests):
        rate = RATES[strategy] + seed / 1000 if rates is None else rates[seed]
        if test is None:
            dead = [trial(i, [], TrialState.FAILED, error="ValueError: x") for i in range(2)]
            found.append(study(strategy, dead, seed=seed))
            continue
        trials = [
            trial(i, [make_report(1, test - 0.1 / (i + 1), rate), make_report(2, test + 0.01, rate)]) for i in range(2)
        ]
        right = round(test * ROWS)  # a better model gets all rows right that a worse one does, and the next ones
        predicted = (*LABELS[:right], *(1 - label for label in LABELS[right:]))
        looked = dataclasses.replace(scored("t0", 2, test, ROWS), scored=ScoredRows(LABELS, predicted))
        found.append(study(strategy, trials, seed=seed, test=looked))
    return found


def compared(*studies: StudyOutcome) -> Comparison:
    return compare(ExperimentOutcome("e", "d", studies))


LOOKS = "Validation scores are the best of many evaluations on the same rows"
POINTS = "Unequal initial points: pbt began with other values than grid."
DEFAULTS = searches("defaults", 0.800, 0.806, 0.799, 0.808, 0.797)


def test_a_clear_winner() -> None:
    pbts, grids = (
        searches("pbt", 0.850, 0.862, 0.848, 0.861, 0.840),
        searches("grid", 0.845, 0.852, 0.849, 0.860, 0.838),
    )
    found = compared(*pbts, *grids, *DEFAULTS)
    assert found.verdict == (
        "Tuning gained 0.050 [0.037, 0.064] accuracy over the defaults for 100 device-seconds a search: pbt 0.852 "
        "against 0.802 on test, on average over 5 seeds (paired t-test over seeds and test rows, p < 0.001, corrected "
        "for 3 pairs). That is more than the 0.01 that matters. grid did better than defaults: test accuracy 0.849 "
        "against 0.802 on average over 5 seeds, a difference of 0.047 [0.034, 0.059] (paired t-test over seeds and "
        "test rows, p < 0.001, corrected for 3 pairs). That is more than the 0.01 that matters. Undecided between pbt "
        "and grid (0.003 [-0.005, 0.012]). That holds for these splits, this model, space and budget."
    )
    assert found.caveats == (
        POINTS,
        "The test is too small for the effect: pbt and grid differ by 0.003, while 5 seeds on 2,000 test rows can "
        "detect differences from 0.011 on (with 80 % power).",
        f"{LOOKS} (pbt 20, grid 20, defaults 20), so they are too good.",
    )


def test_equivalence() -> None:
    pbts, grids = (
        searches("pbt", 0.8005, 0.8050, 0.7995, 0.8085, 0.7975),
        searches("grid", 0.8000, 0.8065, 0.7985, 0.8080, 0.7980),
    )
    found = compared(*pbts, *grids, *DEFAULTS)
    assert found.verdict == (
        "Tuning gained nothing that matters over the defaults, for 100 device-seconds a search: accuracy of grid 0.802 "
        "against 0.802 on test, on average over 5 seeds, a difference of 0.000 [-0.001, 0.001] (paired t-test over "
        "seeds and test rows, corrected p = 1.00). They differ by no more than the 0.01 that matters (two one-sided "
        "tests). As good as each other, within 0.01: pbt and defaults (0.000 [-0.001, 0.001]); grid and pbt (0.000 "
        "[-0.002, 0.002]). That holds for these splits, this model, space and budget."
    )
    assert found.caveats == (POINTS, f"{LOOKS} (pbt 20, grid 20, defaults 20), so they are too good.")


def test_undecided() -> None:
    pbts, grids = (
        searches("pbt", 0.810, 0.830, 0.790, 0.800, 0.820),
        searches("grid", 0.800, 0.820, 0.800, 0.810, 0.800),
    )
    found = compared(*pbts, *grids, *DEFAULTS)
    assert found.verdict == (
        "No gain of tuning over the defaults is shown, for 100 device-seconds a search: accuracy of pbt 0.810 against "
        "0.802 on test, on average over 5 seeds, a difference of 0.008 [-0.019, 0.035] (paired t-test over seeds and "
        "test rows, corrected p = 0.49). Undecided: 5 seeds on 2,000 test rows can detect differences from 0.035 on; "
        "to detect 0.01, which would matter, takes about 30 seeds, in an experiment of their own. Undecided between "
        "grid and defaults (0.004 [-0.006, 0.014]); between pbt and grid (0.004 [-0.024, 0.032])."
    )
    assert found.caveats == (POINTS, f"{LOOKS} (pbt 20, grid 20, defaults 20), so they are too good.")


def test_one_fragile_strategy() -> None:
    """Of four seeds in common pbt would be better by 0.05, with a p below 0.001."""
    pbts, grids = searches("pbt", 0.950, 0.960, 0.941, None, 0.952), searches("grid", 0.900, 0.912, 0.893, 0.904, 0.917)
    found = compared(*pbts, *grids)
    assert found.verdict == (
        "No difference shown: test accuracy of the two best, grid 0.905 and pbt 0.881 on average over 5 seeds, differs "
        "by 0.025 [-0.170, 0.219] (paired t-test over seeds and test rows, corrected p = 0.74). Undecided: 5 seeds on "
        "2,000 test rows can detect differences from 0.263 on; to detect 0.01, which would matter, takes more than 100 "
        "seeds."
    )
    assert found.caveats == (
        "pbt: 2 of 10 trials failed; they cost time and gave no configuration.",
        "Searches without a test score: pbt seed 3. In the pairs that of the most frequent class (0.600) stands for "
        "theirs: to leave them out would favour the strategy whose searches fail.",
        POINTS,
        f"{LOOKS} (pbt 16, grid 20), so they are too good.",
    )


def test_the_same_configuration_chosen() -> None:
    """Both chose the same configuration with every seed; then with all seeds but one."""
    tests = (0.850, 0.862, 0.848, 0.861, 0.840)
    shared = [RATES["grid"] + seed / 1000 for seed in range(5)]
    found = compared(*searches("pbt", *tests, rates=shared), *searches("grid", *tests))
    assert found.verdict == (
        "No difference shown: test accuracy of the two best, pbt 0.852 and grid 0.852 on average over 5 seeds, differs "
        "by 0.000 (exact sign-flip test over seeds, whose differences are all equal, corrected p = 1.00). Both have "
        "the same score with every seed, so nothing distinguishes them."
    )
    assert found.caveats == (
        "Chose the same configuration: pbt and grid in 5 of 5 seeds. Such seeds cannot show which of the two is "
        "better.",
        f"{LOOKS} (pbt 20, grid 20), so they are too good.",
    )
    once = compared(*searches("pbt", *tests[:4], 0.842, rates=[*shared[:4], 0.3]), *searches("grid", *tests))
    assert once.verdict == (
        "No difference shown: test accuracy of the two best, pbt 0.853 and grid 0.852 on average over 5 seeds, differs "
        "by 0.000 [-0.001, 0.002] (paired t-test over seeds, corrected p = 0.37). They differ by no more than the 0.01 "
        "that matters (two one-sided tests). That holds for these splits, this model, space and budget."
    )
    assert once.caveats[0] == (
        "Chose the same configuration: pbt and grid in 4 of 5 seeds. Such seeds cannot show which of the two is better."
    )


def test_test_rows_that_earlier_experiments_have_met() -> None:
    memory = EarlierEvaluations(ROWS, 21, 1800, ("first-try", "second-try"), 8000, 301, ("first-try",))
    pbts = searches("pbt", 0.850, 0.862, 0.848, 0.861, 0.840)
    found = compared(*[dataclasses.replace(one, test_memory=memory) for one in (*pbts, *DEFAULTS)])
    assert found.verdict == (
        "Tuning gained 0.050 [0.039, 0.061] accuracy over the defaults for 100 device-seconds a search: pbt 0.852 "
        "against 0.802 on test, on average over 5 seeds (paired t-test over seeds and test rows, p < 0.001). That is "
        "more than the 0.01 that matters. That holds for these splits, this model, space and budget."
    )
    assert found.caveats == (
        f"{LOOKS} (pbt 20, defaults 20), so they are too good.",
        "Each model was evaluated on the test rows once: 10 chosen models.",
        "Test rows used before: 21 models of earlier experiments (first-try and second-try) were evaluated on 1,800 of "
        "the 2,000 test rows. If a choice was made by those scores, the scores here may be too good.",
        "301 of the 8,000 training and validation rows were test rows of first-try: test scores of the two "
        "experiments do not compare, and models of this one have no test score on those rows.",
    )
