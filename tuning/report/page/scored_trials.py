"""Collects trials with their best scores, also as Optuna studies in memory for Optuna's plots.

A trial has the best validation score that it reached and the values in force then (PBT changes them). Stopped trials
are included; otherwise only the good part of the space would be visible.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from trainables.reporting import Report
from trainables.spec import Value
from trainables.user_trainer.hp_space import suggested_values
from tuning.outcome import StudyOutcome, TrialOutcome
from tuning.report.page.figure import wants_log
from tuning.report.page.winners import TrialKey

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

    from tuning.space import Space

STRATEGY = "strategy"  # the axis of the strategy, if several are drawn together


class ScoredTrial(NamedTuple):
    """A trial with the best score that it reached."""

    strategy: str
    seed: int
    trial: str
    params: dict[str, Value]  # in force at that score; only those that vary over the trials
    score: float

    @property
    def key(self) -> TrialKey:
        """Identifies the trial."""
        return TrialKey(self.strategy, self.seed, self.trial)


def scored_trials(studies: Sequence[StudyOutcome], apart: Collection[TrialKey] = ()) -> list[ScoredTrial]:
    """Returns the trials with a score, except those in `apart`, with the hyperparameters that vary between them."""
    best = [
        (study, trial, report)
        for study in studies
        for trial in study.trials
        if TrialKey(study.strategy, study.seed, trial.name) not in apart
        and (report := trial.best_report(study.metric, study.mode)) is not None
    ]
    values = [_in_force(trial, report) for _, trial, report in best]
    names = dict.fromkeys(name for params in values for name in params)
    moving = [name for name in names if len({repr(params.get(name)) for params in values}) > 1]
    return [
        ScoredTrial(
            study.strategy,
            study.seed,
            trial.name,
            {n: params[n] for n in moving if n in params},
            report.metrics[study.metric],
        )
        for (study, trial, report), params in zip(best, values, strict=True)
    ]


def _in_force(trial: TrialOutcome, report: Report) -> dict[str, Value]:
    """Returns the searched hyperparameters in force at a report."""
    proposed = trial.proposed(report)
    return {**proposed, **{name: value for name, value in suggested_values(report.params).items() if name in proposed}}


def study_of(trials: Sequence[ScoredTrial], space: Space, mode: str) -> Study:
    """Returns an Optuna study in memory with the trials in this order. Values outside the space are left out."""
    distributions = space.to_optuna()
    found = dict.fromkeys(name for trial in trials for name in trial.params)
    for name in found.keys() - distributions.keys():  # the space is a function, or of an unknown form
        distributions[name] = _spanned([t.params[name] for t in trials if name in t.params])
    kept = [{n: v for n, v in trial.params.items() if space_holds(space, n, v)} for trial in trials]
    return _study(kept, [trial.score for trial in trials], distributions, mode)


def pooled_study(trials: Sequence[ScoredTrial], mode: str) -> Study:
    """Returns an Optuna study in memory with the trials of several strategies.

    Their spaces may differ, so an axis spans the values that were tried. One more axis shows the strategy.
    """
    rows: list[dict[str, Value]] = [{STRATEGY: trial.strategy, **trial.params} for trial in trials]
    names = dict.fromkeys(name for row in rows for name in row)
    distributions = {name: _spanned([row[name] for row in rows if name in row]) for name in names}
    return _study(rows, [trial.score for trial in trials], distributions, mode)


def _study(
    rows: Sequence[Mapping[str, Value]],
    scores: Sequence[float],
    distributions: Mapping[str, BaseDistribution],
    mode: str,
) -> Study:
    import optuna

    optuna.logging.disable_default_handler()  # it logs every new study
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if mode == "max" else "minimize")
    for params, score in zip(rows, scores, strict=True):
        own = {name: distributions[name] for name in params}
        study.add_trial(optuna.create_trial(params=dict(params), distributions=own, value=score))
    return study


def _spanned(values: Sequence[Value]) -> BaseDistribution:
    """Returns the range of the numbers that were tried, or the choices."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        numbers = [float(value) for value in values]  # type: ignore[arg-type]
        return FloatDistribution(min(numbers), max(numbers), log=wants_log(values))
    return CategoricalDistribution(list(dict.fromkeys(values)))


def space_holds(space: Space, name: str, value: Value) -> bool:
    """Returns True if `value` is in the space's dimension `name`, or the space has no such dimension."""
    dimension = space.searched.get(name)
    return dimension is None or dimension.contains(value)
