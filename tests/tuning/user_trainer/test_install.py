"""After `install` transformers knows tunefleet as a backend; nothing else of it changes."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from transformers import Trainer
from transformers import hyperparameter_search as search
from transformers.trainer_utils import HPSearchBackend

from tests.support.user_trainers import trainer
from trainables.errors import InputError
from tuning import install

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def undone() -> Iterator[None]:
    """Undo `install` after the test."""
    known = dict(search.ALL_HYPERPARAMETER_SEARCH_BACKENDS)
    yield
    search.ALL_HYPERPARAMETER_SEARCH_BACKENDS.clear()
    search.ALL_HYPERPARAMETER_SEARCH_BACKENDS.update(known)
    if HPSearchBackend._member_map_.pop("TUNEFLEET", None) is not None:
        del HPSearchBackend._value2member_map_["tunefleet"]
        HPSearchBackend._member_names_.remove("TUNEFLEET")


def refused(made: Trainer, **keywords: Any) -> InputError:
    """The message of a search about keywords that cannot be used; it has started nothing."""
    with pytest.raises(InputError) as shown:
        made.hyperparameter_search(**{"hp_space": lambda trial: {"learning_rate": 0.1}, **keywords})
    return shown.value


def test_without_it_there_is_no_such_backend() -> None:
    with pytest.raises(ValueError, match="tunefleet"):
        trainer({}).hyperparameter_search(backend="tunefleet")


def test_the_backend_is_a_member_of_the_enumeration_that_can_be_pickled() -> None:
    install()
    install()  # twice is once
    member = HPSearchBackend("tunefleet")
    assert pickle.loads(pickle.dumps(member)) is member
    assert [backend.value for backend in HPSearchBackend] == ["optuna", "ray", "wandb", "tunefleet"]


@pytest.mark.parametrize("backend", [None, "tunefleet", "ray"])
def test_the_search_is_ours_with_the_keywords_of_its_backend(backend: str | None) -> None:
    install(backends=["ray"])
    made = trainer({})
    error = refused(made, backend=backend, shceduler=1)
    assert (error.name, error.next_step) == ("shceduler", "did you mean scheduler?")
    assert made.hp_search_backend is None  # a training after the error asks for no trial


def test_a_backend_that_was_not_named_stays_transformers_own() -> None:
    before = search.ALL_HYPERPARAMETER_SEARCH_BACKENDS[HPSearchBackend.OPTUNA]
    install(backends=["ray"])
    assert search.ALL_HYPERPARAMETER_SEARCH_BACKENDS[HPSearchBackend.OPTUNA] is before
    with pytest.raises(InputError, match=r"^backends: 'optunna': .*did you mean optuna"):
        install(backends=["optunna"])


@pytest.mark.parametrize(
    ("keywords", "name"),
    [
        ({"hp_name": str}, "hp_name"),
        ({"objective": "accuracy"}, "direction"),  # minimize is what transformers passes where nothing is said
        ({"direction": ["minimize", "maximize"]}, "direction"),
        ({"direction": "maximize"}, "direction"),
    ],
)
def test_what_only_the_user_can_say_is_asked_for(keywords: dict[str, Any], name: str) -> None:
    install()
    assert refused(trainer({}), backend="tunefleet", **keywords).name == name
