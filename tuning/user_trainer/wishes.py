"""What the keywords of a search ask for, before it becomes a spec."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, NamedTuple

from trainables.errors import InputError

Proposes = Literal["random", "hyperopt", "grid"]


class NamedObjective(NamedTuple):
    """A metric that a keyword names, and the way that is better."""

    metric: str
    mode: Literal["max", "min"] | None  # None: not said
    by: str  # the keyword


@dataclass
class Wishes:
    """Entered keyword by keyword.

    Args:
        epochs, report_every_epochs: of a trial, as its arguments say.
        trials: how many; None: until the budget is spent.
        proposes: which searcher; None: not said.
    """

    epochs: float
    report_every_epochs: float
    trials: int | None
    proposes: Proposes | None = None
    stops: dict[str, Any] | None = None  # the keys of ASHA's rungs
    population: dict[str, Any] | None = None  # the keys of pbt
    mutations: Mapping[str, Any] = field(
        default_factory=dict
    )  # what PBT changes, by name, as the user's scheduler has it
    grid: Mapping[str, Any] | None = None  # the values of a grid, by name
    seed: int | None = None
    objective: NamedObjective | None = None
    spec: dict[str, Any] = field(default_factory=dict)  # sections of the spec, by dotted path
    resume: bool = False
    go_on: bool = False  # resume where there is an experiment of that name, begin where there is none
    progress: bool = True

    def epochs_of(self, count: float, time_attr: str, keyword: str) -> float:
        """`count` of a scheduler's time unit in epochs.

        Raises:
            InputError: it counts seconds, or something else that depends on the machine.
        """
        if time_attr == "training_iteration":
            return count * self.report_every_epochs
        if time_attr == "epoch":
            return count
        step = "write time_attr='training_iteration' (evaluations) or 'epoch'"
        raise InputError(f"{keyword}.time_attr", time_attr, "trials are compared at equal progress", step)

    def name_objective(self, metric: str | None, mode: str | None, by: str) -> None:
        """A metric that a scheduler or searcher was given; "objective" is what compute_objective gives."""
        if metric is not None or mode is not None:
            known: Literal["max", "min"] | None = "max" if mode == "max" else "min" if mode == "min" else None
            self.objective = NamedObjective(metric or "objective", known, by)


@dataclass(frozen=True)
class Keyword:
    """One keyword: what it becomes, or why it is refused and what to do instead."""

    name: str
    becomes: str = ""
    apply: Callable[[Wishes, Any], None] | None = None  # None: refused
    refused: str = ""
    instead: str = ""

    @property
    def told(self) -> str:
        """One line of the table."""
        return self.becomes if self.apply else f"refused: {self.refused}; {self.instead}"


def into(path: str, convert: Callable[[Any], Any] = lambda value: value) -> Callable[[Wishes, Any], None]:
    """Enters a keyword's value at that path of the spec."""

    def enter(wishes: Wishes, value: Any) -> None:
        if (converted := convert(value)) is not None:
            wishes.spec[path] = converted

    return enter


def unneeded(wishes: Wishes, value: Any) -> None:
    """For a keyword whose purpose is met without it."""


def seconds(value: Any) -> float:
    """A number of seconds, also of a timedelta."""
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def named(name: str, becomes: str, path: str, convert: Callable[[Any], Any] = lambda value: value) -> Keyword:
    """A keyword that goes into the spec at `path`."""
    return Keyword(name, becomes, into(path, convert))


def no(name: str, refused: str, instead: str) -> Keyword:
    """A keyword that is refused."""
    return Keyword(name, refused=refused, instead=instead)


def met(name: str, how: str) -> Keyword:
    """A keyword that may be left out: what it asks for is so in any case."""
    return Keyword(name, how, unneeded)


def kinds_of(value: Any) -> list[str]:
    """The names of the classes of an object, the nearest first."""
    return [kind.__name__ for kind in type(value).__mro__]
