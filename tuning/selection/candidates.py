"""Chooses what is confirmed: the best configurations of a study, by validation. Pure, no I/O."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import NamedTuple

from trainables.spec import FineTuneSpec
from tuning.outcome import Stretch, StudyOutcome, StudyState, TrialState
from tuning.selection.schedules import schedule_of, unseeded
from tuning.spec.models import ExperimentSpec
from tuning.study.precision import trained_spec

FIRST_SEED = 1000  # of trainings after the search


class Candidate(NamedTuple):
    """A configuration, and the report by which it was chosen."""

    rank: int  # 1: the best
    trial: str  # trial id
    epoch: float
    schedule: tuple[Stretch, ...]
    searched: float  # its validation score


def candidates(study: StudyOutcome, top: int) -> tuple[Candidate, ...]:
    """Return the `top` best configurations of `study`, each of another trial; ties go to the earlier one.

    Failed trials are left out. So is a trial that had the values of a better one all the way, other training seeds
    apart: the two would be the same training.
    """
    sign = 1 if study.mode == "max" else -1
    alive = (trial for trial in study.trials if trial.state is not TrialState.FAILED)
    scored = [(t, r) for t in alive if (r := t.best_report(study.metric, study.mode)) is not None]
    scored.sort(key=lambda pair: -sign * pair[1].metrics[study.metric])  # stable
    found: list[Candidate] = []
    for trial, report in scored:
        schedule = schedule_of(study.history(trial, report))
        if len(found) < top and all(unseeded(schedule) != unseeded(other.schedule) for other in found):
            searched = report.metrics[study.metric]
            found.append(Candidate(len(found) + 1, trial.id, report.epoch, schedule, searched))
    return tuple(found)


def training_spec(spec: ExperimentSpec, study: StudyOutcome, seed: int) -> FineTuneSpec:
    """Return what a training of a configuration of `study` gets besides its values; everything is drawn from `seed`."""
    own = {"seed": seed, "data_order_seed": None, "head_seed": None}
    return trained_spec(spec, study).model_copy(update=own)


def training_seeds(spec: ExperimentSpec, count: int, search: int | None = None) -> tuple[int, ...]:
    """Return the seeds of `count` trainings after the search with seed `search`; None: after the first search.

    No trial of the experiment has these seeds, nor has the confirmation of another search: what two searches choose is
    not the same training. They are the same for all strategies, so that the scores of these are pairs.
    """
    position = 0 if search is None else spec.seeds.index(search)
    searched = {seed for one in spec.seeds for seed in spec.trial_spec(one).training_seeds}
    unused = (seed for seed in itertools.count(FIRST_SEED) if seed not in searched)
    return tuple(itertools.islice(unused, position * count, (position + 1) * count))


def planned_trainings(
    spec: ExperimentSpec, studies: Iterable[StudyOutcome]
) -> dict[tuple[str, int], tuple[tuple[int, int], ...]]:
    """The trainings that `confirm:` asks for, of each study whose search is over.

    Returns:
        By strategy and search seed: rank and training seed of each, one configuration after the other.
    """
    if spec.confirm is None:
        return {}
    count, finished = spec.confirm.seeds, [study for study in studies if study.state is StudyState.FINISHED]
    shared = training_seeds(spec, count) if shares_seeds(spec, count, finished) else None
    planned = {}
    for study in finished:
        seeds = shared or training_seeds(spec, count, study.seed)
        ranks = [one.rank for one in candidates(study, spec.confirm.top)]
        planned[study.strategy, study.seed] = tuple((rank, seed) for rank in ranks for seed in seeds)
    return planned


def shares_seeds(spec: ExperimentSpec, count: int, studies: Iterable[StudyOutcome]) -> bool:
    """True if an older version has begun to confirm: all searches then have the training seeds of the first one."""
    return any(
        study.confirmations and study.confirmations[0].seed not in training_seeds(spec, count, study.seed)
        for study in studies
        if study.seed in spec.seeds
    )
