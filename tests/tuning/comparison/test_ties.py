"""Tests which configurations count as tied on the validation split, and the caveat about them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tests.support.outcomes import make_report, study, trial
from trainables.tasks.summary import DataSummary, SplitSummary
from tuning.comparison import Comparison, TiedConfigurations, compare
from tuning.outcome import ExperimentOutcome, StudyOutcome

pytestmark = pytest.mark.unit


def searched(*scores: float, rows: int | None = 30, metric: str = "accuracy", strategy: str = "grid") -> StudyOutcome:
    """Makes a study with one trial per score, each with values of its own."""
    trials = [
        trial(number, [make_report(1, score, rate=0.1 * (number + 1))._replace(metrics={metric: score})])
        for number, score in enumerate(scores)
    ]
    attributes = {} if rows is None else {"validation_rows": rows}
    return dataclasses.replace(study(strategy, trials, metric=metric), attributes=attributes)


def compared(*studies: StudyOutcome, **spec: Any) -> Comparison:
    return compare(ExperimentOutcome("e", "d", studies), spec=spec)


def test_six_configurations_that_share_the_best_score_are_reported_with_the_worth_of_a_row_and_what_to_raise() -> None:
    comparison = compared(searched(*[29 / 30] * 6), data={"subset": {"validation": 30}})
    assert comparison.ties == TiedConfigurations(29 / 30, 6, 6, 30, 1 / 30)
    assert comparison.caveats[0] == (
        "Tied: 6 configurations share the best validation accuracy, 0.9667; one of 30 validation rows is worth 0.0333. "
        "The first of the best was chosen. To distinguish them, increase data.subset.validation."
    )


def test_those_within_one_row_of_the_best_count_as_well_and_those_further_away_do_not() -> None:
    comparison = compared(searched(0.93, 0.9, 0.9, 0.86, rows=30), data={"path": "films.csv"})
    assert comparison.ties == TiedConfigurations(0.93, 1, 3, 30, 1 / 30)
    assert "Nearly tied: 3 configurations lie within one row of the best validation accuracy" in comparison.caveats[0]
    assert comparison.caveats[0].endswith("validation rows (data.validation_fraction, where they are cut from train).")
    both = compared(searched(0.93, 0.93, 0.9), data={"path": "films", "validation": "val.csv"}).caveats[0]
    assert both.startswith("Tied: 2 configurations share the best validation accuracy, 0.9300, and 1 more lie within")
    assert both.endswith("increase the number of validation rows.")


def test_where_the_data_are_known_the_step_is_what_limits_the_split() -> None:
    def step(**facts: Any) -> str:
        data = DataSummary(source="films", splits={"validation": SplitSummary(rows=30, **facts)})
        tied = dataclasses.replace(searched(0.93, 0.93), data=data)
        return compared(tied, data={"subset": {"validation": 30}}).caveats[0].partition("distinguish them, ")[2]

    assert step(available=500, cut=True) == "raise data.subset.validation (the split has 500 rows)."
    assert step(available=30, cut=True) == "raise data.validation_fraction, or add rows."
    assert step() == "increase data.subset.validation."  # recorded by an older version


def test_one_that_stands_alone_is_no_tie() -> None:
    assert compared(searched(0.9, 0.8)).ties is None
    assert compared(searched(0.901, 0.9, rows=1000)).ties == TiedConfigurations(0.901, 1, 2, 1000, 0.001)
    assert compared(searched(0.902, 0.9, rows=1000)).ties is None
    assert not [caveat for caveat in compared(searched(0.9, 0.8)).caveats if "tied" in caveat.lower()]
    assert compared(study("grid", [])).ties is None


def test_the_same_configuration_tried_twice_is_no_tie_and_one_of_another_strategy_is() -> None:
    same = searched(0.9)
    assert compared(same, dataclasses.replace(same, seed=1)).ties is None
    other = searched(0.5, 0.9, strategy="random")
    assert compared(same, other).ties == TiedConfigurations(0.9, 2, 2, 30, 1 / 30)


@pytest.mark.parametrize(("metric", "rows"), [("f1", 30), ("accuracy", None)])
def test_where_the_worth_of_a_row_is_not_known_only_equal_scores_are_tied(metric: str, rows: int | None) -> None:
    assert compared(searched(0.9, 0.88, metric=metric, rows=rows)).ties is None
    comparison = compared(searched(0.9, 0.9, metric=metric, rows=rows))
    assert comparison.ties == TiedConfigurations(0.9, 2, 2, rows, None)
    assert "is worth" not in comparison.caveats[0]


def test_of_a_loss_the_lowest_is_the_best() -> None:
    losses = dataclasses.replace(searched(0.2, 0.2, 0.4, metric="loss"), mode="min")
    assert compared(losses).ties == TiedConfigurations(0.2, 2, 2, 30, None)
