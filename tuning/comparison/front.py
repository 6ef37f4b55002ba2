"""The front of an experiment with several objectives: the configurations to choose from, and words about them."""

from __future__ import annotations

from collections.abc import Sequence

from trainables.metrics import COSTS
from trainables.spec import Goal
from tuning.comparison.formatting import join_names
from tuning.comparison.hypervolume import Box
from tuning.comparison.types import FrontPoint
from tuning.outcome import ExperimentOutcome
from tuning.pareto import LossPoint, non_dominated

CHOICE = "tunefleet train-final {experiment} --pick {pick}"


def experiment_front(outcome: ExperimentOutcome) -> tuple[FrontPoint, ...]:
    """Returns the front of all studies together, by validation, the best of the first objective first."""
    goal = outcome.studies[0].goal
    if goal is None:
        return ()
    found = [(study, trial, report) for study in outcome.studies for trial, report in study.front()]
    points = [LossPoint.of(goal, report.metrics) for _, _, report in found]
    front = []
    for position in sorted(non_dominated(points), key=lambda one: points[one].losses):
        study, trial, report = found[position]
        test = next((t for t in study.front_tests if (t.trial, t.epoch) == (trial.id, report.epoch)), None)
        names = trial.proposed(report.epoch)
        front.append(
            FrontPoint(
                strategy=study.strategy,
                seed=study.seed,
                trial=trial.id,
                number=trial.number,
                epoch=report.epoch,
                validation={name: report.metrics[name] for name in goal.metrics},
                test=None if test is None else {name: test.metrics[name] for name in goal.metrics},
                params={name: report.params[name] for name in names if name in report.params},
            )
        )
    return tuple(front)


def box_in_words(goal: Goal, box: Box) -> str:
    """Says what the hypervolume is a share of."""

    def corner(losses: Sequence[float]) -> str:
        values = zip(goal.objectives, losses, strict=True)
        return ", ".join(f"{one.metric} {loss if one.mode == 'min' else -loss:.4g}" for one, loss in values)

    return (
        f"Hypervolume: the share that a front dominates of the box from {corner(box.ideal)} (the best on the fronts of "
        f"all searches, by validation) to the reference point {corner(box.reference)} (the worst, and a tenth beyond)."
    )


def front_advice(experiment: str, front: Sequence[FrontPoint], goal: Goal) -> str:
    """Returns the advice to choose from the front, as a sentence or two."""
    if not front:
        bounds = join_names([str(one) for one in goal.constraints]) if goal.constraints else ""
        kept = f" that keeps {bounds}" if bounds else ""
        return f"No configuration to use yet: no trial has a report{kept}."
    if len(front) == 1:
        return f"One configuration is the best in every objective: train it with `{choice(experiment, front[0])}`."
    return (
        f"Choose one of {len(front)} configurations, of which none is better than another in every objective, and "
        f"train it, such as with `{choice(experiment, front[0])}`."
    )


def choice(experiment: str, point: FrontPoint) -> str:
    """Returns the command that trains the configuration of a point."""
    return CHOICE.format(experiment=experiment, pick=point.pick)


def value_cells(point: FrontPoint) -> dict[str, str]:
    """Formats the values of a point by metric: those on validation, in brackets those on test where they may differ."""
    cells = {}
    for name, value in point.validation.items():
        tested = "" if point.test is None or name in COSTS else f" ({point.test[name]:.4g})"
        cells[name] = f"{value:.4g}{tested}"
    return cells
