"""Mistakes in the spec of a search, under the names of the arguments and keywords that stand in the script."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tuning.spec.mistakes import SpecError
from tuning.user_trainer.search_options import SearchOptions

COUNTS = ("trials", "population")  # of a strategy; from n_trials where it has none of its own


def in_keywords(
    error: SpecError, options: SearchOptions, requested: Any, strategies: int, overrides: Mapping[str, Any]
) -> SpecError:
    """Returns the mistakes of `error`, with the keywords that the user wrote in place of paths and keys of a spec.

    Args:
        requested: the argument `strategies`; a key that stands in it keeps its path.
        strategies: the number of strategies in the spec.
        overrides: of the spec, by dotted path; these paths the user wrote.
    """
    written = {path: keyword for path, keyword in options.written.items() if path not in overrides}
    several = isinstance(requested, Sequence) and not isinstance(requested, str)
    for position in range(strategies):
        given = requested[position] if several else requested
        for count in COUNTS:
            path = f"strategies.{position}.{count}"
            if path not in overrides and not (isinstance(given, Mapping) and count in given):
                written[path] = options.written.get("trials", "n_trials")
    mistakes = (
        replace(
            mistake,
            path=_keyword(mistake.path, written),
            rule=_in_words_of(mistake.rule, written),
            next_step=_in_words_of(mistake.next_step, written),
        )
        for mistake in error.mistakes
    )
    return SpecError(mistakes, "the arguments of the search")


def _keyword(path: str, written: Mapping[str, str]) -> str:
    for known, keyword in written.items():
        if path == known or path.startswith(f"{known}."):
            return keyword + path.removeprefix(known)
    return path


def _in_words_of(text: str, written: Mapping[str, str]) -> str:
    """A rule or a step with keywords for the keys that they have set; of plain words only for `key=`."""
    keywords = {**{path.rpartition(".")[2]: keyword for path, keyword in written.items()}, **written}

    def word(found: re.Match[str]) -> str:
        key, equals = found[0].removesuffix("="), found[0].endswith("=")
        meant = keywords.get(key) if equals or not key.isalpha() else None
        return found[0] if meant is None else f"{meant}{'=' * equals}"

    return re.sub(r"[\w.]*\w=?", word, text)
