"""The checker of killed runs says what is wrong: planted losses, doublings, wrong counts, late starts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from benchmarks.faults.checker import Life, complaints, differing, repeated
from benchmarks.faults.curve import Step
from tests.support.drivers import Told
from trainables.learning_curve import LearningCurve
from trainables.reporting import Report
from trainables.spec import FineTuneSpec, Params
from tuning.outcome import Exploit, StudyOutcome, StudyState, TrialOutcome, TrialState

pytestmark = pytest.mark.unit

SPEC = FineTuneSpec(trainable="learning_curve", task="reviews", epochs=4)
SCORE = {"accuracy": 0.9}


def params(rate: float) -> Params:
    return {"learning_rate": rate, "weight_decay": 0.1}


def reports(rate: float, epochs: int, begun: int = 0, progress: float = 0.0) -> tuple[Report, ...]:
    """Returns what the curve really reports from a state on."""
    curve = LearningCurve(params(rate), SPEC)
    curve.epoch, curve.progress = float(begun), progress
    return tuple(
        Report(done.epoch, done.metrics, params(rate), 1.0, done.epoch)
        for done in (curve.advance(1) for _ in range(epochs))
    )


def progress(report: Report) -> float:
    return -2 * math.log(1 - report.metrics["accuracy"])


def trial(number: int, rate: float, epochs: int, state: TrialState = TrialState.COMPLETED) -> TrialOutcome:
    return TrialOutcome(f"t{number}", number, state, params(rate), reports(rate, epochs))


def study(*trials: TrialOutcome, state: StudyState = StudyState.FINISHED) -> StudyOutcome:
    return StudyOutcome("grid", "grid", 0, state, "accuracy", "max", trials)


def steps(rate: float, begun: int, ended: int) -> list[Step]:
    return [Step(last, float(epoch + last), rate, 0.1, 0.0) for epoch in range(begun, ended) for last in (False, True)]


def killed() -> list[Life]:
    """Returns lives of a killed driver: its first trial has ended, its second has two reports; one checkpoint each."""
    before = study(trial(0, 1e-3, 4), trial(1, 1e-4, 2, TrialState.RUNNING), state=StudyState.RUNNING)
    told = [Told(r.epoch, f"{r.metrics['accuracy']:.4f}", t.id, t.number) for t in before.trials for r in t.reports]
    first = Life(before, told, steps(1e-3, 0, 4) + steps(1e-4, 0, 2), {"t0": 4.0, "t1": 1.0})
    return [first, Life(study(trial(0, 1e-3, 4), trial(1, 1e-4, 4)), [], steps(1e-4, 1, 4))]


def final(lives: list[Life], change: Callable[[StudyOutcome], StudyOutcome]) -> list[Life]:
    study = lives[-1].study
    assert study is not None
    return [*lives[:-1], replace(lives[-1], study=change(study))]


def with_second(lives: list[Life], **changes: object) -> list[Life]:
    return final(
        lives,
        lambda study: replace(study, trials=(study.trials[0], replace(study.trials[1], **changes))),  # type: ignore[arg-type]
    )


def test_a_run_that_lost_nothing_is_not_complained_of_and_what_it_did_twice_is_counted() -> None:
    assert complaints(killed(), 2, study(trial(1, 1e-4, 4), trial(0, 1e-3, 4))) == []
    assert repeated(killed()) == 1


PLANTED: dict[str, tuple[Callable[[list[Life]], list[Life]], str]] = {
    "a trial told under two numbers": (
        lambda lives: [
            lives[0],
            replace(lives[1], told=[Told(3.0, f"{reports(1e-4, 4)[2].metrics['accuracy']:.4f}", "t1", 0)]),
        ],
        "the trial with t1 is told as [0, 1]",
    ),
    "a report lost": (lambda lives: with_second(lives, reports=reports(1e-4, 1)), "t1 has lost"),
    "a report doubled": (
        lambda lives: with_second(lives, reports=(*reports(1e-4, 4), reports(1e-4, 4)[-1])),
        "t1: epoch 4 is recorded twice",
    ),
    "a trial lost": (
        lambda lives: final(lives, lambda study: replace(study, trials=study.trials[:1])),
        "1 trials where 2 were planned",
    ),
    "a trial doubled": (
        lambda lives: final(lives, lambda study: replace(study, trials=(*study.trials, trial(2, 1e-5, 4)))),
        "3 trials where 2 were planned",
    ),
    "a trial failed": (lambda lives: with_second(lives, state=TrialState.FAILED, error="lost"), "t1 has failed: lost"),
    "a trial left": (lambda lives: with_second(lives, state=TrialState.RUNNING), "t1 has not ended"),
    "an ended trial changed": (
        lambda lives: final(
            lives, lambda study: replace(study, trials=(trial(0, 1e-3, 4, TrialState.STOPPED), study.trials[1]))
        ),
        "t0 had ended as completed and has changed",
    ),
    "an ended trial run again": (
        lambda lives: [lives[0], replace(lives[1], steps=[*lives[1].steps, *steps(1e-3, 3, 4)])],
        "t0 had ended and was run again",
    ),
    "a trial begun anew": (
        lambda lives: [lives[0], replace(lives[1], steps=steps(1e-4, 0, 4))],
        "t1 went on from epoch 0, its newest checkpoint is of 1",
    ),
    "told and not recorded": (
        lambda lives: [replace(lives[0], told=[*lives[0].told, Told(3.0, "0.9000", "")]), lives[1]],
        "epoch 3 with accuracy 0.9000 was told and is not recorded",
    ),
    "a study left": (
        lambda lives: final(lives, lambda study: replace(study, state=StudyState.RUNNING)),
        "the study ended as running",
    ),
    "values that were not its own": (
        lambda lives: with_second(lives, reports=(*reports(1e-4, 3), *reports(2e-4, 1, 3))),
        "its lineage ends with other values",
    ),
    "a score that nobody computed": (
        lambda lives: with_second(lives, reports=(*reports(1e-4, 3), reports(1e-4, 4)[3]._replace(metrics=SCORE))),
        "t1: replaying its lineage does not come to its last score",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_complained_of(name: str) -> None:
    plant, complaint = PLANTED[name]
    assert [found for found in complaints(plant(killed()), 2) if complaint in found]


def test_another_outcome_than_the_undisturbed_one_is_reported_with_the_trial() -> None:
    (has, lacks) = differing(study(trial(0, 1e-3, 4)), study(trial(0, 1e-3, 2, TrialState.STOPPED)))
    assert (has[:4], lacks[:6]) == ("has ", "lacks ")
    assert "'completed'" in has
    assert "'stopped'" in lacks


def population(**changes: object) -> list[Life]:
    """Returns two members, of which the second took over the first one's weights of epoch 1 with other values."""
    donor = trial(0, 1e-3, 4)
    exploit = Exploit(1.0, "t0", params(1e-5), params(2e-3), 1.0, reports=1, donor_reports=1)
    own = reports(2e-3, 3, 1, progress(donor.reports[0]))
    member = TrialOutcome(
        "t1",
        1,
        TrialState.COMPLETED,
        params(1e-5),
        (*reports(1e-5, 1), *own),
        (replace(exploit, **changes),),  # type: ignore[arg-type]
    )
    return [Life(study(donor, member))]


def test_a_whole_lineage_comes_to_its_score() -> None:
    assert complaints(population(), 2) == []


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"old": params(1e-4)}, "replaces values that were not in force"),
        ({"new": params(1e-4)}, "ends with other values than its last report"),
        ({"donor_reports": 2}, "has no report of epoch 1"),
        ({"donor": "t9"}, "its donor t9 has no report"),
        ({"epoch": 2.0, "donor_reports": 2}, "a hole or a fold"),
    ],
)
def test_a_hole_in_a_lineage_is_complained_of(changes: dict[str, object], complaint: str) -> None:
    assert [found for found in complaints(population(**changes), 2) if complaint in found]
