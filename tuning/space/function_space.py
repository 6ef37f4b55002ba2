"""A search space that a function of a trial declares by its suggestions; names may depend on values of others.

    def hp_space(trial):
        optim = trial.suggest_categorical("optim", ["adamw_torch", "sgd"])
        rate = trial.suggest_float("learning_rate", 1e-5, 1e-3, log=True)
        if optim == "sgd":
            return {"optim": optim, "learning_rate": 10 * rate}
        return {"optim": optim, "learning_rate": rate, "adam_beta2": trial.suggest_float("adam_beta2", 0.9, 0.999)}

Every view is a replay: draws, perturbations and the grid call the function with a trial that answers. A configuration
holds the suggestions of one call; the trainable is given what the function returned for it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import PrivateAttr

from trainables.errors import InputError
from trainables.spec import Params, Value
from trainables.tunables import CustomTunable, Tunable, find_tunable
from trainables.user_trainer.hp_space import HpSpace, call_hp_space, call_with_trial, load_hp_space, require_mapping
from trainables.user_trainer.suggesting_trial import Answer, Suggestion, replay_answers
from tuning.space.aliases import nearest_tunable
from tuning.space.dimensions import Dimension
from tuning.space.exploring import Explored, explore
from tuning.space.knowledge import Knowledge
from tuning.space.search_space import Space, longer, unknown_name_rule
from tuning.space.suggestions import dimension_of, hull

MOST_REPLAYS = 100  # to find the branch of a point that leaves out what decides it
MOST_COMBINATIONS = 10_000  # of a grid, or counted of a finite space: they are walked, a call for each


class FunctionSpace(Space):
    """The space of a function that suggests values.

    Its dimensions are all names that the function may suggest, each with all its values anywhere: a view for axes and
    tables. A configuration has some of them. Made by `FunctionSpace.of`. Can be pickled: a named one travels by name.
    """

    _source: str | HpSpace = PrivateAttr()
    _found: Explored | None = PrivateAttr(None)  # None: restored from a pickle, and not used since

    @classmethod
    def of(cls, source: str | HpSpace) -> FunctionSpace:
        """Makes the space of a function, or of one that is named as `package.module:name` or `shipped:PATH`.

        Raises:
            InputError: the function fails, returns no dictionary, or suggests something else when it gets the same
                answers.
        """
        function = load_hp_space(source) if isinstance(source, str) else source
        explored = explore(function)
        for walk in explored.walks:
            require_mapping(walk.returned, function)
        hulls = {name: dimension_of(name, hull(name, several)) for name, several in explored.suggestions.items()}
        return cls._made(hulls, source, explored)

    @classmethod
    def _made(
        cls,
        root: Mapping[str, Dimension],
        source: str | HpSpace,
        found: Explored | None = None,
        knowledge: Knowledge | None = None,
    ) -> FunctionSpace:
        made = cls(dict(root))
        made._source, made._found, made._knowledge = source, found, knowledge or Knowledge()
        return made

    def knowing(self, knowledge: Knowledge) -> FunctionSpace:
        """This space with something known of it; see `Space.knowing`."""
        return self._made(self.root, self._source, self._found, knowledge)

    def __reduce__(self) -> Any:
        """Pickles the source alone: what the function has returned may be large, and need not be picklable."""
        return type(self)._made, (dict(self.root), self._source, None, self._knowledge)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FunctionSpace) and self.__reduce__() == other.__reduce__()

    def __hash__(self) -> int:
        return hash((self._source, self.names))

    @property
    def explored(self) -> Explored:
        """The result of calling the function."""
        if self._found is None:
            self._found = explore(self.function)
        return self._found

    @property
    def function(self) -> HpSpace:
        """The function itself."""
        return load_hp_space(self._source) if isinstance(self._source, str) else self._source

    @property
    def conditional(self) -> bool:
        """True if the names of a configuration, or their values, depend on an answer."""
        return not self.explored.static

    @property
    def plain(self) -> Space | None:
        """This space without its function; None if it is conditional."""
        return None if self.conditional else Space(self.root)

    def returned(self, params: Params) -> dict[str, Any]:
        """Calls the function with the values `params`, and returns its result.

        Raises:
            InputError: `params` is no configuration of this space.
        """
        return call_hp_space(self.function, params)

    def allowing(self, tunable: Callable[[str], Tunable | None] = find_tunable) -> FunctionSpace:
        """The space for a population; see `Space.allowing`."""
        return self._made(self._held(tunable), self._source, self._found)

    def refusals(
        self,
        epochs: float | None = None,
        tunable: Callable[[str], Tunable | None] = find_tunable,
        hint: Callable[[str], str] = nearest_tunable,
    ) -> list[tuple[str, str]]:
        """Returns the rules that values from the function break; the names that it suggests are its own."""
        found: dict[str, str] = {}
        for walk in self.explored.walks:
            for name, value in walk.returned.items():
                if (rule := _refusal(name, value, epochs, tunable(name), hint)) is not None:
                    found.setdefault(name, f"the function returns {name}={value!r} for {_shown(walk.answers)}: {rule}")
        return [("", rule) for rule in found.values()]

    @property
    def size(self) -> int | None:
        """The number of configurations; None if there is no end, or a conditional space has more than are counted."""
        if not self.conditional:
            return super().size
        if any(dimension.count is None for _, dimension in self.items()):
            return None
        return sum(1 for _ in self._combinations(MOST_COMBINATIONS)) or None

    def grid(self, points: int) -> list[dict[str, Value]]:
        """Every combination, branch by branch, the first name varying slowest; `points` values of each range.

        Raises:
            InputError: there are more than can be listed.
        """
        if not self.conditional:
            return super().grid(points)
        found = list(self._walked(lambda dimension: dimension.grid(points), MOST_COMBINATIONS + 1))
        if len(found) > MOST_COMBINATIONS:
            rule = f"the grid has more than {MOST_COMBINATIONS:,} combinations"
            raise InputError("points", points, rule, "lower it, or draw at random")
        return found

    def grid_size(self, points: int) -> int:
        """The length of `grid(points)`."""
        return len(self.grid(points)) if self.conditional else super().grid_size(points)

    def answered(self, answer: Callable[[str, Dimension], Value]) -> dict[str, Value]:
        """The configuration of all that one call suggests; see `Space.answered`."""
        return self._replayed(lambda name, suggestion: answer(name, dimension_of(name, suggestion)))

    def completed(self, values: Params, rng: random.Random) -> dict[str, Value]:
        """A configuration with `values`, in a branch that suggests all of them; what they leave out is drawn.

        Raises:
            InputError: no branch was found that suggests all of them and allows their values.
        """
        for _ in range(MOST_REPLAYS):
            params = super().completed(values, rng)
            if all(name in params and params[name] == value for name, value in values.items()):
                return params
        rule = "no call of the function was found that suggests all of these, and allows their values"
        step = "add what decides the branch, or remove what it does not suggest"
        raise InputError("points", _shown(values), rule, step)

    def perturb(
        self,
        params: Params,
        rng: random.Random,
        resample_probability: float,
        factors: tuple[float, ...] = (0.8, 1.2),
    ) -> dict[str, Value]:
        """New values for a PBT member that takes over from a donor with `params`; never outside the space.

        The donor's values move as in any space. Names of a branch that the donor was not in are drawn, and names of a
        branch that is left are gone. A value that the new branch does not allow is drawn, too.
        """

        def moved(name: str, suggestion: Suggestion) -> Value:
            dimension, known = dimension_of(name, suggestion), self.root.get(name)
            if name not in params or not suggestion.holds(params[name]):
                return self._drawn(name, dimension, rng)
            if known is None or not known.mutate:
                return params[name]
            if rng.random() < resample_probability:
                return self._drawn(name, dimension, rng)
            return dimension.perturb(params[name], rng, factors)

        return self._replayed(moved)

    def contains(self, params: Params) -> bool:
        """True if one call of the function suggests exactly these names and allows their values."""
        try:
            return self._replayed(replay_answers(params)).keys() == params.keys()
        except InputError:
            return False

    def to_ray(self) -> dict[str, Any]:
        """Returns what `Space` returns; a conditional space has no such description.

        Raises:
            InputError: it is conditional.
        """
        self._require_one_set_of_names("Ray's domains")
        return super().to_ray()

    def to_hyperopt(self) -> dict[str, Any]:
        """Returns what `Space` returns; a conditional space has no such description.

        Raises:
            InputError: it is conditional.
        """
        self._require_one_set_of_names("HyperOpt's expressions")
        return super().to_hyperopt()

    def _require_one_set_of_names(self, what: str) -> None:
        if self.conditional:
            step = "draw from it with `sample`, or list it with `grid`"
            raise InputError("space", ", ".join(self.names), f"{what} cannot express what a function decides", step)

    def _replayed(self, answer: Answer) -> dict[str, Value]:
        trial, _ = call_with_trial(self.function, answer)
        now, before = _first(trial.suggestions), _first(self.explored.walks[0].suggested)
        if now != before:  # no answer comes before the first name
            rule = f"is what the function now suggests first ({now[1]}), and was {before[0]} ({before[1]})"
            step = "what a function suggests may depend on its answers alone, not on what changes outside"
            raise InputError("space", now[0], rule, step)
        return dict(trial.params)

    def _combinations(self, most: int) -> Iterator[dict[str, Value]]:
        """All configurations of a finite space; none if there are more than `most`."""
        found = list(self._walked(lambda dimension: dimension.grid(dimension.count or 1), most + 1))
        return iter(found if len(found) <= most else ())

    def _walked(self, values: Callable[[Dimension], list[Value]], most: int) -> Iterator[dict[str, Value]]:
        """The leaves of the tree of answers, at most `most`, with `values(dimension)` at each name."""
        path: list[tuple[int, int]] = []  # of each suggested name: the position of its answer, and how many there are
        known: dict[tuple[str, Suggestion], list[Value]] = {}
        for _ in range(most):
            depth = 0

            def answer(name: str, suggestion: Suggestion) -> Value:
                nonlocal depth
                if (name, suggestion) not in known:
                    known[name, suggestion] = values(dimension_of(name, suggestion))
                options = known[name, suggestion]
                if depth == len(path):
                    path.append((0, len(options)))
                position, depth = path[depth][0], depth + 1
                return options[position]

            yield self._replayed(answer)
            while path and path[-1][0] + 1 == path[-1][1]:
                path.pop()
            if not path:
                return
            path[-1] = (path[-1][0] + 1, path[-1][1])


def _first(suggested: Mapping[str, Suggestion]) -> tuple[str, Suggestion | str]:
    return next(iter(suggested.items()), ("nothing", "no values"))


def _refusal(
    name: str, value: Any, epochs: float | None, known: Tunable | None, hint: Callable[[str], str]
) -> str | None:
    """Returns why the trainable cannot be given `value`; None if it can, or checks it by itself."""
    if known is None:
        return unknown_name_rule(name, hint)
    if isinstance(known, CustomTunable):
        return None
    return known.refusal(value) or (longer(value, epochs) if name == "num_train_epochs" else None)


def _shown(answers: Params) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in answers.items())
