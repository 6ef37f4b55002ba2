"""Explores a function of a trial by calling it: which names and values it suggests, and whether they depend on answers.

Every choice of every name is tried, every whole number of a short range, and the ends and the middle of the others,
each beside the answers that led to the name; then some draws at random. A function whose branch depends on more than
that (`if lr > 0.00099`) may seem to have none: the trial that comes there fails with the name (`suggesting.replaying`).
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from trainables.errors import InputError
from trainables.spec import Params, Value
from trainables.user_trainer.hp_space import HpSpace, call_with_trial
from trainables.user_trainer.suggesting_trial import PLAIN, Answer, Suggestion
from tuning.space.suggestions import dimension_of

MOST_PROBES, RANDOM_PROBES = 300, 40  # calls of the function
SHORT = 9  # whole numbers of a range that are all tried


class Walk(NamedTuple):
    """One call of the function: its suggestions, the answers that it got, and what it returned."""

    suggested: Mapping[str, Suggestion]
    answers: Params
    returned: Any


class Explored(NamedTuple):
    """The result of all calls of a function."""

    walks: list[Walk]

    @property
    def suggestions(self) -> dict[str, list[Suggestion]]:
        """The different suggestions of each name, in the order of discovery."""
        found: dict[str, list[Suggestion]] = {}
        for walk in self.walks:
            for name, suggestion in walk.suggested.items():
                if suggestion not in found.setdefault(name, []):
                    found[name].append(suggestion)
        return found

    @property
    def static(self) -> bool:
        """True if every call has suggested the same names with the same values."""
        return all(walk.suggested == self.walks[0].suggested for walk in self.walks)


def explore(function: HpSpace) -> Explored:
    """Calls `function` with the answers above.

    Raises:
        InputError: it fails, or suggests something else when it gets the same answers again.
    """
    first = [_twice(function, _at(end)) for end in (0, -1)]
    waiting = deque(first)
    walks, tried = list(first), set[tuple[str, str]]()
    while waiting and len(walks) < MOST_PROBES:
        walk = waiting.popleft()
        for name, suggestion in walk.suggested.items():
            for value in probes(suggestion):
                if (name, repr(value)) in tried or len(walks) >= MOST_PROBES:
                    continue
                tried.add((name, repr(value)))
                if walk.answers[name] == value:
                    continue
                walks.append(_walk(function, _like({**walk.answers, name: value}, _at(0))))
                waiting.append(walks[-1])
    rng = random.Random(0)
    walks += (_twice(function, _drawn(rng)) for _ in range(RANDOM_PROBES))
    return Explored(walks)


def probes(suggestion: Suggestion) -> list[Value]:
    """The values of a suggestion that are tried as answers."""
    if suggestion.kind == "categorical":
        return list(suggestion.choices)
    dimension = dimension_of("", suggestion)
    short = dimension.count is not None and dimension.count <= SHORT
    return dimension.grid(SHORT if short else 3)


def _at(position: int) -> Answer:
    return lambda name, suggestion: probes(suggestion)[position]


def _drawn(rng: random.Random) -> Answer:
    return lambda name, suggestion: dimension_of(name, suggestion).draw(rng)


def _like(answers: Params, otherwise: Answer) -> Answer:
    """Answers as in an earlier call, where that is legal."""

    def answer(name: str, suggestion: Suggestion) -> Value:
        if name in answers and suggestion.holds(answers[name]):
            return answers[name]
        return otherwise(name, suggestion)

    return answer


def _walk(function: HpSpace, answer: Answer) -> Walk:
    trial, returned = call_with_trial(function, answer)
    return Walk(dict(trial.suggestions), dict(trial.params), returned)


def _twice(function: HpSpace, answer: Answer) -> Walk:
    """Repeats a call with the same answers, which has to give the same."""
    walk = _walk(function, answer)
    again = _walk(function, _like(walk.answers, _at(0)))
    for name in dict.fromkeys((*walk.suggested, *again.suggested)):
        before, after = walk.suggested.get(name), again.suggested.get(name)
        if before != after:
            rule = (
                f"was suggested as {before or 'nothing'}, and as {after or 'nothing'} when the function was called "
                f"again with the same answers"
            )
            step = "what it suggests may depend on its answers alone: no counters, no random numbers of its own"
            raise InputError("space", name, rule, step)
    for name, value in _plain_in(walk.returned).items():
        if (other := _plain_in(again.returned).get(name, value)) != value and value == value:
            shown = ", ".join(f"{asked_for}={answer!r}" for asked_for, answer in walk.answers.items())
            rule = f"is returned as {value!r} and as {other!r} for the same answers ({shown})"
            step = "what it returns may depend on its answers alone: suggest what is random by trial.suggest_*"
            raise InputError("space", name, rule, step)
    return walk


def _plain_in(returned: Any) -> Mapping[str, Value]:
    """The numbers, texts and the like in what a function returned; objects need not be equal."""
    if not isinstance(returned, Mapping):
        return {}
    return {name: value for name, value in returned.items() if value is None or isinstance(value, PLAIN)}
