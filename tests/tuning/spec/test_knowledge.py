"""`points`, `priors` and `start_from` in a spec: what is read, what is refused, and which recipes fit."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from tests.support.spec_mistakes import mistakes, only_mistake
from tests.support.specs import GOOD
from trainables.tunables import find_tunable
from tuning.report.planned import known_lines
from tuning.space import Knowledge, Space
from tuning.spec.loading import load_spec
from tuning.spec.models import ExperimentSpec
from tuning.spec.recipes import ALL, fitting_recipes, kinds_of

pytestmark = pytest.mark.unit

KNOWING = [{"kind": "random", "trials": 6}, {"kind": "hyperopt", "trials": 6}, {"kind": "pbt", "population": 4}]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TUNEFLEET_STORE", raising=False)


def read(*overrides: str, **fields: Any) -> ExperimentSpec:
    return load_spec({**copy.deepcopy(dict(GOOD)), "strategies": copy.deepcopy(KNOWING), **fields}, overrides)


def refused(*overrides: str, **fields: Any) -> str:
    return only_mistake(*overrides, **{"strategies": copy.deepcopy(KNOWING), **fields})


def known(spec: ExperimentSpec, place: int = 0) -> Knowledge:
    return spec.space_of(spec.strategies[place]).knowledge


def test_a_spec_without_knowledge_is_as_it_was() -> None:
    """Digests of recorded experiments must stay: fields that are not set are not written."""
    plain = read().plain()
    assert {"points", "priors", "start_from", "earlier"}.isdisjoint(plain)
    assert all("informed" not in strategy for strategy in plain["strategies"])
    assert known(read()) == Knowledge()


def test_every_strategy_gets_the_points_and_priors_of_its_space() -> None:
    spec = read(
        points=[{"learning_rate": "2e-5", "per_device_train_batch_size": 32}],
        priors={"learning_rate": {"around": 1e-4, "factor": 2}},
    )
    for place in range(3):
        (point,) = known(spec, place).points
        assert (point.values, point.origin) == (
            {"learning_rate": 2e-5, "per_device_train_batch_size": 32},
            "given point",
        )
        assert known(spec, place).priors["learning_rate"].around == 1e-4
    assert load_spec(spec.plain()) == spec
    assert load_spec(spec.plain()).digest() == spec.digest() != read().digest()


def test_a_single_point_a_name_and_recipes_need_no_list() -> None:
    assert read(points={"learning_rate": 2e-5}).points == ({"learning_rate": 2e-5},)
    assert read(points="recipes").points == ("recipes",)
    assert read(start_from="before").start_from == ("before",)


def test_overrides_reach_into_points_and_priors() -> None:
    spec = read(
        "points.0.model.hidden_dropout_prob=0.1",
        "priors.model.hidden_dropout_prob.spread=0.05",
        points=[{"learning_rate": 2e-5}],
        priors={"model.hidden_dropout_prob": {"around": 0.1, "spread": 0.2}},
        space={**GOOD["space"], "model.hidden_dropout_prob": {"uniform": [0, 0.5]}},
    )
    assert spec.points == ({"learning_rate": 2e-5, "model.hidden_dropout_prob": 0.1},)
    assert spec.priors["model.hidden_dropout_prob"].spread == 0.05


def test_a_strategy_that_is_not_informed_knows_nothing() -> None:
    strategies = [
        *KNOWING,
        {"kind": "random", "trials": 4, "label": "control", "informed": False},
        {"kind": "defaults"},
    ]
    spec = read(points=[{"learning_rate": 2e-5}], strategies=strategies)
    assert [len(known(spec, place).points) for place in range(5)] == [1, 1, 1, 0, 0]
    assert load_spec(spec.plain()).strategies[3].informed is False


POINT = {"learning_rate": 2e-5}


@pytest.mark.parametrize(
    ("fields", "path", "rule"),
    [
        ({"points": [{"lr": 2e-5}]}, "points.0.lr", "no name of the space; did you mean learning_rate?"),
        (
            {"points": [POINT, {"learning_rate": 1}]},
            "points.1.learning_rate",
            "no value of {loguniform: [1e-05, 0.001]}",
        ),
        ({"points": [{"per_device_train_batch_size": 24}]}, "points.0.per_device_train_batch_size", "choice: [16, 32]"),
        ({"points": [{"weight_decay": 0}], "fixed": {"weight_decay": 0.1}}, "points.0.weight_decay", "under fixed"),
        ({"points": [POINT, POINT]}, "points.1", "is points.0 again, and nothing is tried twice"),
        ({"points": ["recipe"]}, "points.0", "must be `recipes`, or a mapping of names to values"),
        ({"points": [{"learning_rate": [1e-5]}]}, "points.0", "learning_rate must be a number"),
        ({"points": [{"learning_rate": n * 1e-5} for n in range(1, 6)]}, "points", "are 5, and pbt has 4 trials"),
        ({"priors": {"lr": {"around": 1e-4, "factor": 2}}}, "priors.lr", "no name of the space"),
        ({"priors": {"learning_rate": {"around": 1e-4, "spread": 2}}}, "priors.learning_rate", "write factor"),
        ({"priors": {"learning_rate": {"around": 1e-4}}}, "priors.learning_rate", "needs one of factor"),
        (
            {"priors": {"learning_rate": {"around": 1e-4, "factor": 0.5}}},
            "priors.learning_rate.factor",
            "greater than 1",
        ),
        ({"points": [POINT], "strategies": [{"kind": "defaults"}]}, "points", "no strategy makes use of it"),
        (
            {"points": "recipes", "space": {"learning_rate": {"loguniform": [1e-4, 1e-3]}}},
            "points.0",
            "none of this kind of task has values of the space alone",
        ),
    ],
)
def test_what_no_trial_can_have_is_refused_by_its_path(fields: dict[str, Any], path: str, rule: str) -> None:
    mistake = refused(**fields)
    assert mistake.startswith(f"{path}:")
    assert rule in mistake


def test_a_strategy_that_cannot_use_what_is_known_is_named_with_the_next_step() -> None:
    found = mistakes(points=[POINT], priors={"learning_rate": {"around": 1e-4, "factor": 2}})
    assert found == [
        "strategies.0.informed: true: grid cannot use points and priors; write informed: false, and it searches "
        "without knowing anything"
    ]
    spec = load_spec({**copy.deepcopy(dict(GOOD)), "points": [POINT]}, ["strategies.0.informed=false"])
    assert known(spec, 0) == Knowledge()
    assert len(known(spec, 1).points) == 1


def test_recipes_name_only_what_exists_and_their_sources() -> None:
    for recipe in ALL:
        for name, value in recipe.values.items():
            tunable = find_tunable(name)
            assert tunable is not None, name
            assert tunable.refusal(value) is None, (recipe.name, name)
        assert "https://" in recipe.source


@pytest.mark.parametrize(
    ("task", "data", "kinds"),
    [
        ("glue/sst2", {"max_length": 128}, {"classification", "short"}),
        ("rte", {"max_length": 128}, {"classification", "short", "small"}),
        ("imdb", {"max_length": 512}, {"classification", "long"}),
        ("imdb", {"max_length": 64, "subset": {"train": 500}}, {"classification", "short", "small"}),
        ("glue/stsb", {"max_length": 128}, {"regression", "short", "small"}),
    ],
)
def test_the_kind_of_a_task_follows_from_the_spec(task: str, data: dict[str, Any], kinds: set[str]) -> None:
    spec = read(task=task, data=data)
    assert kinds_of(spec.task, spec.data) == kinds


def test_recipes_have_the_names_and_values_of_the_space_alone() -> None:
    narrow = Space.model_validate(
        {"learning_rate": {"loguniform": [1e-5, 3e-5]}, "weight_decay": {"uniform": [0, 0.3]}}
    )
    spec = read(task="rte", data={"max_length": 128})
    found = {recipe.name: values for recipe, values in fitting_recipes(spec.task, spec.data, narrow)}
    assert found == {
        "bert": {"learning_rate": 2e-5, "weight_decay": 0.01},  # bert_fast has a rate of 5e-5, which is outside
        "roberta": {"learning_rate": 2e-5, "weight_decay": 0.1},
    }  # few_rows is bert in these two names, and is tried once


def test_validate_shows_each_point_with_its_source_and_each_prior() -> None:
    spec = read(
        task="imdb",
        data={"max_length": 512},
        points=["recipes", {"learning_rate": 4e-5}],
        priors={"learning_rate": {"around": 2e-5, "factor": 3}},
        space={"learning_rate": {"loguniform": [1e-5, 1e-3]}, "per_device_train_batch_size": {"choice": [16, 32]}},
    )
    lines = list(known_lines(spec))
    assert lines[0].startswith("random, hyperopt, pbt first: recipe text_classification_guide: learning_rate=2e-05, ")
    assert "https://huggingface.co/docs/transformers" in lines[0]
    assert "random, hyperopt, pbt first: given point: learning_rate=4e-05" in lines
    assert lines[-1] == "prior of learning_rate: around 2e-05, within a factor of 3"


def test_recipes_of_a_trainer_of_ones_own_are_not_known() -> None:
    mistake = refused(points="recipes", trainable="tests.support.user_trainers:make_trainer", task=None)
    assert "points.0: 'recipes': are of the built-in tasks" in mistake
