"""Trials with the best score that each reached, and the same as an Optuna study in memory, for its drawings.

A trial counts with the best validation score that it reached, under the values in force then (PBT moves them), also
where its strategy stopped it: leaving those out would show the good half of the space only.
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

STRATEGY = "strategy"  # the axis that tells strategies apart where several are drawn together


class ScoredTrial(NamedTuple):
    """A trial with the best score that it reached."""

    strategy: str
    seed: int
    trial: str
    params: dict[str, Value]  # in force at that score; of what varied over the trials
    score: float

    @property
    def key(self) -> TrialKey:
        """The name of the trial among those of all studies."""
        return TrialKey(self.strategy, self.seed, self.trial)


def scored_trials(studies: Sequence[StudyOutcome], apart: Collection[TrialKey] = ()) -> list[ScoredTrial]:
    """The trials with a score, but those in `apart`, with those of their values that are not the same in all."""
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
    """The values of what was searched, when the trial reported that."""
    proposed = trial.proposed(report.epoch)
    return {**proposed, **{name: value for name, value in suggested_values(report.params).items() if name in proposed}}


def study_of(trials: Sequence[ScoredTrial], space: Space, mode: str) -> Study:
    """An Optuna study in memory, its trials in the order given. A value outside the recorded space is left out."""
    distributions = space.to_optuna()
    found = dict.fromkeys(name for trial in trials for name in trial.params)
    for name in found.keys() - distributions.keys():  # of a function, or a space that this version cannot tell
        distributions[name] = _spanned([t.params[name] for t in trials if name in t.params])
    kept = [{n: v for n, v in trial.params.items() if space_holds(space, n, v)} for trial in trials]
    return _study(kept, [trial.score for trial in trials], distributions, mode)


def pooled_study(trials: Sequence[ScoredTrial], mode: str) -> Study:
    """An Optuna study in memory of the trials of several strategies, each on ranges of its own: an axis spans what was
    tried, and one more tells the strategies apart."""
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

    optuna.logging.disable_default_handler()  # it tells of every new study
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if mode == "max" else "minimize")
    for params, score in zip(rows, scores, strict=True):
        own = {name: distributions[name] for name in params}
        study.add_trial(optuna.create_trial(params=dict(params), distributions=own, value=score))
    return study


def _spanned(values: Sequence[Value]) -> BaseDistribution:
    """The range of numbers that were tried, or the choices."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        numbers = [float(value) for value in values]  # type: ignore[arg-type]
        return FloatDistribution(min(numbers), max(numbers), log=wants_log(values))
    return CategoricalDistribution(list(dict.fromkeys(values)))


def space_holds(space: Space, name: str, value: Value) -> bool:
    """True if `value` belongs to the space's dimension `name`, or the space has none of that name."""
    dimension = space.searched.get(name)
    return dimension is None or dimension.contains(value)
