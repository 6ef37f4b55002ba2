"""Reads the trials of a user's own Optuna study as observations for a model of the scores.

In: a named study and a strategy's space. Out: the trials that lie in that space, and why the others are left out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from trainables.errors import InputError
from trainables.spec import Value
from tuning.space import Space
from tuning.store.named_study import ORIGIN, NamedStudy

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


class Observed(NamedTuple):
    """A trial of an Optuna study, as a model of the scores may learn from it."""

    params: dict[str, Value]  # of the space, fixed values included
    score: float  # its value; of a pruned trial its last intermediate one


class Observations(NamedTuple):
    """The trials of an Optuna study that lie in a space, and what is wrong with the others."""

    trials: tuple[Observed, ...]
    left_out: dict[str, int]  # by reason: the number of trials


def observe(study: NamedStudy, space: Space, mode: Literal["max", "min"], experiment: str) -> Observations:
    """Reads the finished trials of a study; those that `experiment` itself has written there are passed over.

    Args:
        study: need not exist yet.
        space: of the strategy that is to learn from them.
        mode: of its objective. Which metric the values are of cannot be known here.

    Raises:
        InputError: the study has another direction or several objectives, or a name with other choices or on another
            scale, beside which Optuna takes no trial of this space.
        StoreError: the database cannot be opened.
    """
    study.check(mode, may_exist=True)
    own = f"{experiment}/"
    trials = [trial for trial in study.trials() if not str(trial.user_attrs.get(ORIGIN, "")).startswith(own)]
    _refuse_incompatible(study, trials, space)
    found, left_out = list[Observed](), Counter[str]()
    for trial in trials:
        read = _observed(trial, space)
        if isinstance(read, Observed):
            found.append(read)
        elif read is not None:
            left_out[read] += 1
    return Observations(tuple(found), dict(left_out))


def _observed(trial: FrozenTrial, space: Space) -> Observed | str | None:
    """Returns the trial as an observation, or why it is none; None of one that has not ended."""
    if not trial.state.is_finished():
        return None
    values = list(trial.intermediate_values.values()) if trial.state.name == "PRUNED" else trial.values
    if trial.state.name == "FAIL" or not values or not math.isfinite(values[-1]):
        return "failed, or have no score"
    params = {**{name: value for name, value in space.fixed.items() if name not in trial.params}, **trial.params}
    if (why := _why_outside(params, space)) is not None:
        return why
    return Observed({name: params[name] for name in space.names if name in params}, float(values[-1]))


def _why_outside(params: dict[str, Value], space: Space) -> str | None:
    """Returns why `params` is no configuration of the space; None if it is one."""
    if space.conditional:
        return None if space.contains(params) else "are no configurations of the space"
    for name in space.names:
        if name not in params:
            return f"have no {name}"
        if not space.root[name].contains(params[name]):
            return f"have values of {name} outside the space"
    more = sorted(params.keys() - set(space.names))
    return f"have {', '.join(more)}, which is not in the space" if more else None


def _refuse_incompatible(study: NamedStudy, trials: Sequence[FrozenTrial], space: Space) -> None:
    """Refuses a name with other choices, or of another kind or scale: Optuna adds no such trial to a study.

    Raises:
        InputError: which name.
    """
    from optuna.distributions import check_distribution_compatibility

    known = {name: one for trial in trials for name, one in trial.distributions.items()}
    for name, ours in space.to_optuna().items():
        try:
            check_distribution_compatibility(known.get(name, ours), ours)
        except ValueError:
            rule = f"{name} is {known[name]} in that study, and {ours} here, which Optuna does not keep in one study"
            step = "give another study_name, or the same choices and scale"
            raise InputError("study_name", study.name, rule, step) from None
