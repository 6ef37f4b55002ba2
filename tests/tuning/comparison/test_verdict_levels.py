"""Tests the verdicts of an experiment that is extended, on hand-made scores with known answers."""

from __future__ import annotations

import dataclasses

import pytest

from tests.support.outcomes import make_report, scored, study, trial
from tuning.comparison import compare
from tuning.comparison.pairs import pairs_of
from tuning.comparison.scores import StudyScores
from tuning.comparison.verdict_levels import ALPHA, UNPLANNED, level_share
from tuning.outcome import ExperimentOutcome, StudyOutcome, StudyState

pytestmark = pytest.mark.unit

AHEAD, BEHIND = (0.80, 0.84, 0.79, 0.83), (0.78, 0.80, 0.77, 0.80)  # paired t-test over seeds: p = 0.0105


def over_seeds(*scores: float) -> list[StudyScores | None]:
    return [StudyScores(seed, (score,), 0) for seed, score in enumerate(scores)]


def test_all_verdicts_together_have_five_percent_and_those_that_were_not_planned_one_more() -> None:
    assert (level_share(1, 1), level_share(2, 4), level_share(4, 4)) == (1.0, 0.25, 0.25)
    assert [ALPHA * level_share(number, 3) for number in (4, 5, 6)] == pytest.approx([0.005, 0.0025, 0.00125])
    for planned in (1, 2, 5):
        assert sum(ALPHA * level_share(number, planned) for number in range(1, planned + 1)) == pytest.approx(ALPHA)
        rest = sum(ALPHA * level_share(number, planned) for number in range(planned + 1, 60))
        assert rest == pytest.approx(UNPLANNED)


def test_p_and_interval_are_corrected_for_the_share_of_the_verdict() -> None:
    from scipy.stats import ttest_rel

    known = ttest_rel(AHEAD, BEHIND)
    assert known.pvalue == pytest.approx(0.0105, abs=5e-5)
    tests = {"a": over_seeds(*AHEAD), "b": over_seeds(*BEHIND)}
    found = {}
    for share in (1.0, 0.5, 0.1):
        (pair,) = pairs_of(tests, "score", "max", rowless=True, share=share)
        assert pair.p == pytest.approx(known.pvalue)
        assert pair.corrected == pytest.approx(known.pvalue / share)
        assert pair.interval is not None
        assert pair.interval[:2] == pytest.approx(tuple(known.confidence_interval(1 - ALPHA * share)))
        found[share] = pair.shown
    assert found == {1.0: True, 0.5: True, 0.1: False}


def test_no_corrected_p_is_above_one() -> None:
    (pair,) = pairs_of({"a": over_seeds(1, 2, 3), "b": over_seeds(2, 1, 3)}, "score", "max", rowless=True, share=0.1)
    assert pair.corrected == 1.0


def searches(strategy: str, scores: tuple[float, ...], **attributes: int) -> list[StudyOutcome]:
    return [
        dataclasses.replace(
            study(strategy, [trial(0, [make_report(1, 0.8)])], seed=seed, test=scored("t0", 1, score, 1_000_000)),
            attributes=dict(attributes),
        )
        for seed, score in enumerate(scores)
    ]


def compared(*studies: StudyOutcome, **spec: object):
    return compare(ExperimentOutcome("e", "d", studies), spec=spec)


def test_a_difference_that_one_verdict_would_show_takes_more_after_another_was_seen() -> None:
    first = compared(*searches("a", AHEAD), *searches("b", BEHIND))
    assert first.verdict.startswith("a did better than b")
    assert not any("Verdict" in caveat for caveat in first.caveats)
    # The last seed was added: of a verdict that was planned the half, of one that was not a tenth.
    for verdicts, shown, text in (
        (
            2,
            True,
            "Verdict 2 of 2 that are planned while the experiment is extended: its significance level is 0.025, ",
        ),
        (1, False, "Verdict 2, where 1 was planned: seeds or strategies were added after test scores had been seen. "),
    ):
        old = [*searches("a", AHEAD[:3]), *searches("b", BEHIND[:3])]
        new = [
            *searches("a", AHEAD, verdict=2, verdicts=verdicts)[3:],
            *searches("b", BEHIND, verdict=2, verdicts=verdicts)[3:],
        ]
        later = compared(*old, *new)
        assert later.verdict.startswith("a did better than b") == shown
        assert later.caveats[0].startswith(text)
    assert later.caveats[0].endswith("If an experiment is to be extended, set before its first run: `verdicts: 2`.")
    assert "significance level is 0.005, so that unplanned verdicts are wrong in at most 1%" in later.caveats[0]


def test_nothing_is_claimed_before_all_searches_have_ended() -> None:
    """A test after each seed would be one more verdict."""
    all_seeds = {"strategies": [{"kind": "a"}, {"kind": "b"}], "seeds": [0, 1, 2, 3, 4]}
    ended = [*searches("a", AHEAD), *searches("b", BEHIND)]
    assert compared(*ended, **{**all_seeds, "seeds": [0, 1, 2, 3]}).pairs[0].shown
    running = dataclasses.replace(ended[-1], seed=4, test=None, state=StudyState.RUNNING)
    for so_far in (compared(*ended, **all_seeds), compared(*ended, running)):
        assert not so_far.pairs[0].shown
        assert "Nothing could be claimed of them: not all searches have ended." in so_far.verdict
        assert "No difference is claimed, whatever its p: not all searches have ended." in so_far.caveats


def test_the_verdict_says_where_more_seeds_come_from() -> None:
    near = (0.80, 0.79, 0.78, 0.80)
    for number, planned, text in (
        (1, 2, "seeds, `tunefleet extend` adds them."),
        (2, 2, "seeds, in an experiment of their own."),
        (1, 1, "seeds, in an experiment of their own."),
    ):
        both = (searches(name, of, verdict=number, verdicts=planned) for name, of in (("a", AHEAD), ("b", near)))
        comparison = compared(*(one for found in both for one in found), worthwhile=0.04)
        assert text in comparison.verdict
