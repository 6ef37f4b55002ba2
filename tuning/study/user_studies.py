"""The users' own Optuna studies that strategies name: read before anything starts, added to when the trials have ended.

What is read is told to the searcher of a study that begins. Its saved state carries it from there, so that a resume
depends neither on that database nor on what others add to it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from trainables.errors import InputError
from trainables.spec import Value
from trainables.wording import counted
from tuning.outcome import ExperimentOutcome, StudyOutcome
from tuning.outcome.attributes import EARLIER_FROM, EARLIER_TRIALS
from tuning.spec.mistakes import Mistake, SpecError, join_path
from tuning.spec.models import ExperimentSpec
from tuning.spec.store_url import StoreError
from tuning.spec.validation.store_checks import STUDY_VARIABLE
from tuning.store.named_study import NamedStudy
from tuning.store.observations import Observations, observe
from tuning.strategies import Plan, Strategy


def named_study(strategy: Strategy) -> NamedStudy | None:
    """The study that a strategy names; None if it names none.

    Raises:
        InputError: nothing says in which database it is.
    """
    if strategy.user_study is None:
        return None
    url = strategy.user_study.storage or os.environ.get(STUDY_VARIABLE)
    if url is None:
        step = f"add storage: URL, or put the URL into the environment variable {STUDY_VARIABLE}"
        raise InputError("study_name", strategy.user_study.name, "in which database is it?", step)
    return NamedStudy(url, strategy.user_study.name)


def observations_for(spec: ExperimentSpec, strategy: Strategy) -> Observations | None:
    """The trials that a strategy of the spec learns from; None if it names no study.

    Raises:
        InputError, StoreError: see `observe`.
    """
    study = named_study(strategy)
    mode = spec.resolved_objective().mode
    return None if study is None else observe(study, spec.space_of(strategy), mode, spec.name)


def tell_observations(plan: Plan, spec: ExperimentSpec, strategy: Strategy) -> dict[str, Value]:
    """Let the searcher of a study that begins know what there is; returns what is recorded of that, by attribute.

    Raises:
        InputError, StoreError: see `observe`.
    """
    found = observations_for(spec, strategy)
    if found is None or strategy.user_study is None:
        return {}
    for observed in found.trials:
        plan.searcher.observe(*observed)  # type: ignore[union-attr]
    return {EARLIER_TRIALS: len(found.trials), EARLIER_FROM: f"the Optuna study {strategy.user_study.name}"}


def recorded_observations(study: StudyOutcome | None) -> dict[str, Value]:
    """Returns what is recorded of the trials that a study knew before its first proposal, by attribute."""
    known = {} if study is None else study.attributes
    return {name: known[name] for name in (EARLIER_TRIALS, EARLIER_FROM) if name in known}


def read_user_studies(spec: ExperimentSpec) -> list[str]:
    """Reads the studies that the strategies name, before anything starts; returns a line about each.

    Raises:
        SpecError: every study that cannot be read, or to which no trial of this spec could be added.
    """
    lines, mistakes = [], []
    for place, strategy in enumerate(spec.strategies):
        try:
            found = observations_for(spec, strategy)
        except InputError as error:
            path = join_path("strategies", place, error.name)
            mistakes.append(Mistake(path, error.rule, error.value, error.next_step))
        except StoreError as error:
            mistakes.append(Mistake(join_path("strategies", place, "storage"), str(error)))
        else:
            if found is not None and strategy.user_study is not None:
                lines.append(f"{strategy.name}: {_in_words(strategy.user_study.name, found)}")
    if mistakes:
        raise SpecError(mistakes, spec.name)
    return lines


def add_to_user_studies(spec: ExperimentSpec, outcome: ExperimentOutcome) -> Iterator[str]:
    """Adds the trials of each strategy to the study that it names; yields a line about each. One is added once.

    Raises:
        InputError, StoreError: a study cannot be written.
    """
    for strategy in spec.strategies:
        if (study := named_study(strategy)) is not None:
            own = [one for one in outcome.studies if one.strategy == strategy.name]
            study.add(outcome, spec.store_url, own)
            yield f"{strategy.name}: its trials are in the Optuna study {study.name}"


def _in_words(name: str, found: Observations) -> str:
    known = f"knows {counted(len(found.trials), 'trial')} of the Optuna study {name}"
    others = "; ".join(f"{counted(count, 'other')} {why}" for why, count in found.left_out.items())
    return f"{known} ({others})" if others else known
