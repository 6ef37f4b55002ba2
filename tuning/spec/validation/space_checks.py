"""Checks the hyperparameters of a spec: in its spaces, under `fixed`, and where their values change."""

from __future__ import annotations

import random
from collections.abc import Iterator

from trainables.errors import InputError, nearest
from trainables.tunables import TRAINING_SEEDS, TUNABLES
from trainables.user_trainer.hp_space import resolve_hp_space
from tuning.space import FunctionSpace, Space, unknown_name_rule
from tuning.spec.known_names import suggest_hyperparameter
from tuning.spec.mistakes import Mistake, join_path
from tuning.spec.models import ExperimentSpec
from tuning.spec.validation.draft import Draft


def declared_spaces(draft: Draft) -> list[tuple[str, Space]]:
    """All spaces and values that the spec declares, each with its path."""
    named = [("space", draft.spec.space)]
    for path, strategy in draft.strategies():
        named += [(join_path(path, "space"), strategy.space)] if strategy.space else []
        own = strategy.own_values
        named += [(join_path(path, "values"), Space.model_validate(dict(own)))] if own else []
    return named


def typed(draft: Draft) -> dict[str, str]:
    """The path of each tunable that stands anywhere in the spec."""
    fixed = {name: join_path("fixed", name) for name in draft.spec.fixed}
    return fixed | {name: join_path(where, name) for where, space in declared_spaces(draft) for name in space.names}


def _hint(name: str) -> str:
    """The next step for a name under `space`, `fixed` or `values` that is no hyperparameter."""
    return suggest_hyperparameter(name, ExperimentSpec)


def check_space(draft: Draft) -> Iterator[Mistake]:
    """Finds names that nothing consumes, and values that a hyperparameter cannot have."""
    spec = draft.spec
    epochs = None if "epochs" in draft.broken else spec.epochs
    if spec.hp_space is not None:
        return  # the names are the function's own
    for where, space in declared_spaces(draft):
        for path, rule in space.refusals(epochs, spec.tunable, _hint):
            yield Mistake(join_path(where, path), rule)


def check_fixed(draft: Draft) -> Iterator[Mistake]:
    """Finds the same under `fixed`, and names that are both fixed and searched."""
    spec = draft.spec
    searched = {name for _, strategy in draft.strategies() for name in spec.space_of(strategy).names}
    for name, value in spec.fixed.items():
        path, tunable = join_path("fixed", name), spec.tunable(name)
        if tunable is None:
            yield Mistake(path, unknown_name_rule(name, _hint), value)
        elif rule := tunable.refusal(value):
            yield Mistake(path, rule, value)
        if name in searched | set(spec.space.names):
            yield Mistake(path, "stands in the space, too", value, "keep it in one of the two places")
    for name in TRAINING_SEEDS:
        if (held := getattr(spec, name)) is not None and (where := typed(draft).get(name)):
            yield Mistake(name, f"stands under {where}, too", held, "keep it in one of the two places")
    if {"warmup_steps", "warmup_ratio"} <= searched | spec.fixed.keys() and not {
        "warmup_steps",
        "warmup_ratio",
    } <= searched:
        name = next(name for name in ("warmup_ratio", "warmup_steps") if name in spec.fixed)
        yield Mistake(
            join_path("fixed", name), "warmup_steps and warmup_ratio both set the warm-up", next_step="keep one"
        )


def check_strategy_spaces(draft: Draft) -> Iterator[Mistake]:
    """Finds what a strategy cannot search, and strategies with nothing to search."""
    for path, strategy in draft.strategies():
        space, own = draft.spec.space_of(strategy), strategy.space is not None
        if strategy.searches and not space.names:
            step = "give `space` at least one hyperparameter"
            yield Mistake(
                join_path(path, "space") if own else "space", f"{strategy.name} has nothing to search", next_step=step
            )
            continue
        for below, rule in strategy.refusals(space, draft.spec.epochs):
            shared = not own and below.split(".")[0] == "space"
            yield Mistake(below if shared else join_path(path, below), f"{strategy.name}: {rule}" if shared else rule)


def check_changes(draft: Draft) -> Iterator[Mistake]:
    """Finds values that a strategy would change in the middle of a trial, though they cannot change there."""
    for path, strategy in draft.strategies():
        own = strategy.space is not None
        for name in strategy.changed_in_flight(draft.spec.space_of(strategy)):
            tunable = draft.spec.tunable(name)
            if tunable is None or tunable.in_flight:  # unknown: `check_space` reports it
                continue
            rule = f"{strategy.name}: {name} cannot change in the middle of a trial: {tunable.why_not_in_flight}"
            step = "add mutate: false (drawn once, then inherited with the donor's weights), or fix it"
            yield Mistake(join_path(path if own else "", "space", name), rule, next_step=step)


def check_in_flight(draft: Draft) -> Iterator[Mistake]:
    """Checks `in_flight`: names that are in some space, of the user's own trainable, and no tunables of ours."""
    spec, stated = draft.spec, typed(draft)
    for position, name in enumerate(spec.in_flight):
        path = join_path("in_flight", position)
        if not spec.own and spec.hp_space is None and not isinstance(spec.space, FunctionSpace):
            rule = f"of {spec.trainable} it is known what may change in flight; this is for a trainable of your own"
            yield Mistake(path, rule, name, "remove it")
        elif name in TUNABLES and not TUNABLES[name].in_flight:
            yield Mistake(path, f"cannot change in flight: {TUNABLES[name].why_not_in_flight}", name, "remove it")
        elif name not in stated:
            yield Mistake(path, "stands in no space", name, nearest(name, stated) if stated else "remove it")


def beside_a_function(draft: Draft, name: str) -> Iterator[Mistake]:
    """Finds fields that contradict a function: a trial is given what the function returns for its suggestions."""
    if draft.spec.hp_space is not None:
        yield Mistake("hp_space", f"{name} makes what a trial is given", draft.spec.hp_space, "remove it")
    for path, strategy in draft.strategies():
        if strategy.space is not None:
            rule = f"{strategy.name} would search names that {name} does not suggest, or leave some out"
            yield Mistake(
                join_path(path, "space"), rule, next_step="remove it; a branch of the function may do the same"
            )


def unanswered(spec: ExperimentSpec, function: str) -> Iterator[Mistake]:
    """Finds values of a declared space that the function named beside it does not suggest in that way."""
    for strategy in (one for one in spec.strategies if one.searches):
        drawn = spec.space_of(strategy).sample(random.Random(0))
        try:
            resolve_hp_space(function, {**spec.fixed, **drawn})
        except InputError as error:
            yield Mistake("hp_space", error.rule, error.value, error.next_step)
            return
