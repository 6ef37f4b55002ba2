"""The strategies of a search: those that are asked for by name, or the one that the keywords come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trainables.errors import InputError
from tuning.space import Space
from tuning.user_trainer.wishes import Wishes


def strategies_of(asked: Any, wishes: Wishes, space: Space) -> list[dict[str, Any]]:
    """As a spec has them.

    Args:
        asked: names such as "pbt", mappings as in a spec, several of them, or None: what the keywords come to, else
            `hyperopt`, whose TPE is Optuna's default too, and for a space with branches `random`.

    Raises:
        InputError: keywords and `asked` both choose.
    """
    if asked is None:
        return [_by_keywords(wishes, space)]
    if wishes.population or wishes.stops or wishes.proposes:
        rule = "scheduler, search_alg, sampler, pruner or a sweep's method choose a strategy, too"
        raise InputError("strategies", asked, rule, "leave one of the two out")
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
