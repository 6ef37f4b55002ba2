"""The search space: one declaration, by tunable name, from which every strategy takes its view.

    learning_rate: {loguniform: [1e-5, 1e-3]}
    weight_decay: {uniform: [0, 0.3], step: 0.05}      # step: only low, low + step, ...
    warmup_steps: {int: [0, 500]}                      # both ends included
    per_device_train_batch_size: {choice: [16, 32, 64], mutate: false}
    adam_beta1: 0.9                                    # fixed

In: YAML. Out: Ray, HyperOpt and Optuna descriptions of the same set, grids, draws and the perturbations of PBT. All
values are plain Python, ints as ints.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, ConfigDict, PrivateAttr, RootModel, SerializeAsAny

from trainables.spec import Params, Value
from trainables.tunables import Tunable, find_tunable
from tuning.space.aliases import nearest_tunable
from tuning.space.dimensions import Choice, Dimension, Fixed, check_plain_value
from tuning.space.knowledge import Knowledge
from tuning.space.priors import Density
from tuning.space.ranges import IntUniform, LogInt, LogUniform, Range, Uniform

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

KINDS: dict[str, type[Dimension]] = {
    kind.key: kind for kind in (Uniform, LogUniform, IntUniform, LogInt, Choice, Fixed)
}
CALLED = re.compile(r"\s*(?:tune\.|hp\.)?(\w+)\((.*)\)\s*")  # as one writes it in Python


def parse_dimension(raw: object) -> Dimension:
    """Makes a dimension of its YAML form.

    Raises:
        ValueError: no kind, two kinds, or fields that do not fit the kind.
    """
    if isinstance(raw, Dimension):
        return raw
    if isinstance(raw, list | tuple):
        raise ValueError("is a bare list; write {choice: [...]} or a range {uniform: [low, high]}")
    if isinstance(raw, str) and (called := CALLED.fullmatch(raw)) is not None and called[1] in KINDS:
        raise ValueError(f"is a text; write {{{called[1]}: [{called[2]}]}}")
    if not isinstance(raw, Mapping):
        return Fixed(fixed=check_plain_value(raw))
    kinds = [key for key in raw if key in KINDS]
    if len(kinds) != 1:
        raise ValueError(f"must have exactly one of the keys {', '.join(KINDS)}; such as {{loguniform: [1e-5, 1e-3]}}")
    return KINDS[kinds[0]].model_validate(raw)


def unknown_name_rule(name: str, hint: Callable[[str], str] = nearest_tunable) -> str:
    """The rule that a name which is no tunable breaks, with the next step, which `hint` finds for a name."""
    return f"nothing consumes a hyperparameter {name!r}; {hint(name)}"


class Space(RootModel[dict[str, Annotated[SerializeAsAny[Dimension], BeforeValidator(parse_dimension)]]]):
    """An immutable search space: dimensions by tunable name, in the declared order."""

    model_config = ConfigDict(frozen=True)

    _knowledge: Knowledge = PrivateAttr(default_factory=Knowledge)

    @property
    def conditional(self) -> bool:
        """True if the names of a configuration depend on its values; only a `FunctionSpace` can be so."""
        return False

    def items(self) -> Iterator[tuple[str, Dimension]]:
        """Pairs of name and dimension, as declared."""
        return iter(self.root.items())

    @property
    def names(self) -> tuple[str, ...]:
        """All names, as declared."""
        return tuple(self.root)

    @property
    def fixed(self) -> dict[str, Value]:
        """The values that are not searched."""
        return {name: dimension.value for name, dimension in self.items() if isinstance(dimension, Fixed)}

    @property
    def searched(self) -> dict[str, Dimension]:
        """The dimensions that are not fixed."""
        return {name: dimension for name, dimension in self.items() if not isinstance(dimension, Fixed)}

    @property
    def size(self) -> int | None:
        """The number of configurations; None if there is no end."""
        counts = [dimension.count for _, dimension in self.items()]
        return None if None in counts else math.prod(count for count in counts if count is not None)

    @property
    def untried(self) -> int | None:
        """The number of configurations that no earlier trial had; None if there is no end."""
        size, tried = self.size, {repr(trial.params) for trial in self.knowledge.trials}
        return None if size is None else size - len(tried)

    @property
    def knowledge(self) -> Knowledge:
        """All that is known of it before a search; a strategy makes use of that."""
        known: Knowledge = getattr(self, "_knowledge", Knowledge())  # older versions pickled spaces without it
        return known

    def knowing(self, knowledge: Knowledge) -> Space:
        """This space with something known of it: points, priors and trials that fit it."""
        informed = Space(self.root)  # a copy by pydantic would share its private attributes with this one
        informed._knowledge = knowledge
        return informed

    def allowing(self, tunable: Callable[[str], Tunable | None] = find_tunable) -> Space:
        """This space for a population, with names held that cannot change in the middle of a trial.

        They are drawn once and then follow the donor, as with `mutate: false`.

        Args:
            tunable: looks a name up; `FineTuneSpec.tunable` does it for the spec's trainable.
        """
        return Space(self._held(tunable))

    def _held(self, tunable: Callable[[str], Tunable | None]) -> dict[str, Dimension]:
        def held(name: str) -> bool:
            known = tunable(name)
            return known is None or not known.in_flight

        return {name: d.model_copy(update={"mutate": False}) if held(name) else d for name, d in self.items()}

    def refusals(
        self,
        epochs: float | None = None,
        tunable: Callable[[str], Tunable | None] = find_tunable,
        hint: Callable[[str], str] = nearest_tunable,
    ) -> list[tuple[str, str]]:
        """Returns what the tunables forbid, as (path below the space, rule with the next step).

        Args:
            epochs: the full budget of one trial; with it, a longer `num_train_epochs` is refused too.
            tunable: looks a name up; `FineTuneSpec.tunable` does it for the spec's trainable.
            hint: the next step for a name that is no tunable; where a spec is read it knows the spec's keys as well.
        """
        found: list[tuple[str, str]] = []
        for name, dimension in self.items():
            known = tunable(name)
            if known is None:
                found.append((name, unknown_name_rule(name, hint)))
            else:
                found += _illegal_values(known, dimension, epochs)
        if {"warmup_steps", "warmup_ratio"} <= self.root.keys():
            found.append(("warmup_ratio", "warmup_steps stands in the space too and both set the warm-up; keep one"))
        return found

    def to_ray(self) -> dict[str, Any]:
        """`ray.tune` domains; fixed dimensions as plain values. Points and priors are not in them."""
        return {name: dimension.to_ray() for name, dimension in self.items()}

    def to_hyperopt(self) -> dict[str, Any]:
        """HyperOpt expressions, without the fixed dimensions; `from_hyperopt` makes params of what they yield."""
        return {
            name: (self._density(name, dimension) or dimension).to_hyperopt(name)
            for name, dimension in self.searched.items()
        }

    def from_hyperopt(self, raw: Mapping[str, Any]) -> dict[str, Value]:
        """Turns one evaluation of `to_hyperopt()` into legal params; the fixed dimensions are added."""

        def value(name: str, dimension: Dimension) -> Value:
            if isinstance(dimension, Fixed):
                return dimension.value
            density = self._density(name, dimension)
            return dimension.cast(raw[name]) if density is None else density.from_hyperopt(raw[name])

        return {name: value(name, dimension) for name, dimension in self.items()}

    def drawn_by_hyperopt(self, params: Params) -> dict[str, Any]:
        """The searched values of a configuration as HyperOpt's expressions draw them: of a choice the index."""

        def drawn(name: str, dimension: Dimension) -> Any:
            if (density := self._density(name, dimension)) is not None:
                return density.drawn_as(params[name])
            return dimension.index(params[name]) if isinstance(dimension, Choice) else params[name]

        return {name: drawn(name, dimension) for name, dimension in self.searched.items()}

    def _density(self, name: str, dimension: Dimension) -> Density | None:
        """The density around a guess; None if nothing is guessed of `name`."""
        prior = self.knowledge.priors.get(name)
        return None if prior is None else prior.over(dimension)

    def _drawn(self, name: str, dimension: Dimension, rng: random.Random) -> Value:
        """One value of a dimension at random, from its prior if there is one."""
        return (self._density(name, dimension) or dimension).draw(rng)

    def to_optuna(self) -> dict[str, BaseDistribution]:
        """Optuna distributions of the same sets, without the fixed dimensions.

        Optuna has no logarithmic lattice: a logarithmic range with a step keeps its values and becomes linear.
        """
        return {name: dimension.to_optuna() for name, dimension in self.searched.items()}

    def grid(self, points: int) -> list[dict[str, Value]]:
        """Every combination, the first declared name varying slowest; `points` values of each range."""
        values = (dimension.grid(points) for _, dimension in self.items())
        return [dict(zip(self.names, combination, strict=True)) for combination in itertools.product(*values)]

    def grid_size(self, points: int) -> int:
        """The length of `grid(points)`."""
        return math.prod(len(dimension.grid(points)) for _, dimension in self.items())

    def answered(self, answer: Callable[[str, Dimension], Value]) -> dict[str, Value]:
        """The configuration in which `answer(name, dimension)` gives each value, in the space's order.

        Args:
            answer: returns a value of the dimension; in a conditional space that decides which is asked for next.
        """
        return {name: answer(name, dimension) for name, dimension in self.items()}

    def sample(self, rng: random.Random) -> dict[str, Value]:
        """One draw of all dimensions, from their priors where there are such."""
        return self.answered(lambda name, dimension: self._drawn(name, dimension, rng))

    def completed(self, values: Params, rng: random.Random) -> dict[str, Value]:
        """A configuration with `values`; those that they leave out, or that are none of its branch, are drawn."""

        def answer(name: str, dimension: Dimension) -> Value:
            if name in values and dimension.contains(values[name]):
                return dimension.canonical(values[name])
            return self._drawn(name, dimension, rng)

        return self.answered(answer)

    def perturb(
        self,
        params: Params,
        rng: random.Random,
        resample_probability: float,
        factors: tuple[float, ...] = (0.8, 1.2),
    ) -> dict[str, Value]:
        """New values for a PBT member that takes over from a donor with `params`; never outside the space.

        Each mutable dimension is drawn anew with `resample_probability`, else moved nearby (`Range.perturb`,
        `Choice.perturb`). Fixed values and those with `mutate: false` stay the donor's.
        """

        def moved(name: str, dimension: Dimension) -> Value:
            if not dimension.mutate or isinstance(dimension, Fixed):
                return params[name]
            if rng.random() < resample_probability:
                return self._drawn(name, dimension, rng)
            return dimension.perturb(params[name], rng, factors)

        return {name: moved(name, dimension) for name, dimension in self.items()}

    def contains(self, params: Params) -> bool:
        """True if `params` names exactly these dimensions, each with one of its values."""
        return params.keys() == self.root.keys() and all(d.contains(params[name]) for name, d in self.items())


def _illegal_values(tunable: Tunable, dimension: Dimension, epochs: float | None) -> list[tuple[str, str]]:
    name = tunable.name
    if isinstance(dimension, Range) and tunable.kind in ("choice", "bool"):
        known = f" of {', '.join(tunable.choices)}" if tunable.choices else ""
        return [(f"{name}.{dimension.key}", f"{name} has no order; write {{choice: [...]}}{known}")]
    if isinstance(dimension, Range) and tunable.kind == "int" and not dimension.whole:
        whole = "logint" if dimension.log else "int"
        return [(f"{name}.{dimension.key}", f"{name} is a whole number ({tunable.unit}); write {whole}: [low, high]")]
    too_long = epochs if name == "num_train_epochs" else None
    return [
        (f"{name}.{path}".rstrip("."), f"{value!r}: {name} {rule}")
        for path, value in dimension.stated()
        if (rule := tunable.refusal(value) or longer(value, too_long)) is not None
    ]


def longer(value: Value, epochs: float | None) -> str | None:
    """Returns why `value` is too long for `num_train_epochs`, or None; `epochs` is the full budget of a trial."""
    if epochs is None or not isinstance(value, int | float) or value <= epochs:
        return None
    return f"must be at most the trial's full budget, epochs: {epochs:g}; raise epochs or lower it"
