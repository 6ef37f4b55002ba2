"""Chooses the configuration that the model to keep is trained with. Pure, no I/O."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from trainables.errors import InputError, nearest
from tuning.outcome import Confirmation, ExperimentOutcome, StudyOutcome, StudyState
from tuning.selection.candidates import Candidate, candidates
from tuning.spec.models import ConfirmSpec


class Winner(NamedTuple):
    """A configuration, and the trainings by which it was chosen."""

    study: StudyOutcome
    candidate: Candidate
    confirmations: tuple[Confirmation, ...]  # its trainings; empty: it was not confirmed
    caveats: tuple[str, ...]  # sentences
    picked: bool = False  # by its user, in place of the best


def winner_of(outcome: ExperimentOutcome, strategy: str | None = None, confirm: ConfirmSpec | None = None) -> Winner:
    """Return the configuration with the best mean confirmed validation score over all studies.

    Without confirmations it is the one with the best validation score of a search. Test scores do not count.

    Args:
        outcome: of the experiment.
        strategy: the label of the strategy whose studies count; None: all.
        confirm: of the experiment's spec, to see whether confirmations are still to come.

    Raises:
        InputError: no such strategy, or no trial of it has a score.
    """
    known = list(dict.fromkeys(study.strategy for study in outcome.studies))
    if strategy is not None and strategy not in known:
        raise InputError("--strategy", strategy, f"is none of {outcome.name}", nearest(strategy, known))
    studies = [study for study in outcome.studies if strategy in (None, study.strategy)]
    confirmed = [(study, trainings) for study in studies if (trainings := study.confirmed())]
    caveats = [*_unfinished(studies, confirm), *_other_rows(outcome)]
    if confirmed:
        study, trainings = max(confirmed, key=lambda pair: _sign(pair[0]) * mean(pair[1], "validation", pair[0].metric))
        if len(confirmed) < len(studies):
            caveats.append(f"Only {len(confirmed)} of {len(studies)} studies are confirmed; the others do not count.")
        first = trainings[0]
        candidate = Candidate(first.rank, first.trial, first.epoch, first.schedule, first.searched)
        return Winner(study, candidate, trainings, tuple(caveats))
    scored = [(study, found[0]) for study in studies if (found := candidates(study, top=1))]
    if not scored:
        step = "go on with its run: `tunefleet resume`, with the EXPERIMENT and --storage of this command"
        raise InputError("EXPERIMENT", outcome.name, "has no score yet", step)
    study, best = max(scored, key=lambda pair: _sign(pair[0]) * pair[1].searched)
    caveats.append(
        "The configuration was not confirmed: it was chosen by the best validation score of its search, which is too "
        "good, being the best of many (`confirm:` in the spec trains the best ones anew)."
    )
    return Winner(study, best, (), tuple(caveats))


def mean(trainings: tuple[Confirmation, ...], split: Literal["validation", "test"], metric: str) -> float:
    """Return the mean score of the trainings on a split; all of them must have one."""
    return float(np.mean([getattr(training, split)[metric] for training in trainings]))


def _other_rows(outcome: ExperimentOutcome) -> list[str]:
    cuts = 1 if outcome.data is None else outcome.data.cuts
    if cuts == 1:
        return []
    return [
        f"Each of {cuts} search seeds was validated on rows of its own (`data.split_seed: per_seed`), so the scores by "
        "which the configuration was chosen over those of other seeds are not of the same rows."
    ]


def _sign(study: StudyOutcome) -> int:
    return 1 if study.mode == "max" else -1


def _unfinished(studies: list[StudyOutcome], confirm: ConfirmSpec | None) -> list[str]:
    def searching(study: StudyOutcome) -> bool:
        return study.state is not StudyState.FINISHED

    def confirming(study: StudyOutcome) -> bool:
        return confirm is not None and len(study.confirmations) < len(candidates(study, confirm.top)) * confirm.seeds

    caveats = []
    for what, test in (("search", searching), ("confirmation", confirming)):
        if names := [f"{study.strategy} seed {study.seed}" for study in studies if test(study)]:
            caveats.append(f"The {what} was not over: {', '.join(names)}.")
    return caveats
