"""A Trainer that validates on the published test split: the page shows it."""

from __future__ import annotations

import dataclasses

import pytest
from datasets import Dataset, Split

from tests.support.outcomes import make_report, study, trial
from tests.support.user_trainers import rows, trainer
from trainables.user_trainer.in_force import provenance
from tuning.comparison import compare
from tuning.outcome import ExperimentOutcome

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(("split", "shown"), [("test", True), ("test[:1000]", True), ("train", False), (None, False)])
def test_validation_on_the_published_test_split_is_a_caveat(split: str | None, shown: bool) -> None:
    attributes = {} if split is None else {"validation_split": split}
    searched = dataclasses.replace(study("random", [trial(0, [make_report(1, 0.5)])]), attributes=attributes)
    caveats = compare(ExperimentOutcome("mine", "digest", (searched,))).caveats
    assert any("published split" in caveat for caveat in caveats) == shown


def test_the_split_of_the_validation_rows_is_recorded() -> None:
    borrowed = Dataset.from_dict(rows(8).to_dict(), split=Split.TEST).shuffle(seed=0).select(range(4))
    assert provenance(trainer({}, eval_dataset=borrowed))["validation_split"] == "test"
    assert "validation_split" not in provenance(trainer({}))
