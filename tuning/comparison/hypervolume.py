"""Makes searches of several objectives comparable by one score: the volume that their fronts dominate.

In: an outcome with several objectives. Out: the same outcome with the metric `hypervolume`, whose value at a report is
the volume of all reports of its study up to then, and on the test split that of the models on the study's front.
Curves, pairs and verdict are made of it as of any score.

A volume is the share that a front dominates of one box, which is the same for all studies: from the best value of each
objective on the fronts of all studies, by validation, to the worst one on them and a tenth of the distance beyond, so
that the ends of a front count (Ishibuchi et al., "How to specify a reference point in hypervolume calculation for fair
performance comparison", Evolutionary Computation 26, 2018). Test scores are measured in the same box.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from trainables.metrics import COSTS
from trainables.reporting import Report
from trainables.spec import Goal
from tuning.comparison.resampling import DRAWS, Array, bootstrap_scores
from tuning.comparison.scores import SAME_SCORE, StudyScores
from tuning.outcome import ExperimentOutcome, StudyOutcome, TestScore, TrialOutcome
from tuning.pareto import Losses, LossPoint, hypervolume

HYPERVOLUME = "hypervolume"
BEYOND = 0.1  # of the distance from the best to the worst value: so far is the reference beyond the worst


class Box(NamedTuple):
    """The box in which volumes are measured, in losses (the values, negative where more is better)."""

    ideal: Losses
    reference: Losses

    @classmethod
    def around(cls, fronts: Sequence[Losses]) -> Box:
        """The box of the points on all fronts."""
        ideal, worst = (tuple(map(of, zip(*fronts, strict=True))) for of in (min, max))
        widths = [high - low or abs(high) or 1.0 for low, high in zip(ideal, worst, strict=True)]
        return cls(ideal, tuple(high + BEYOND * width for high, width in zip(worst, widths, strict=True)))

    def share(self, losses: Sequence[Losses]) -> float:
        """The share of the box that `losses` dominate; those that are better than its ideal count as being there."""
        inside = [tuple(map(max, one, self.ideal)) for one in losses]
        whole = math.prod(high - low for low, high in zip(self.ideal, self.reference, strict=True))
        return hypervolume(inside, self.reference) / whole


class Volumes(NamedTuple):
    """An outcome whose score is the hypervolume."""

    outcome: ExperimentOutcome
    tests: Mapping[tuple[str, int], StudyScores]  # by strategy and seed; those that have test scores
    box: Box


def scored_by_volume(outcome: ExperimentOutcome) -> Volumes | None:
    """Scores an outcome by hypervolume; None if it has one objective, or no report yet that keeps the constraints."""
    goal = outcome.studies[0].goal
    if goal is None:
        return None
    fronts = [goal.losses(report.metrics) for study in outcome.studies for _, report in study.front()]
    if not fronts:
        return None
    box = Box.around(fronts)
    tests = {
        (study.strategy, study.seed): scores
        for study, scores in zip(outcome.studies, _test_scores(outcome.studies, goal, box), strict=True)
        if scores is not None
    }
    studies = tuple(_by_volume(study, goal, box, tests.get((study.strategy, study.seed))) for study in outcome.studies)
    return Volumes(replace(outcome, studies=studies), tests, box)


def _by_volume(study: StudyOutcome, goal: Goal, box: Box, test: StudyScores | None) -> StudyOutcome:
    """The study with the volume so far in each report, and with one test score."""
    ordered = sorted(
        (cost or 0.0, report.time, trial.number, place)
        for trial in study.trials
        for place, (cost, report) in enumerate(zip(trial.costs_of_reports, trial.reports, strict=True))
    )
    by_number = {trial.number: trial for trial in study.trials}
    volumes: dict[tuple[int, int], float] = {}
    found: list[Losses] = []
    volume = 0.0
    for _, _, number, place in ordered:
        point = LossPoint.of(goal, by_number[number].reports[place].metrics)
        if point.violation == 0 and not any(_covers(one, point.losses) for one in found):
            found = [one for one in found if not _covers(point.losses, one)] + [point.losses]
            volume = box.share(found)
        volumes[number, place] = volume
    trials = tuple(_with_volumes(trial, volumes) for trial in study.trials)
    scored = replace(study, metric=HYPERVOLUME, mode="max", trials=trials, goal=None)
    if test is None or (best := scored.best()) is None:
        return scored
    found_by, last = best
    tested = study.front_tests[0]
    tested = replace(tested, trial=found_by.id, epoch=last.epoch, metrics={HYPERVOLUME: test.score}, scored=None)
    return replace(scored, test=tested)


def _with_volumes(trial: TrialOutcome, volumes: Mapping[tuple[int, int], float]) -> TrialOutcome:
    def scored(place: int, report: Report) -> Report:
        return report._replace(metrics={**report.metrics, HYPERVOLUME: volumes[trial.number, place]})

    return replace(trial, reports=tuple(scored(place, report) for place, report in enumerate(trial.reports)))


def _covers(one: Losses, other: Losses) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True))


def _test_scores(studies: Sequence[StudyOutcome], goal: Goal, box: Box) -> list[StudyScores | None]:
    """The volume of each study's models on the test split, and on each draw of test rows if they are recorded."""
    tests = [test for study in studies for test in study.front_tests]
    drawn = _drawn_losses(tests, goal)
    found: list[StudyScores | None] = []
    begin = 0
    for study in studies:
        own = range(begin, begin + len(study.front_tests))
        begin = own.stop
        if not own:
            found.append(None)
            continue
        kept = [place for place in own if goal.violation(tests[place].metrics) == 0]
        score = box.share([goal.losses(tests[place].metrics) for place in kept])
        rows = min(tests[place].rows for place in own)
        if drawn is None:
            found.append(StudyScores(study.seed, (score,), rows))
            continue
        draws = np.array([box.share([tuple(one) for one in losses]) for losses in drawn[:, kept].tolist()])
        first = tests[own[0]].scored
        assert first is not None  # `_drawn_losses` has needed it
        found.append(StudyScores(study.seed, (score,), rows, (first,), bootstrap=draws))
    return found


def _drawn_losses(tests: Sequence[TestScore], goal: Goal) -> Array | None:
    """The losses of each model on each draw of test rows, of shape (draws, models, objectives).

    Costs do not depend on the rows. None if another objective cannot be computed from recorded rows, which must be the
    same for all models.
    """
    recorded = [test.scored for test in tests if test.scored is not None]
    if not tests or len(recorded) < len(tests) or any(one.labels != recorded[0].labels for one in recorded):
        return None
    labels, predictions = np.array(recorded[0].labels), np.array([one.predictions for one in recorded])
    columns = []
    for objective in goal.objectives:
        sign = 1 if objective.mode == "min" else -1
        known = np.array([test.metrics[objective.metric] for test in tests])
        if objective.metric in COSTS:
            columns.append(sign * np.broadcast_to(known, (DRAWS, len(tests))))
            continue
        computed = bootstrap_scores(objective.metric, labels, predictions, known)
        if computed is None or not np.allclose(computed[0], known, atol=SAME_SCORE, rtol=0.0):
            return None
        columns.append(sign * computed[1])
    return np.stack(columns, axis=2)
