"""Reads what a spec says of its space before a search: `points`, `priors` and `start_from`.

In: the fields of the spec and a strategy's space. Out: a `Knowledge` with what fits that space.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field, PlainValidator

from trainables.spec import DataSpec, Frozen, Value
from tuning.outcome.attributes import EARLIER_BEST, GIVEN_POINT, RECIPE
from tuning.space import EarlierTrial, Knowledge, KnownPoint, Prior, Space
from tuning.space.dimensions import check_plain_value
from tuning.spec.recipes import RECIPES, fitting_recipes

BEST_FIRST = 3  # configurations of earlier experiments that a strategy without a model begins with


def _listed(raw: object) -> object:
    """A single entry as a list of one: `points: recipes`, `start_from: NAME`."""
    return [raw] if isinstance(raw, str | Mapping) else raw


def _point(raw: object) -> Literal["recipes"] | dict[str, Value]:
    """Checks one entry of `points`.

    Raises:
        ValueError: it is neither `recipes` nor a mapping of names to single values.
    """
    if raw == RECIPES:
        return "recipes"
    if not isinstance(raw, Mapping) or not raw:
        raise ValueError("must be `recipes`, or a mapping of names to values such as {learning_rate: 2e-5}")
    values: dict[str, Value] = {}
    for name, value in raw.items():
        try:
            values[str(name)] = check_plain_value(value)
        except ValueError as error:
            raise ValueError(f"{name} {error}") from error
    return values


GivenPoint: TypeAlias = Literal["recipes"] | dict[str, Value]
Points = Annotated[tuple[Annotated[GivenPoint, PlainValidator(_point)], ...], BeforeValidator(_listed)]
Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class EarlierExperiment(Frozen):
    """The trials of an experiment that another one starts from, as they were when that began."""

    experiment: str = Field(description="its name")
    fingerprints: tuple[str, ...] = Field((), description="of its rows and labels, if they are known")
    trials: tuple[EarlierTrial, ...]


def knowledge_of(
    space: Space,
    *,
    points: Sequence[GivenPoint],
    priors: Mapping[str, Prior],
    earlier: Sequence[EarlierExperiment],
    task: str | None,
    data: DataSpec,
    mode: Literal["max", "min"],
    learns: bool,
) -> Knowledge:
    """Returns what is known of a strategy's space.

    Args:
        space: that the strategy searches.
        points, priors, earlier: of the spec.
        task, data: of the spec; they decide which recipes are meant.
        mode: of the objective; it decides which earlier trials are the best.
        learns: the strategy has a model, which is told the earlier trials; one without tries the best of them first.
    """
    trials = tuple(trials_in(space, earlier))
    tried = [*_given(points, task, data, space), *(() if learns else _best(trials, mode))]
    distinct = {repr(sorted(point.values.items())): point for point in reversed(tried)}
    return Knowledge(
        points=tuple(point for point in tried if distinct[repr(sorted(point.values.items()))] is point),
        priors={name: prior for name, prior in priors.items() if name in space.names},
        trials=trials if learns else (),
    )


def trials_in(space: Space, earlier: Sequence[EarlierExperiment]) -> Iterator[EarlierTrial]:
    """Yields the earlier trials whose values are a configuration of `space`, each as the space has them.

    The same values with the same score are one training: strategies with one seed share their first trials.
    """
    seen = set[str]()
    for experiment in earlier:
        for trial in experiment.trials:
            if not space.contains(trial.params):
                continue
            params = {
                name: space.root[name].canonical(trial.params[name]) for name in space.names if name in trial.params
            }
            if (shown := repr((params, trial.score))) not in seen:
                seen.add(shown)
                yield EarlierTrial(params=params, score=trial.score)


def _given(points: Sequence[GivenPoint], task: str | None, data: DataSpec, space: Space) -> Iterator[KnownPoint]:
    for point in points:
        if isinstance(point, str):
            for recipe, values in fitting_recipes(task, data, space):
                yield KnownPoint(values, f"{RECIPE} {recipe.name}")
        else:
            yield KnownPoint(point, GIVEN_POINT)


def _best(trials: Sequence[EarlierTrial], mode: Literal["max", "min"]) -> list[KnownPoint]:
    """The best earlier configurations, the first if tied."""
    sign = -1 if mode == "max" else 1
    scored = sorted((sign * trial.score, number) for number, trial in enumerate(trials) if trial.score is not None)
    best = {repr(trials[number].params): trials[number] for _, number in scored}
    return [KnownPoint(trial.params, EARLIER_BEST) for trial in list(best.values())[:BEST_FIRST]]
