"""Checks what one already knows: points to try first and priors fit the space, and some strategy makes use of them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

from trainables.errors import InputError, nearest
from trainables.spec import Value
from tuning.outcome.attributes import EARLIER_BEST
from tuning.space import FunctionSpace, Space
from tuning.space.aliases import meant_tunable
from tuning.space.dimensions import Dimension
from tuning.space.knowledge import KNOWLEDGE
from tuning.space.suggestions import dimension_of
from tuning.spec.mistakes import Mistake, join_path
from tuning.spec.models import ExperimentSpec
from tuning.spec.recipes import fitting_recipes
from tuning.spec.shown_values import bare_form
from tuning.spec.validation.draft import Draft
from tuning.strategies import Strategy

USING = "random, random_asha, hyperopt, hyperopt_asha or pbt"


def check_use(draft: Draft) -> Iterator[Mistake]:
    """Finds strategies that cannot use what is known, and knowledge that none uses."""
    spec, what = draft.spec, [name for name in KNOWLEDGE if getattr(draft.spec, name)]
    if not what:
        return
    if spec.start_from and spec.objectives:
        rule = "earlier trials are known by one score, and this experiment has several objectives"
        yield Mistake("start_from", rule, next_step="give its good configurations as points")
    for path, strategy in draft.strategies():
        unread = [name for name in what if name not in strategy.uses]
        if spec.informs(strategy) and unread:
            rule = f"{strategy.name} cannot use {' and '.join(unread)}"
            step = "write informed: false, and it searches without knowing anything"
            yield Mistake(join_path(path, "informed"), rule, True, step)
    if not _users(draft.spec):
        yield Mistake(what[0], "no strategy makes use of it", next_step=f"add one that does, such as {USING}")


def check_points(draft: Draft) -> Iterator[Mistake]:
    """Finds points that no trial can have, and more points than trials."""
    spec, users = draft.spec, _users(draft.spec)
    for number, point in enumerate(spec.points):
        path = join_path("points", number)
        if isinstance(point, str):
            yield from _recipes(spec, path)
        else:
            found = (mistake for one in users for mistake in _point(spec, one, path, point))
            yield from {(mistake.path, mistake.rule): mistake for mistake in found}.values()
    yield from _repeated(spec)
    for strategy in users:
        space = spec.space_of(strategy)
        points = sum(point.origin != EARLIER_BEST for point in space.knowledge.points)
        planned = strategy.planned_trials(space)
        if planned is not None and points > planned:
            rule = f"are {points}, and {strategy.name} has {planned} trials: some would never be tried"
            yield Mistake("points", rule, next_step="raise its trials or its population, or name fewer points")


def _users(spec: ExperimentSpec) -> list[Strategy]:
    """The strategies that make use of what is known."""
    return [strategy for strategy in spec.strategies if spec.informs(strategy) and strategy.uses]


def _recipes(spec: ExperimentSpec, path: str) -> Iterator[Mistake]:
    if spec.task is None:
        rule = "are of the built-in tasks, and what yours is good with is not known here"
        yield Mistake(path, rule, "recipes", "write configurations such as {learning_rate: 2e-5}")
    elif not any(True for one in _users(spec) for _ in fitting_recipes(spec.task, spec.data, spec.space_of(one))):
        rule = "none of this kind of task has values of the space alone"
        yield Mistake(path, rule, "recipes", "widen the space, or write configurations such as {learning_rate: 2e-5}")


def _point(spec: ExperimentSpec, strategy: Strategy, path: str, point: Mapping[str, Value]) -> Iterator[Mistake]:
    """Finds what a point has and the strategy's space has not."""
    space = spec.space_of(strategy)
    wrong = False
    for name, value in point.items():
        if (rule := _why_outside(spec, strategy, space, name, value)) is not None:
            wrong = True
            yield Mistake(join_path(path, name), rule[0], value, rule[1])
    if not wrong and isinstance(space, FunctionSpace):
        try:
            space.completed(point, random.Random(0))
        except InputError as error:
            yield Mistake(path, error.rule, error.value, error.next_step)


def _why_outside(
    spec: ExperimentSpec, strategy: Strategy, space: Space, name: str, value: Value
) -> tuple[str, str] | None:
    """Returns the rule that a value of a point breaks, and the next step; None if the space has it."""
    searched = "" if strategy.space is None else f" (of {strategy.name})"
    if (dimension := space.root.get(name)) is None:
        if name in spec.fixed:
            return "stands under fixed, so every trial has that value", "remove it from the point"
        meant = meant_tunable(name)
        step = f"did you mean {meant}?" if meant in space.names else nearest(name, space.names)
        return f"no name of the space{searched}", step
    if dimension.contains(value):
        return None
    return f"no value of {_declared(dimension)}{searched}", "name one of these, or widen the space"


def _declared(dimension: Dimension) -> str:
    """A dimension as its user has written it."""
    return bare_form(dimension.model_dump(mode="json", exclude_defaults=True))


def _repeated(spec: ExperimentSpec) -> Iterator[Mistake]:
    """Finds a point that stands twice."""
    shown = [None if isinstance(point, str) else repr(sorted(point.items())) for point in spec.points]
    for number, one in enumerate(shown):
        if one is not None and one in shown[:number]:
            rule = f"is points.{shown.index(one)} again, and nothing is tried twice"
            yield Mistake(join_path("points", number), rule, next_step="remove it")


def check_priors(draft: Draft) -> Iterator[Mistake]:
    """Finds priors of names that are not searched, and those that are no density over their dimension."""
    spec = draft.spec
    spaces = [spec.space_of(strategy) for strategy in _users(spec)]
    names = dict.fromkeys(name for space in spaces for name in space.names)
    for name, prior in spec.priors.items():
        path = join_path("priors", name)
        dimensions = [dimension for space in spaces for dimension in _dimensions(space, name)]
        if spaces and not dimensions:
            yield Mistake(path, "no name of the space", next_step=nearest(name, names))
        rules = dict.fromkeys(rule for one in dimensions if (rule := prior.refusal(one)) is not None)
        yield from (Mistake(path, rule) for rule in rules)


def _dimensions(space: Space, name: str) -> list[Dimension]:
    """The dimension of a name; of a function's space one for each way in which it is suggested."""
    if isinstance(space, FunctionSpace):
        return [dimension_of(name, suggestion) for suggestion in space.explored.suggestions.get(name, ())]
    return [space.root[name]] if name in space.names else []
