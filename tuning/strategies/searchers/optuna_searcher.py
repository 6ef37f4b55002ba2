"""Optuna's samplers as a searcher for Tune, by ask and tell. Imports Optuna: strategies import it inside `plan`."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, QMCSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial
from ray import cloudpickle
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from trainables.spec import Goal, Params, Value
from tuning.space import Draws, Space
from tuning.space.dimensions import Dimension, Fixed
from tuning.strategies.schedulers.optuna_study import AmendableStorage, step_of, study_in_memory
from tuning.strategies.searchers.samplers import OptunaSampler

STATE = ("_study", "_storage", "_first", "_draws", "_proposed", "_numbers")  # all that decides the next proposal
LEARNS_FROM_ENDED = ("gp", "nsga2", "cmaes")  # samplers that leave pruned trials out of their model


class OptunaSearcher(Searcher):  # type: ignore[misc]
    """One of Optuna's samplers over a study in memory, which knows the trials that still run.

    The first proposals are those of `Draws`. Trials of earlier experiments that the space knows are told before these,
    as complete ones. In a finite space nothing is proposed twice: where the sampler would
    repeat itself, the next draw that is new takes its place.

    TPE is told a trial that was stopped early as pruned, with its last score: it ranks it behind every complete one,
    by its epoch and then its score. A Gaussian process, NSGA-II and CMA-ES would not learn from it, so they are told
    its last score as that of a complete trial. A trial that failed is worse than any score.

    Of several objectives every trial is told with its last values, and with how far it is beyond each constraint. One
    that failed has no place among them, and is left out.

    The saved state is the study, the sampler with its random state, and the scheduler, as in `RandomSearcher`.
    """

    def __init__(self, space: Space, goal: Goal, settings: OptunaSampler, seed: int, scheduler: TrialScheduler) -> None:
        super().__init__()
        self._space, self._goal, self._scheduler = space, goal, scheduler
        self._several = len(goal.objectives) > 1
        self._prunes = settings.name not in LEARNS_FROM_ENDED and not self._several
        self._bred = settings.name == "nsga2"  # its first generation are trials that it was asked for
        self._storage = AmendableStorage()
        modes = [one.mode for one in goal.objectives]
        with _quiet():
            self._study = study_in_memory(modes, make_sampler(settings, space, seed), storage=self._storage)
        self._first = list(itertools.islice(Draws(space, seed), settings.first_of(space)))
        self._draws, self._proposed = Draws(space, seed), set[str]()  # read and filled in a finite space alone
        self._numbers: dict[str, int] = {}  # Optuna's, of each trial by Tune's id
        for trial in space.knowledge.trials:
            number, _ = self._begin(trial.params)
            self._learn(number, trial.score)
            self._proposed.add(repr(trial.params))

    def suggest(self, trial_id: str) -> dict[str, Value] | str:
        """Legal params, the fixed ones included; FINISHED when a finite space is used up."""
        if len(self._proposed) == self._space.size:
            return str(Searcher.FINISHED)
        first = bool(self._first)
        number, params = self._begin(self._first.pop(0)) if first else self._ask()
        if not first and self._space.size is not None and repr(params) in self._proposed:
            self._end(number, TrialState.FAIL)  # samplers ignore those
            number, params = self._begin(next(new for new in self._draws if repr(new) not in self._proposed))
        if self._space.size is not None:
            self._proposed.add(repr(params))
        self._numbers[trial_id] = number
        return params

    def _ask(self) -> tuple[int, dict[str, Value]]:
        """Asks the sampler for a trial; returns its number and its params."""
        with _quiet():
            trial = self._study.ask()

            def answer(name: str, dimension: Dimension) -> Value:
                if isinstance(dimension, Fixed):
                    return dimension.value
                return dimension.cast(suggested(trial, name, dimension.to_optuna()))

            return trial.number, self._space.answered(answer)

    def _begin(self, params: Params) -> tuple[int, dict[str, Value]]:
        """Begins a trial of these params; returns its number and them."""
        distributions = distributions_of(self._space, params)
        searched = {name: params[name] for name in distributions}
        if self._bred:
            self._study.enqueue_trial(searched)
            return self._ask()
        self._study.add_trial(create_trial(state=TrialState.RUNNING, params=searched, distributions=distributions))
        return len(self._study.get_trials(deepcopy=False)) - 1, dict(params)

    def observe(self, params: Params, score: float) -> None:
        """Let the sampler know a trial that somebody else has run; called before the first proposal."""
        number, _ = self._begin(params)
        self._end(number, TrialState.COMPLETE, [score])

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """Called by Tune when a trial has ended; one that has failed may run again, and end again."""
        if (number := self._numbers.get(trial_id)) is None:
            return
        values = [] if result is None or error else self._values(result)
        if result is None and not error:
            self._end(number, TrialState.FAIL)  # it never had a score: nothing to learn from
        elif values and result is not None and all(map(math.isfinite, values)):
            pruned = self._prunes and not result.get("finished", True)
            self._constrain(number, result)
            epoch = float(result.get("epoch", 0.0))
            self._end(number, TrialState.PRUNED if pruned else TrialState.COMPLETE, values, epoch)
        elif self._several:
            self._end(number, TrialState.FAIL)
        else:
            self._learn(number, None)

    def _learn(self, number: int, score: float | None) -> None:
        """Ends a trial with its score; None: it has failed, and is worse than any."""
        if score is not None:
            self._end(number, TrialState.COMPLETE, [score])
        elif self._prunes:
            self._end(number, TrialState.PRUNED)  # without a score it is the last of the pruned ones
        else:
            worst = -math.inf if self._goal.objectives[0].mode == "max" else math.inf
            self._end(number, TrialState.COMPLETE, [worst])

    def _values(self, result: Mapping[str, Any]) -> list[float]:
        return [float(result.get(f"metrics/{one.metric}", math.nan)) for one in self._goal.objectives]

    def _constrain(self, number: int, result: Mapping[str, Any]) -> None:
        """Tells the trial's constraints as `optuna.Trial.set_constraint` does: above 0 one is broken."""
        trial = self._study.get_trials(deepcopy=False)[number]._trial_id
        for place, one in enumerate(self._goal.constraints):
            value = float(result[f"metrics/{one.metric}"])
            beyond = value - one.at_most if one.at_most is not None else (one.at_least or 0.0) - value
            self._storage.set_trial_system_attr(trial, f"constraints:{place}", beyond)

    def _end(self, number: int, state: TrialState, values: Sequence[float] = (), epoch: float = 0.0) -> None:
        trial = self._study.get_trials(deepcopy=False)[number]._trial_id
        if state is TrialState.PRUNED and values:
            self._storage.set_trial_intermediate_value(trial, step_of(epoch), values[0])
        told = list(values) if state is TrialState.COMPLETE else None
        self._storage.set_trial_state_values(trial, state, told)

    def save(self, checkpoint_path: str) -> None:
        """Write all that decides the next proposal, and the scheduler's state. Called by Tune with each snapshot."""
        state = {name: value for name, value in vars(self).items() if name in STATE}
        Path(checkpoint_path).write_bytes(cloudpickle.dumps({**state, "scheduler": vars(self._scheduler)}))

    def restore(self, checkpoint_path: str) -> None:
        """Go on from what was saved last. Called by Tune before it adds the trials of the snapshot."""
        state = cloudpickle.loads(Path(checkpoint_path).read_bytes())
        vars(self._scheduler).update(state.pop("scheduler"))
        self.__dict__.update(state)


class _Sequence(QMCSampler):
    """A scrambled Sobol sequence over a space that is known beforehand, so that its first point counts, too."""

    def __init__(self, space: Space, seed: int) -> None:
        super().__init__(scramble=True, seed=seed, warn_independent_sampling=False)
        self._searched = space.to_optuna()

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Called by Optuna for each trial."""
        return {name: one for name, one in self._searched.items() if not one.single()}


def make_sampler(settings: OptunaSampler, space: Space, seed: int) -> BaseSampler:
    """Makes Optuna's sampler; it models from the first score on, since the random trials are not its own."""
    match settings.name:
        case "tpe":
            group = settings.multivariate and space.conditional if settings.group is None else settings.group
            return TPESampler(
                seed=seed,
                n_startup_trials=1,
                multivariate=settings.multivariate,
                group=group,
                constant_liar=True,  # trials that run are counted as bad ones, so that none is proposed beside them
            )
        case "gp":
            return GPSampler(seed=seed, n_startup_trials=1, warn_independent_sampling=False)
        case "nsga2":
            return NSGAIISampler(population_size=max(2, settings.initial_random), seed=seed)
        case "cmaes":
            return CmaEsSampler(seed=seed, n_startup_trials=1, warn_independent_sampling=False)
        case "qmc":
            return _Sequence(space, seed)


def distributions_of(space: Space, params: Params) -> dict[str, BaseDistribution]:
    """Optuna's distributions of the names in `params` that are searched; in a branch those that hold there.

    Raises:
        InputError: `params` is no configuration of a function's space.
    """
    found: dict[str, BaseDistribution] = {}

    def answer(name: str, dimension: Dimension) -> Value:
        if not isinstance(dimension, Fixed):
            found[name] = dimension.to_optuna()
        return params[name]

    space.answered(answer)
    return found


def suggested(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Any:
    """Returns the trial's value of `name`, which the sampler proposes."""
    match distribution:
        case FloatDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_float(name, low, high, step=step, log=log)
        case IntDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_int(name, low, high, step=step, log=log)
        case CategoricalDistribution(choices=choices):
            return trial.suggest_categorical(name, choices)
    raise TypeError(f"space.{name}: {distribution} is none of Optuna's three distributions")


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides warnings of Optuna's: of experimental classes, and of names that a sampler draws independently."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
