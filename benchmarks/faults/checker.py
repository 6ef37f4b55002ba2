"""Checks what must be true of a run however often it was killed. Pure: what was found after each kill -> complaints.

- Whatever a driver has reported is in the store after its death, and stays there, with the same values, once.
- A trial that had ended stays as it was and computes nothing more.
- A trial goes on from its newest valid checkpoint, or a later one; so do all together repeat little.
- A trial has one number in all that is told.
- There are as many trials as the strategy plans, and all have ended.
- The lineage of a population leads from every final score back to first values, and comes to that score again.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.faults.curve import Step
from tests.support.drivers import Told
from trainables.learning_curve import LearningCurve
from trainables.reporting import Report
from trainables.spec import FineTuneSpec, Params
from tuning.outcome import StudyOutcome, StudyState, TrialOutcome, TrialState

ROUNDING = 1e-9
PRINTED = 1e-3  # a line shows four digits of a score
Values = tuple[float, float]  # learning rate and weight decay: they tell trials apart


@dataclass(frozen=True)
class Life:
    """The remains of one driver, from its start to its death, as found when all its processes had ended."""

    study: StudyOutcome | None  # as recorded then; None: nothing yet
    told: Sequence[Told] = ()
    steps: Sequence[Step] = ()
    saved: Mapping[str, float] = field(default_factory=dict)  # by trial: epoch of the newest checkpoint on storage


def complaints(
    lives: Sequence[Life], planned: int, undisturbed: StudyOutcome | None = None, *, formula: bool = True
) -> list[str]:
    """Returns everything that is wrong with a run, as sentences.

    Args:
        lives: in order; the last one's driver has ended by itself.
        planned: how many trials the strategy plans.
        undisturbed: the same study without a kill, where its outcome does not depend on who is faster.
        formula: the trials are in closed form, so that their lineages can be trained again.
    """
    final = lives[-1].study
    if final is None:
        return ["nothing is recorded at the end"]
    found = [*_of_the_end(final, planned)]
    for number, life in enumerate(lives):
        found += _acknowledged(life, number)
    for number, (life, following) in enumerate(itertools.pairwise(lives), start=1):
        if life.study is not None:
            found += _kept(life.study, final, number)
            found += _ended_for_good(life.study, following.steps, number)
            found += _restarted(life, following.steps, number)
    if not any(trial.lineage for trial in final.trials):  # whose values change
        found += _renumbered(lives)
    found += lineage_complaints(final, formula=formula)
    if undisturbed is not None and (differences := differing(final, undisturbed)):
        found += [f"not as undisturbed: {difference}" for difference in differences]
    return found


def repeated(lives: Sequence[Life]) -> int:
    """Counts epochs that were completed more than once, in all lives together."""
    final = lives[-1].study
    computed = sum(step.ended for life in lives for step in life.steps)
    recorded = sum(len(trial.reports) for trial in final.trials) if final else 0
    return computed - recorded


def outcome(study: StudyOutcome) -> list[tuple[Any, ...]]:
    """Returns each trial's state, values, last epoch and scores."""
    return sorted((*_values(trial.params), str(trial.state), _scores(trial.reports)) for trial in study.trials)


def differing(study: StudyOutcome, other: StudyOutcome) -> list[str]:
    """Describes the trials of either run that the other lacks, with values, scores and end."""
    mine, others = (Counter(map(repr, outcome(one))) for one in (study, other))
    return [f"has {trial}" for trial in mine - others] + [f"lacks {trial}" for trial in others - mine]


def _of_the_end(final: StudyOutcome, planned: int) -> Iterator[str]:
    if final.state is not StudyState.FINISHED:
        yield f"the study ended as {final.state}"
    if len(final.trials) != planned:
        errors = sorted({trial.error for trial in final.trials if trial.error})
        yield f"{len(final.trials)} trials where {planned} were planned; errors: {errors}"
    for trial in final.trials:
        if trial.state is TrialState.RUNNING:
            yield f"trial {trial.id} has not ended"
        if trial.state is TrialState.FAILED:
            yield f"trial {trial.id} has failed: {trial.error}"
        for report in _doubled(trial):
            yield f"trial {trial.id}: epoch {report.epoch:g} is recorded twice"


def _doubled(trial: TrialOutcome) -> Iterator[Report]:
    """Finds reports that are not beyond the one before, without an exploit in between."""
    taken_over = {exploit.reports for exploit in trial.lineage}
    for number, (one, other) in enumerate(itertools.pairwise(trial.reports), start=1):
        if other.epoch <= one.epoch + ROUNDING and number not in taken_over:
            yield other


def _acknowledged(life: Life, number: int) -> Iterator[str]:
    """Finds what was reported and is not recorded."""
    trials = life.study.trials if life.study else ()
    recorded = [(r.epoch, r.metrics["accuracy"]) for trial in trials for r in trial.reports]
    for told in life.told:
        same = (score for epoch, score in recorded if epoch == told.epoch)
        if not any(math.isclose(score, float(told.accuracy), rel_tol=PRINTED, abs_tol=PRINTED) for score in same):
            yield f"life {number}: epoch {told.epoch:g} with accuracy {told.accuracy} was told and is not recorded"


def _renumbered(lives: Sequence[Life]) -> Iterator[str]:
    """Finds trials, identified by their values, that were reported under several numbers."""
    numbers: dict[str, set[int]] = {}
    for life in lives:
        for told in life.told:
            numbers.setdefault(told.params, set()).add(told.trial)
    for params, found in numbers.items():
        if len(found) > 1:
            yield f"the trial with {params} is told as {sorted(found)}"


def _kept(before: StudyOutcome, final: StudyOutcome, kill: int) -> Iterator[str]:
    """Finds reports that were recorded at a kill and are missing at the end, and ended trials that have changed."""
    now = {trial.id: trial for trial in final.trials}
    for trial in before.trials:
        if trial.id not in now:
            yield f"kill {kill}: trial {trial.id} is gone"
            continue
        lost = Counter(_scores(trial.reports)) - Counter(_scores(now[trial.id].reports))
        if lost:
            yield f"kill {kill}: trial {trial.id} has lost {sorted(lost)}"
        if trial.state is not TrialState.RUNNING and (
            (trial.state, trial.reports) != (now[trial.id].state, now[trial.id].reports)
        ):
            yield f"kill {kill}: trial {trial.id} had ended as {trial.state} and has changed"


def _ended_for_good(before: StudyOutcome, steps: Sequence[Step], kill: int) -> Iterator[str]:
    """Finds trials that had ended and compute again."""
    living = {_newest(trial) for trial in before.trials if trial.state is TrialState.RUNNING}
    ended = {_newest(t): t.id for t in before.trials if t.state is not TrialState.RUNNING}
    for values in ended.keys() & {(step.rate, step.decay) for step in steps} - living:
        yield f"kill {kill}: trial {ended[values]} had ended and was run again"


def _restarted(life: Life, steps: Sequence[Step], kill: int) -> Iterator[str]:
    """Finds trials that continued from before their newest checkpoint."""
    assert life.study is not None
    first: dict[Values, float] = {}
    for step in steps:
        first.setdefault((step.rate, step.decay), step.epoch)
    for trial in life.study.trials:
        start, saved = first.get(_newest(trial)), life.saved.get(trial.id, 0.0)
        if trial.state is TrialState.RUNNING and start is not None and start < saved - ROUNDING:
            yield f"kill {kill}: trial {trial.id} went on from epoch {start:g}, its newest checkpoint is of {saved:g}"


def lineage_complaints(study: StudyOutcome, *, formula: bool = True) -> Iterator[str]:
    """Finds exploits that do not fit the trials' reports, and scores that do not follow from their lineage."""
    by_id = {trial.id: trial for trial in study.trials}
    for trial in study.trials:
        params = trial.params
        for exploit in sorted(trial.lineage, key=lambda exploit: exploit.reports):
            if _values(exploit.old) != _values(params):
                yield f"trial {trial.id}: the exploit of epoch {exploit.epoch:g} replaces values that were not in force"
            params = exploit.new
            donor = by_id.get(exploit.donor)
            given = donor.reports[: exploit.donor_reports] if donor else ()
            if not given or given[-1].epoch != exploit.epoch:
                yield f"trial {trial.id}: its donor {exploit.donor} has no report of epoch {exploit.epoch:g}"
        if trial.reports and _values(trial.reports[-1].params) != _values(params):
            yield f"trial {trial.id}: its lineage ends with other values than its last report"
        if trial.reports and formula:
            yield from _replayed(study, trial)


def _replayed(study: StudyOutcome, trial: TrialOutcome) -> Iterator[str]:
    """Trains the last report's lineage again, with its recorded values."""
    last = trial.reports[-1]
    try:
        history = study.history(trial, last)
    except (KeyError, ValueError):  # a donor, or its reports, are not there
        history = ()
    epochs = [0.0, *(report.epoch for report in history)]
    if len(epochs) == 1 or any(one >= other for one, other in itertools.pairwise(epochs)):
        yield f"trial {trial.id}: its lineage has a hole or a fold: it passes the epochs {epochs}"
        return
    spec = FineTuneSpec(trainable="learning_curve", task="reviews", epochs=math.ceil(last.epoch))
    epoch, progress = 0.0, 0.0
    for report in history:
        curve = LearningCurve({**report.params, "model.seconds_per_epoch": 0.0}, spec)
        curve.epoch, curve.progress = epoch, progress
        curve.advance(report.epoch - epoch)
        epoch, progress = curve.epoch, curve.progress
    if epoch != last.epoch or abs(curve.score("validation").metrics["accuracy"] - last.metrics["accuracy"]) > ROUNDING:
        yield f"trial {trial.id}: replaying its lineage does not come to its last score"


def _values(params: Params) -> Values:
    return float(params["learning_rate"]), float(params["weight_decay"])  # type: ignore[arg-type]


def _newest(trial: TrialOutcome) -> Values:
    """Returns the values with which the trial would continue."""
    last = max(trial.lineage, key=lambda exploit: exploit.reports, default=None)
    if last is not None and last.reports >= len(trial.reports):
        return _values(last.new)
    return _values(trial.reports[-1].params if trial.reports else trial.params)


def _scores(reports: Sequence[Report]) -> tuple[tuple[float, float, Values], ...]:
    return tuple((report.epoch, report.metrics["accuracy"], _values(report.params)) for report in reports)
