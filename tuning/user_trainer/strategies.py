"""The strategies of a search, as a spec has them: those that are named, or the one that the keywords choose."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from trainables.epochs import ROUNDING
from trainables.errors import InputError
from tuning.space import Space
from tuning.strategies import Strategy, find_strategies
from tuning.user_trainer.lengths import has_unequal_schedules
from tuning.user_trainer.search_options import SearchOptions

CHOOSING = ("scheduler", "search_alg", "sampler", "pruner")  # keywords that choose a strategy, as a sweep does


def strategies_of(
    requested: Any, options: SearchOptions, space: Space, keywords: Mapping[str, Any], *, several: bool = False
) -> list[dict[str, Any]]:
    """The strategies of a search, as entries of a spec.

    Args:
        requested: names such as "pbt", mappings as in a spec, several of them, or None: what the keywords choose, else
            `hyperopt`, and for a space with branches `optuna`, whose TPE models these.
        keywords: what `options` were read from.
        several: there are several objectives. Without a choice of the user's it is `random_moasha`, or `random` for
            trainings of several lengths.

    Raises:
        InputError: keywords and `requested` both choose, or keywords choose what cannot search `space`.
    """
    choosing = [name for name in CHOOSING if keywords.get(name) is not None] or ["hp_space.method"]
    asked = any(keywords.get(name) is not None for name in CHOOSING) or options.searcher not in (None, "random")
    if requested is None and several and not asked:
        return [_complete("random" if has_unequal_schedules(space) else "random_moasha", options)]
    if requested is None:
        if options.searcher == "hyperopt" and space.conditional:
            raise _no_tpe([name for name in choosing if name not in ("scheduler", "pruner")], space)
        chosen = _by_keywords(options, space)
        if chosen["kind"] == "optuna" and "store" in options.spec and keywords.get("study_name") is not None:
            chosen |= {"study_name": str(keywords["study_name"]), "storage": options.spec["store"]}
        return [chosen]
    if options.pbt or options.asha or options.pruner or options.searcher:
        names, verb = (choosing[0], "chooses") if len(choosing) == 1 else (" and ".join(choosing), "choose")
        rule = f"{names} {verb} a strategy, too"
        raise InputError("strategies", requested, rule, f"leave {names} out, or strategies")
    given: Sequence[Any] = [requested] if isinstance(requested, str | Mapping) else list(requested)
    return [_complete(strategy, options) for strategy in given]


def require_equal_schedules(
    strategies: Sequence[Mapping[str, Any]], options: SearchOptions, space: Space, overrides: Mapping[str, Any]
) -> None:
    """Require trainings of one length where trials are compared at rungs, unless the user accepts others.

    Args:
        strategies: as entries of a spec.
        overrides: of the spec, by dotted path.

    Raises:
        InputError: `space` has several lengths.
    """
    accepting = "compare_unequal_schedules"
    for position, strategy in enumerate(strategies):
        kind = find_strategies().get(str(strategy.get("kind")))
        accepted = overrides.get(path := f"strategies.{position}.{accepting}", strategy.get(accepting, False))
        if kind is None or accepting not in kind.model_fields or accepted or not has_unequal_schedules(space):
            continue
        if (made := made_of(strategy)) is not None and not made.decides_on_the_way:
            continue
        rule = (
            "compares trials after equal numbers of epochs, and num_train_epochs in the space gives them schedules of "
            "unequal lengths: a short one that has cooled down would meet a long one that is still hot"
        )
        if options.decided_by is None or not (options.asha or options.pruner):
            step = (
                f"take num_train_epochs out of hp_space, or accept it: {{'kind': {kind.kind!r}, {accepting!r}: True}}"
            )
            raise InputError("strategies", kind.kind, rule, step)
        step = (
            f"leave {options.decided_by} out, give an hp_space without num_train_epochs (the default of transformers "
            f"has it), or accept it: overrides={{{path!r}: True}}"
        )
        raise InputError(options.decided_by, kind.kind, rule, step)


def _complete(given: Any, options: SearchOptions) -> dict[str, Any]:
    """Returns a strategy as a spec has it, with the number of trials and decisions where this Trainer evaluates."""
    written = {"kind": given} if isinstance(given, str) else dict(given)
    kind = find_strategies().get(str(written.get("kind")))
    if kind is not None:  # else the check of the spec names the mistake
        for count in ("trials", "population"):
            if count in kind.model_fields:
                written.setdefault(count, options.trials)
        if (made := made_of(written)) is not None and not made.decides_on_the_way:
            return written
        for name, field in kind.model_fields.items():
            if name.endswith("_epochs") and isinstance(field.default, float):
                written.setdefault(name, _at_an_evaluation(field.default, options))
    return written


def made_of(written: Mapping[str, Any]) -> Strategy | None:
    """The strategy of an entry of a spec; None if it has mistakes, which the check of the spec names."""
    kind = find_strategies().get(str(written.get("kind")))
    try:
        return None if kind is None else kind.model_validate({k: v for k, v in written.items() if k != "kind"})
    except ValidationError:
        return None


def _at_an_evaluation(position: float, options: SearchOptions) -> float:
    """Returns the first evaluation at or after `position`, else the first of all; in epochs.

    An evaluation by steps need not fall on the end of an epoch, where strategies decide by default, and with
    `max_steps` the whole training counts as one epoch, after which nothing is left to decide.
    """
    every = options.report_every_epochs
    first = max(1, math.ceil((position - ROUNDING) / every)) * every
    return first if first < options.epochs - ROUNDING else every


def _by_keywords(options: SearchOptions, space: Space) -> dict[str, Any]:
    if options.pbt is not None:
        if options.asha or options.pruner or options.searcher:
            raise InputError("search_alg", options.searcher, "PBT proposes its values itself", "leave it out")
        return {"population": options.trials, **options.pbt}
    proposes = options.searcher or ("optuna" if space.conditional else "hyperopt")
    if proposes == "grid":
        if options.asha or options.pruner:
            raise InputError(
                options.decided_by or "pruner",
                "early stopping",
                "a grid is trained to its end here",
                "leave it out, or propose at random",
            )
        grid = (
            {} if options.grid is None else {"space": {name: {"choice": list(v)} for name, v in options.grid.items()}}
        )
        return {"kind": "grid", **grid}
    if proposes == "optuna" or options.pruner:
        sampler = {"sampler": "random"} if proposes == "random" else options.sampler
        asha = {} if options.asha is None else {"pruner": "asha", **options.asha}
        return {"kind": "optuna", "trials": options.trials, **sampler, **asha, **(options.pruner or {})}
    if options.asha is None:
        return {"kind": proposes, "trials": options.trials}
    return {"kind": f"{proposes}_asha", "trials": options.trials, **options.asha}


def _no_tpe(choosing: list[str], space: Space) -> InputError:
    """The error for TPE over a function with branches; it names the keyword that stands in the script."""
    name = choosing[0]
    rule = (
        "it is HyperOpt's TPE, which models the same names in each trial; which of these a trial has depends on "
        f"its values: {', '.join(space.names)}"
    )
    step = (
        f"give OptunaSearch (Optuna's TPE takes branches), leave {name} out, or ask for every name with the same range "
        "in each trial and leave unread what a branch does not need"
    )
    return InputError(name, "TPE", rule, step)
