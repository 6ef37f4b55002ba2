"""The keywords of `hyperparameter_search` that scripts for Optuna, Ray and W&B pass: what each becomes, or why not.

`TABLE` is data: the documentation and the tests read it. A keyword that stands in none of its lists is an error with
the nearest name; so is one of another backend than the script names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainables.errors import InputError, nearest
from tuning.argument_checks import shortened
from tuning.user_trainer.optuna_keywords import OPTUNA, STORAGE
from tuning.user_trainer.ray_keywords import RAY
from tuning.user_trainer.search_options import Keyword, SearchOptions, spec_keyword
from tuning.user_trainer.wandb_keywords import WANDB

OURS = (STORAGE, spec_keyword("name", "`name`, of the experiment and its run folder", "name"))  # with any backend
TABLE: Mapping[str, tuple[Keyword, ...]] = {"optuna": OPTUNA, "ray": RAY, "wandb": WANDB}


def read_keywords(
    keywords: Mapping[str, Any], backend: str | None, options: SearchOptions, own: tuple[str, ...] = ()
) -> None:
    """Set `options` from the keywords; one that is None was not given.

    Args:
        backend: whose they are; None: of any of the three, in the order of `TABLE`.
        own: names that `hyperparameter_search` has besides, for the nearest name.

    Raises:
        InputError: one is unknown, of another backend, or refused: with the reason and what to do instead.
    """
    known: dict[str, Keyword] = {}
    for keyword in (*OURS, *(entry for name in ([backend] if backend else TABLE) for entry in TABLE[name])):
        known.setdefault(keyword.name, keyword)
    for name, value in keywords.items():
        if name not in known:
            taken = [keyword.name for keyword in known.values() if keyword.apply is not None]
            raise _unknown(name, value, backend, [*taken, *own])
        if value is None:
            continue
        keyword = known[name]
        if keyword.apply is None:
            raise InputError(name, shortened(value), keyword.refused, keyword.instead)
        keyword.apply(options, value)


def _unknown(name: str, value: Any, backend: str | None, known: list[str]) -> InputError:
    others = [other for other, keywords in TABLE.items() if name in {keyword.name for keyword in keywords}]
    if others:
        rule, step = f"is a keyword of backend={others[0]!r}, and this search names {backend!r}", "name one of the two"
        return InputError(name, shortened(value), rule, step)
    return InputError(name, shortened(value), "hyperparameter_search has no such keyword", nearest(name, known))


def as_markdown() -> str:
    """The tables of all backends, for the documentation."""
    lines = []
    for backend, keywords in TABLE.items():
        lines += [f'| `backend="{backend}"` | becomes |', "|---|---|"]
        lines += [f"| `{keyword.name}` | {keyword.description} |" for keyword in keywords]
        lines.append("")
    return "\n".join(lines)
