"""The strategies of a search: those that are asked for by name, or the one that the keywords come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trainables.errors import InputError
from tuning.space import Space
from tuning.user_trainer.wishes import Wishes

CHOOSING = ("scheduler", "search_alg", "sampler", "pruner")  # keywords that choose a strategy, as a sweep does


def strategies_of(asked: Any, wishes: Wishes, space: Space, keywords: Mapping[str, Any]) -> list[dict[str, Any]]:
    """As a spec has them.

    Args:
        asked: names such as "pbt", mappings as in a spec, several of them, or None: what the keywords come to, else
            `hyperopt`, whose TPE is Optuna's default too, and for a space with branches `random`.
        keywords: what `wishes` were read from.

    Raises:
        InputError: keywords and `asked` both choose, or keywords choose what cannot search `space`.
    """
    choosing = [name for name in CHOOSING if keywords.get(name) is not None] or ["hp_space.method"]
    if asked is None:
        if wishes.proposes == "hyperopt" and space.conditional:
            raise _no_tpe([name for name in choosing if name not in ("scheduler", "pruner")], space)
        return [_by_keywords(wishes, space)]
    if wishes.population or wishes.stops or wishes.proposes:
        told, verb = (choosing[0], "chooses") if len(choosing) == 1 else (" and ".join(choosing), "choose")
        rule = f"{told} {verb} a strategy, too"
        raise InputError("strategies", asked, rule, f"leave {told} out, or strategies")
    given: Sequence[Any] = [asked] if isinstance(asked, str | Mapping) else list(asked)
    return [_complete(one, wishes.trials) for one in given]


def _complete(given: Any, trials: int | None) -> dict[str, Any]:
    from tuning.strategies import find_strategies

    written = {"kind": given} if isinstance(given, str) else dict(given)
    kind = find_strategies().get(str(written.get("kind")))
    if kind is not None:  # else the spec says so
        for count in ("trials", "population"):
            if count in kind.model_fields:
                written.setdefault(count, trials)
    return written


def _by_keywords(wishes: Wishes, space: Space) -> dict[str, Any]:
    if wishes.population is not None:
        if wishes.stops or wishes.proposes:
            raise InputError("search_alg", wishes.proposes, "PBT proposes its values itself", "leave it out")
        return {"kind": "pbt", "population": wishes.trials, **wishes.population}
    proposes = wishes.proposes or ("random" if space.conditional else "hyperopt")
    if proposes == "grid":
        if wishes.stops:
            raise InputError(
                "pruner", "asha", "a grid is trained to its end here", "leave it out, or propose at random"
            )
        grid = {} if wishes.grid is None else {"space": {name: {"choice": list(v)} for name, v in wishes.grid.items()}}
        return {"kind": "grid", **grid}
    if wishes.stops is None:
        return {"kind": proposes, "trials": wishes.trials}
    return {"kind": f"{proposes}_asha", "trials": wishes.trials, **wishes.stops}


def _no_tpe(choosing: list[str], space: Space) -> InputError:
    """A script for TPE whose function asks in branches: said by the keyword that stands in it."""
    name = choosing[0]
    rule = (
        "it is HyperOpt's TPE here, which models the same names in each trial; which of these a trial has depends on "
        f"its values: {', '.join(space.names)}"
    )
    step = (
        f"leave {name} out (values are drawn at random), or ask for every name with the same range in each trial and "
        "leave unread what a branch does not need"
    )
    return InputError(name, "TPE", rule, step)
