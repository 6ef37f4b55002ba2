"""Tests what `validate` predicts about the power of the verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.specs import curve_experiment
from trainables.tasks.summary import DataSummary, SplitSummary
from tuning.report.planned import verdict_line

pytestmark = pytest.mark.unit

DATA = DataSummary(source="here", splits={"test": SplitSummary(rows=1000)})
TWO: list[dict[str, Any]] = [{"kind": "random", "trials": 2}, {"kind": "random", "label": "other", "trials": 2}]


def test_validate_names_the_difference_that_seeds_and_rows_can_tell_and_the_one_that_matters(tmp_path: Path) -> None:
    spec = curve_experiment(tmp_path, strategies=TWO, seeds=[0, 1, 2, 3, 4], test=True)
    assert verdict_line(spec, DATA) == (
        "verdict: 5 seeds on 1,000 test rows can detect a difference from the baseline of about 0.029 (with 80 % "
        "power, if scores vary by 0.01 from seed to seed); 0.01 matters: more seeds, more test rows or a larger "
        "`worthwhile`"
    )
    enough = verdict_line(spec.model_copy(update={"worthwhile": 0.05}), DATA)
    assert enough is not None
    assert enough.endswith("from seed to seed)")


def test_too_few_seeds_are_reported_and_where_nothing_is_known_nothing_is(tmp_path: Path) -> None:
    one = curve_experiment(tmp_path, strategies=TWO, seeds=[0], test=True)
    assert verdict_line(one, DATA) == "verdict: 1 seed can compare models; comparing strategies needs 3 seeds or more"
    five = one.model_copy(update={"seeds": (0, 1, 2, 3, 4)})
    assert verdict_line(five, None) is None
    assert verdict_line(five.model_copy(update={"test": False}), DATA) is None
