"""Several objectives in a spec: their short forms, what they mean for a trial, and every mistake with the next step."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.support.specs import GOOD
from trainables.spec import SCALARISED, Constraint, Objective
from tuning.spec.file import parse
from tuning.spec.loading import load_spec
from tuning.spec.mistakes import SpecError
from tuning.spec.models import ExperimentSpec

pytestmark = pytest.mark.unit

ACCURACY, LATENCY = Objective(metric="accuracy", mode="max"), Objective(metric="latency_ms", mode="min")
RANDOM = {"strategies": [{"kind": "random", "trials": 4}]}


def read(**changed: Any) -> ExperimentSpec:
    return load_spec({**copy.deepcopy(dict(GOOD)), "objectives": ["accuracy", "latency_ms"], **changed})


def test_metrics_whose_direction_is_known_need_no_mode() -> None:
    spec = read(**RANDOM, constraints=["latency_ms <= 20", "accuracy>=0.5"])
    assert spec.objectives == (ACCURACY, LATENCY)
    assert spec.constraints == (
        Constraint(metric="latency_ms", at_most=20),
        Constraint(metric="accuracy", at_least=0.5),
    )
    assert load_spec(parse(spec.to_yaml(), "again.yaml")) == spec
    trial = spec.trial_spec(0, "random")
    assert trial.objective == ACCURACY
    assert trial.goal == spec.goal
    assert trial.costs == ("latency_ms",)
    assert str(trial.goal) == "accuracy max, latency_ms min; latency_ms <= 20; accuracy >= 0.5"


def test_a_constraint_alone_has_its_cost_measured() -> None:
    assert read(**RANDOM, constraints=["parameters <= 3e7"]).trial_spec(0).costs == ("latency_ms", "parameters")


def test_a_strategy_of_one_score_is_given_the_weighted_sum() -> None:
    spec = read(scalarisation={"accuracy": 1, "latency_ms": 0.01})
    assert spec.trial_spec(0, "pbt").objective == SCALARISED
    assert spec.trial_spec(0, "grid").objective == ACCURACY
    found = spec.trial_spec(0, "pbt").with_scalarised({"accuracy": 0.9, "latency_ms": 10.0})
    assert found["scalarised"] == pytest.approx(0.8)


def test_a_spec_of_one_objective_keeps_its_digest_and_its_text() -> None:
    spec = load_spec(copy.deepcopy(dict(GOOD)))
    assert not {"objectives", "constraints", "scalarisation", "measure"} & spec.plain().keys()
    assert spec.goal is None
    assert spec.trial_spec(0).costs == ()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({}, "strategies.1.kind: 'hyperopt_asha': follows one score, and there are 2 objectives; give their weights, "
             "such as scalarisation: {accuracy: 1, latency_ms: 1}, or take random_moasha, optuna, random or grid"),
        ({}, "strategies.2.kind: 'pbt': follows one score"),
        ({**RANDOM, "objective": "accuracy"}, "objective: 'accuracy': stands beside objectives; keep one of the two"),
        ({**RANDOM, "objectives": ["accuracy"]}, "objectives: 'accuracy': is a single one; name two or more, or write "
                                                 "objective: for one"),
        ({**RANDOM, "objectives": ["accuracy", "accuracy"]}, "objectives.1.metric: 'accuracy': stands twice"),
        ({**RANDOM, "objectives": ["accuracy", "latency"]}, "objectives.1.metric: 'latency': is not reported for"),
        ({**RANDOM, "objectives": ["accuracy", {"metric": "latency_ms", "mode": "max"}]},
         "objectives.1.mode: 'max': the best latency_ms is the smallest, so the worst trial would be chosen"),
        ({**RANDOM, "constraints": ["size <= 3"]}, "constraints.0.metric: 'size': is not reported for reviews"),
        ({**RANDOM, "constraints": ["latency_ms < 3"]}, "constraints.0: 'latency_ms < 3': must be a mapping; write"),
        ({**RANDOM, "constraints": [{"metric": "latency_ms"}]}, "must have one bound, at_most or at_least"),
        ({"objectives": [], **RANDOM, "constraints": ["latency_ms <= 3"]},
         "constraints: goes with several objectives, and there is one; name the metric beside the score"),
        ({"scalarisation": {"accuracy": 1}}, "scalarisation: has no weight for latency_ms; give each objective one"),
        ({"scalarisation": {"accuracy": 1, "latency_ms": 1, "f1": 1}}, "scalarisation.f1: is no objective"),
        ({"scalarisation": {"accuracy": 0, "latency_ms": 0}}, "scalarisation: has no weight above 0; raise one"),
        ({**RANDOM, "confirm": {"top": 2, "seeds": 3}}, "confirm: trains the best by one score again"),
        ({**RANDOM, "until": "decided", "verdicts": 3, "seeds": [0, 1, 2]}, "until: 'decided': adds seeds until"),
    ],
)  # fmt: skip
def test_a_mistake_names_its_place_and_the_next_step(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(**changed)
    assert message in str(caught.value)
