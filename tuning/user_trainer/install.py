"""`install()`: after it `trainer.hyperparameter_search(backend="tunefleet", ...)` runs here, in an unchanged script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainables.errors import InputError, nearest
from tuning.user_trainer.request import BACKENDS
from tuning.user_trainer.search import hyperparameter_search

NAME = "tunefleet"


def install(*, backends: Sequence[str] = ()) -> None:
    """Make tunefleet a backend of `Trainer.hyperparameter_search`, and that of a call without `backend=`.

    Args:
        backends: of transformers' own, which then run here as well: `install(backends=["ray"])` leaves a script with
            `backend="ray"` as it is.

    Raises:
        InputError: `backends` names none of "optuna", "ray" and "wandb".
    """
    from transformers import hyperparameter_search as search
    from transformers.trainer_utils import HPSearchBackend

    known = search.ALL_HYPERPARAMETER_SEARCH_BACKENDS
    for name in [backends] if isinstance(backends, str) else backends:
        if name not in BACKENDS:
            raise InputError("backends", name, "is no backend of transformers", nearest(name, BACKENDS))
        known[HPSearchBackend(name)] = _backend(search, name)
    others = {member: backend for member, backend in known.items() if member.value != NAME}
    known.clear()
    known.update({_member(HPSearchBackend): _backend(search, None)} | others)  # the first one is the default


def _member(kind: Any) -> Any:
    """The member `HPSearchBackend("tunefleet")`, which is added to the enumeration on first use."""
    if (known := kind._value2member_map_.get(NAME)) is not None:
        return known
    member = str.__new__(kind, NAME)
    member._name_, member._value_ = NAME.upper(), NAME
    kind._member_map_[member._name_] = kind._value2member_map_[NAME] = member
    kind._member_names_.append(member._name_)
    return member


def _backend(search: Any, replaced: str | None) -> type:
    """A backend class for transformers; `replaced`: the backend whose keywords its callers use."""

    class Tunefleet(search.HyperParamSearchBackendBase):  # type: ignore[misc]
        name = replaced or NAME

        @staticmethod
        def is_available() -> bool:
            return True

        def run(self, trainer: Any, n_trials: int, direction: Any, **keywords: Any) -> Any:
            return _search(trainer, self.default_hp_space, n_trials, direction, replaced, keywords)

        def default_hp_space(self, trial: Any) -> Any:
            """Stands as the Trainer's default for a script that gives no space; never called."""
            raise NotImplementedError

    return Tunefleet


def _search(trainer: Any, no_space: Any, n_trials: int, direction: Any, backend: str | None, keywords: Any) -> Any:
    from transformers.trainer_utils import default_compute_objective

    if trainer.hp_name is not None:
        raise InputError("hp_name", "a function", "trials are named by their numbers here", "leave it out")
    hp_space = None if trainer.hp_space == no_space else trainer.hp_space
    compute = None if trainer.compute_objective is default_compute_objective else trainer.compute_objective
    named = keywords.get("objective")
    if isinstance(named, str) and direction == "minimize" and not named.endswith("loss"):  # it is the default, too
        step = f'write direction="maximize", or objective={{"metric": {named!r}, "mode": "min"}}'
        raise InputError("direction", direction, f"is the smaller {named} the better one?", step)
    try:
        return hyperparameter_search(trainer, hp_space, compute, n_trials, direction, backend, **keywords)
    finally:
        trainer.hp_search_backend = None  # an error would leave it, and the next train() would expect a trial
