"""The options of a search as its keywords set them, and the keywords themselves, each as an entry of a table.

In: the keywords of scripts for Optuna, Ray and W&B. Out: `SearchOptions`, from which a spec is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, NamedTuple

from trainables.epochs import ROUNDING
from trainables.errors import InputError

SearcherKind = Literal["random", "hyperopt", "optuna", "grid"]


class NamedObjective(NamedTuple):
    """A metric that a keyword names, and which way is better."""

    metric: str
    mode: Literal["max", "min"] | None  # None: the keyword leaves it open
    by: str  # the keyword


@dataclass
class SearchOptions:
    """The options of a search; each keyword of a script sets some of them.

    Args:
        epochs, report_every_epochs: the length of a trial and the distance of its evaluations, in epochs.
        trials: the number of trials; None: until the budget is spent.
        searcher: the kind of searcher; None: no keyword chooses it.
        sampler: the keys of Optuna's sampler, as in a spec, where `searcher` is "optuna".
        asha: the keys of ASHA's rungs, as in a spec; None: ASHA stops nothing.
        pruner: the keys of a pruner of the strategy `optuna`; None: it stops nothing.
        pbt: the kind `pbt` or `pb2`, and its other keys; None: another strategy.
        decided_by: the keyword that has set `asha`, `pruner` or `pbt`.
        mutations: what PBT changes, by name, as the user's scheduler has it.
        grid: the values of a grid, by name.
        seed: of the search; None: no keyword sets it.
        objective: the metric that a keyword names; None: none does.
        several: the metrics of a list; (): there is none.
        spec: sections of the spec, by dotted path.
        written: the keyword that stands in the script for a dotted path of the spec.
        resume: continue the experiment of that name.
        resume_if_exists: continue the experiment of that name, or begin it where there is none.
        progress: show the search while it runs.
    """

    epochs: float
    report_every_epochs: float
    trials: int | None
    searcher: SearcherKind | None = None
    sampler: dict[str, Any] = field(default_factory=dict)
    asha: dict[str, Any] | None = None
    pruner: dict[str, Any] | None = None
    pbt: dict[str, Any] | None = None
    decided_by: str | None = None
    mutations: Mapping[str, Any] = field(default_factory=dict)
    grid: Mapping[str, Any] | None = None
    seed: int | None = None
    objective: NamedObjective | None = None
    several: tuple[NamedObjective, ...] = ()
    spec: dict[str, Any] = field(default_factory=dict)
    written: dict[str, str] = field(default_factory=dict)
    resume: bool = False
    resume_if_exists: bool = False
    progress: bool = True

    def epochs_of(self, count: float, time_attr: str, keyword: str) -> float:
        """Convert `count` of a scheduler's time unit into epochs.

        Raises:
            InputError: it counts seconds, or something else that depends on the machine.
        """
        if time_attr == "training_iteration":
            return count * self.report_every_epochs
        if time_attr == "epoch":
            return count
        step = "write time_attr='training_iteration' (evaluations) or 'epoch'"
        raise InputError(f"{keyword}.time_attr", time_attr, "trials are compared at equal progress", step)

    def at_evaluation(self, count: float, time_attr: str, keyword: str, name: str) -> float:
        """Convert as `epochs_of`, what has to fall on an evaluation.

        Raises:
            InputError: as there, or it falls between two evaluations.
        """
        epochs, every = self.epochs_of(count, time_attr, keyword), self.report_every_epochs
        if abs(round(epochs / every) * every - epochs) < ROUNDING:
            return epochs
        rule = f"comes at epoch {epochs:g}, and trials are evaluated every {every:g} epochs, where alone it decides"
        step = "count evaluations, time_attr='training_iteration'; or set eval_strategy=\"epoch\" (or other eval_steps)"
        raise InputError(f"{keyword}.{name}", count, rule, step)

    def name_objective(self, metric: str | None, mode: str | None, by: str) -> None:
        """Take the metric and mode of a scheduler or searcher; "objective" is the result of compute_objective."""
        if metric is not None or mode is not None:
            known: Literal["max", "min"] | None = "max" if mode == "max" else "min" if mode == "min" else None
            self.objective = NamedObjective(metric or "objective", known, by)


@dataclass(frozen=True)
class Keyword:
    """A keyword of a script: what it sets, or why it is refused and what to do instead.

    Args:
        becomes: what it sets, for the documentation.
        apply: sets it; None: the keyword is refused.
        refused, instead: the reason and the next step of the error.
    """

    name: str
    becomes: str = ""
    apply: Callable[[SearchOptions, Any], None] | None = None
    refused: str = ""
    instead: str = ""

    @property
    def description(self) -> str:
        """The entry of the keyword in the documentation's table."""
        return self.becomes if self.apply else f"refused: {self.refused}; {self.instead}"


def spec_keyword(name: str, becomes: str, path: str, convert: Callable[[Any], Any] = lambda value: value) -> Keyword:
    """A keyword whose value is written into the spec at the dotted `path`; a value that converts to None is not."""

    def write(options: SearchOptions, value: Any) -> None:
        if (converted := convert(value)) is not None:
            options.spec[path] = converted
            options.written[path] = name

    return Keyword(name, becomes, write)


def refused_keyword(name: str, refused: str, instead: str) -> Keyword:
    """A keyword that is refused, with the reason and the next step."""
    return Keyword(name, refused=refused, instead=instead)


def needless_keyword(name: str, how: str) -> Keyword:
    """A keyword that changes nothing: what it requests is so in any case."""
    return Keyword(name, how, lambda options, value: None)


def seconds(value: Any) -> float:
    """A number of seconds, also of a timedelta."""
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def class_names(value: Any) -> list[str]:
    """The names of the classes of an object, its own first."""
    return [kind.__name__ for kind in type(value).__mro__]
