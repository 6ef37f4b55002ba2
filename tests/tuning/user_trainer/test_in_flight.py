"""A Trainer that cannot go on with other values is refused to a population before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import EarlyStoppingCallback

import tuning
from tests.support.user_trainers import trainer
from trainables.errors import InputError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("given", "name", "shown"),
    [
        ({"callbacks": [EarlyStoppingCallback(1)]}, "EarlyStoppingCallback", "remove the callback"),
        ({"args": {"lr_scheduler_type": "reduce_lr_on_plateau"}}, "learning_rate", "a scheduler that follows from the"),
    ],
)
def test_what_a_population_would_change_is_judged_by_the_trainer_that_is_given(
    given: dict[str, Any], name: str, shown: str, tmp_path: Path
) -> None:
    args = {"metric_for_best_model": "accuracy", **given.pop("args", {})}
    mine = trainer({"output_dir": str(tmp_path / "out")}, args=args, **given)
    with pytest.raises(InputError, match=shown) as refused:
        tuning.hyperparameter_search(
            mine,
            lambda trial: {"learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)},
            n_trials=2,
            strategies="pbt",
            storage=str(tmp_path / "runs"),
            progress=False,
        )
    assert refused.value.name == name
    assert not list((tmp_path / "runs").glob("search-*"))
