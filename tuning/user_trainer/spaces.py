"""The search space of a user's search.

In: a function, a name or a mapping. Out: a `Space`, checked against the code that reads its values, and its entry in a
spec.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from trainables.errors import InputError
from trainables.spec import SHIPPED, FineTuneSpec
from trainables.user_trainer.argument_values import field_names, matching_fields, unread_name_error
from trainables.user_trainer.rebuilt import RebuiltTrainer, TrialForm, texts_in
from trainables.user_trainer.rules import require_in_force
from trainables.user_trainer.shipped import ship
from tuning.space import FunctionSpace, Space, read_space
from tuning.space.aliases import meant_tunable
from tuning.space.dimensions import Fixed
from tuning.space.foreign import read_dimension
from tuning.user_trainer.search_options import SearchOptions
from tuning.user_trainer.wandb_keywords import read_sweep

DEFAULTS = {"wandb": "transformers.trainer_utils:default_hp_space_wandb"}
DEFAULT = (
    "transformers.trainer_utils:default_hp_space_optuna"  # Ray's has the same ranges, and draws seeds as fractions
)


class SearchedSpace(NamedTuple):
    """A search space as it was read, and the form in which `model_init` gets its trial."""

    space: Space
    source: Any  # as the user has it: a function, a name, a mapping
    trial_form: TrialForm


def searched_space(hp_space: Any, backend: str | None) -> SearchedSpace:
    """Read the user's space; None is the default of transformers.

    Raises:
        InputError: it cannot be read: by the hyperparameter's name, with what to write instead.
    """
    source = DEFAULTS.get(backend or "", DEFAULT) if hp_space is None else hp_space
    space = read_space(source)
    suggests = isinstance(space, FunctionSpace) and (hp_space is not None or backend not in ("ray", "wandb"))
    return SearchedSpace(space, source, "optuna" if suggests else "dict")


def enter_sweep(hp_space: Any, space: Space, options: SearchOptions) -> None:
    """Set the options that the configuration of a W&B sweep has besides its parameters; other spaces have none."""
    if isinstance(space, FunctionSpace) or isinstance(hp_space, str | Space | None):
        return
    raw = hp_space(None) if callable(hp_space) else hp_space
    if isinstance(raw, Mapping) and isinstance(raw.get("parameters"), Mapping):
        read_sweep(options, raw)


def perturbable(space: Space, in_flight: Sequence[str]) -> Space:
    """The space in which PBT changes what can change in the middle of a trial; the rest it draws once.

    Args:
        in_flight: names of the user's own that can.
    """
    if isinstance(space, FunctionSpace):  # the spec does so itself
        return space
    return space.allowing(FineTuneSpec(trainable=SHIPPED, epochs=1, in_flight=tuple(in_flight)).tunable)


def with_mutations(space: Space, mutations: Mapping[str, Any]) -> Space:
    """A space of which PBT changes the names in `mutations`, each within its values there, and no other.

    Raises:
        InputError: the space is a function that suggests, whose ranges stand in its own code.
    """
    if isinstance(space, FunctionSpace):
        step = "return Ray domains from hp_space, or leave the scheduler out and give strategies=['pbt']"
        raise InputError("scheduler.hyperparam_mutations", ", ".join(mutations), "hp_space suggests its values", step)
    held = {
        name: dimension if isinstance(dimension, Fixed) else dimension.model_copy(update={"mutate": False})
        for name, dimension in space.items()
    }
    lists = {name: list(raw) if isinstance(raw, list | tuple) else raw for name, raw in mutations.items()}
    moved = {
        name: read_dimension(name, {"choice": raw} if isinstance(raw, list) else raw) for name, raw in lists.items()
    }
    return Space({**held, **moved})


def space_entry(searched: SearchedSpace, space: Space, storage: str) -> Any:
    """The space as an entry of a spec: a mapping, or the name of the function that suggests."""
    if not isinstance(space, FunctionSpace):
        return space.model_dump(mode="json")
    return searched.source if isinstance(searched.source, str) else ship(searched.source, storage, "hp_space")


def require_read(factory: RebuiltTrainer, space: Space) -> None:
    """Every value of the space must be of its field's type, and every name be read by the arguments or by `model_init`.

    A name that `model_init` may read in a way that its code does not show is looked at in the first trial.

    Raises:
        InputError: which name, with the nearest that is read.
    """
    names = set()
    for values in _example_values(space):
        matching_fields(factory.arguments_class, values)
        names |= set(values)
    require_in_force(names)
    if factory.may_read:
        return
    known = field_names(factory.arguments_class) | texts_in(factory.model_init)
    for name in factory.unread(sorted(names)):
        meant = meant_tunable(name)
        raise unread_name_error(name, known, meant if meant in known else None)


def _example_values(space: Space) -> Iterator[Mapping[str, Any]]:
    """Values for trials, enough of them that each name comes with its bounds or choices."""
    if isinstance(space, FunctionSpace):
        for walk in space.explored.walks:
            yield walk.returned
        return
    for name, dimension in space.items():
        for _, value in dimension.stated():
            yield {name: value}
