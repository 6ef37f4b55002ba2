"""What is confirmed: the best configurations of a study, by validation. Pure, no I/O."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import NamedTuple

from trainables.spec import FineTuneSpec
from tuning.outcome import Stretch, StudyOutcome, TrialState
from tuning.selection.schedules import schedule_of
from tuning.spec.models import ExperimentSpec

FIRST_SEED = 1000  # of trainings after the search


class Candidate(NamedTuple):
    """A configuration, and the report that speaks for it."""

    rank: int  # 1: the best
    trial: str  # trial id
    epoch: float
    schedule: tuple[Stretch, ...]
    searched: float  # its validation score


def candidates(study: StudyOutcome, top: int) -> tuple[Candidate, ...]:
    """The `top` best of `study`, each of another trial; ties go to the earlier one. Failed trials are left out, and a
    trial whose values were another's all the way: it would be trained twice alike.
    """
    sign = 1 if study.mode == "max" else -1
    alive = (trial for trial in study.trials if trial.state is not TrialState.FAILED)
    scored = [(t, r) for t in alive if (r := t.best_report(study.metric, study.mode)) is not None]
    scored.sort(key=lambda pair: -sign * pair[1].metrics[study.metric])  # stable
    found: list[Candidate] = []
    for trial, report in scored:
        schedule = schedule_of(study.history(trial, report))
        if len(found) < top and all(schedule != other.schedule for other in found):
            searched = report.metrics[study.metric]
            found.append(Candidate(len(found) + 1, trial.id, report.epoch, schedule, searched))
    return tuple(found)


def training_spec(spec: ExperimentSpec, study: StudyOutcome, seed: int) -> FineTuneSpec:
    """What a training of that study's configuration is given besides its values; all is drawn from `seed`."""
    own = {"seed": seed, "data_order_seed": None, "head_seed": None}
    return spec.trial_spec(study.seed, study.strategy).model_copy(update=own)


def training_seeds(spec: ExperimentSpec, count: int, search: int | None = None) -> tuple[int, ...]:
    """Seeds for `count` trainings after the search with seed `search`; of no search: those of the first one.

    No trial of the experiment had them, and no other search has: what two searches choose is not trained twice alike.
    They are the same for all strategies, so that their scores are pairs.
    """
    position = 0 if search is None else spec.seeds.index(search)
    searched = {seed for one in spec.seeds for seed in spec.trial_spec(one).training_seeds}
    unused = (seed for seed in itertools.count(FIRST_SEED) if seed not in searched)
    return tuple(itertools.islice(unused, position * count, (position + 1) * count))


def shares_seeds(spec: ExperimentSpec, count: int, studies: Iterable[StudyOutcome]) -> bool:
    """True if an older version has begun to confirm: all searches then have the training seeds of the first one."""
    return any(
        study.confirmations and study.confirmations[0].seed not in training_seeds(spec, count, study.seed)
        for study in studies
        if study.seed in spec.seeds
    )
