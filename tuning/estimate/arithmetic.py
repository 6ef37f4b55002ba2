"""Bounds what an experiment takes by arithmetic, where nobody lets it run in virtual time.

A study takes at least its work divided by its slots. It takes at most that and one more trial: at its end the last
trial runs alone. A strategy that stops trials early trains each of them to its first report at least, and to its full
epochs at most; members of a population that do not wait for each other train about their full epochs. So the range is
wider than that of a simulation.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

from tuning.budget import Limit
from tuning.estimate.costs import TrainingCosts
from tuning.estimate.types import Expected, SlotsEstimate
from tuning.report.planned import PlannedStrategy
from tuning.spec.models import ExperimentSpec
from tuning.strategies import Strategy

LEAST_DRIVER = 2.0  # seconds that a run takes besides: to check and record, to compare its strategies
NOTHING = Expected(0.0, 0.0, 0.0)


class _Slots(NamedTuple):
    """The slots on which trials run."""

    number: int
    devices: float  # that one trial holds


class _Work(NamedTuple):
    """The work of a study, or of what comes after all of them."""

    trials: Expected | None = NOTHING  # None: not known
    epochs: Expected | None = NOTHING
    device_seconds: Expected = NOTHING
    wall_seconds: Expected = NOTHING


def bounds(spec: ExperimentSpec, costs: TrainingCosts | None, slots: int, devices_per_trial: float) -> SlotsEstimate:
    """Return what an experiment takes, as bounds.

    Args:
        spec: of the experiment.
        costs: of its trials; None: not known, and so are all times.
        slots: trials that run at a time.
        devices_per_trial: what one of them holds.
    """
    held = _Slots(slots, devices_per_trial)
    works = [_of_study(spec, strategy, costs, held) for strategy in spec.strategies for _ in spec.seeds]
    trials, epochs = (_total([getattr(work, name) for work in works]) for name in ("trials", "epochs"))
    stopped = NOTHING if epochs is not None and epochs.low == epochs.high else None
    if costs is None:
        return SlotsEstimate(slots, False, trials, stopped, epochs)
    works.append(_after_the_search(spec, costs, held))
    devices, wall = (_sum([getattr(work, name) for work in works]) for name in ("device_seconds", "wall_seconds"))
    besides = costs.ray + costs.data + costs.start + LEAST_DRIVER
    wall = wall.plus(Expected(besides, besides, besides))
    return SlotsEstimate(slots, False, trials, stopped, epochs, _steps(costs, epochs), devices, wall)


def most_reports(spec: ExperimentSpec, column: SlotsEstimate) -> float:
    """Return how many reports an experiment has at most, by its bounds; infinite if that is not known."""
    if column.epochs is None:
        return math.inf
    trainings = spec.confirm.top * spec.confirm.seeds * len(spec.strategies) * len(spec.seeds) if spec.confirm else 0
    return column.epochs.high / spec.report_every_epochs + trainings


def _steps(costs: TrainingCosts, epochs: Expected | None) -> Expected | None:
    """Return the optimizer steps of so many epochs, with the batches of any trial."""
    if epochs is None:
        return None
    per_epoch = [costs.steps(pace.params, 1.0) for pace in (costs.lightest, costs.heaviest)]
    known = sorted(steps for steps in per_epoch if steps is not None)
    if len(known) < len(per_epoch):
        return None
    return Expected(epochs.low * known[0], epochs.likely * sum(known) / 2, epochs.high * known[1])


def _of_study(spec: ExperimentSpec, strategy: Strategy, costs: TrainingCosts | None, slots: _Slots) -> _Work:
    plan, limit = PlannedStrategy.of(spec, strategy), spec.limit_of(strategy)
    held = slots._replace(number=slots.number if strategy.searches else 1)
    seconds = 0.0 if costs is None else _epoch_seconds(spec, costs)
    most = _most_epochs(plan, limit, seconds, held)
    known = Expected(*([float(plan.trials)] * 3)) if plan.trials is not None else None
    if most is None:
        wall = NOTHING if limit is None else Expected(0.0, *([_seconds_of(limit, held)] * 2))
        return _Work(known, None, wall.scaled(held.number * held.devices), wall)
    trials = plan.trials if plan.trials is not None else max(1, math.ceil(most / spec.epochs))
    least = most if plan.exact else min(most, trials * spec.report_every_epochs)
    at_once = min(held.number, max(1, trials))
    build, uncertain = (0.0, 0.0) if costs is None else (costs.of({}).build, costs.uncertainty)
    low = (least * seconds + trials * build) * (1 - uncertain) / at_once
    tail = spec.epochs * seconds if at_once > 1 else 0.0
    high = ((most * seconds + trials * build) / at_once + tail) * (1 + uncertain)
    wall = Expected(low, (low + high) / 2, high)
    if limit is not None and limit.unit != "epochs":
        wall = Expected(*(min(one, _seconds_of(limit, held)) for one in wall))
    epochs = Expected(least, (least + most) / 2, most)
    return _Work(known or Expected(trials, trials, trials), epochs, wall.scaled(held.number * held.devices), wall)


def _most_epochs(plan: PlannedStrategy, limit: Limit | None, seconds: float, slots: _Slots) -> float | None:
    """Return how many epochs the trials of a study train together at most; None if that is not known."""
    if limit is None or limit.unit == "epochs" or not seconds:
        return plan.epochs
    affordable = _seconds_of(limit, slots) * slots.number / seconds
    return affordable if plan.epochs is None else min(plan.epochs, affordable)


def _seconds_of(limit: Limit, slots: _Slots) -> float:
    """Return the seconds after which a study is ended that holds all of its slots."""
    return limit.amount if limit.unit == "wall_seconds" else limit.amount / (slots.number * slots.devices)


def _epoch_seconds(spec: ExperimentSpec, costs: TrainingCosts) -> float:
    """Return the seconds of an epoch with its evaluations."""
    seconds = costs.of({})
    return seconds.epoch + (seconds.evaluation + seconds.save) / spec.report_every_epochs


def _after_the_search(spec: ExperimentSpec, costs: TrainingCosts, slots: _Slots) -> _Work:
    """Return what confirmations and evaluations on test take."""
    studies, seconds, confirm = len(spec.strategies) * len(spec.seeds), costs.of({}), spec.confirm
    trainings = 0 if confirm is None else studies * confirm.top * confirm.seeds
    each = spec.epochs * _epoch_seconds(spec, costs) + seconds.build
    tests = (studies if confirm is None else studies * confirm.seeds) if spec.test else 0
    test = (seconds.build + seconds.evaluation * costs.test_share) * math.ceil(tests / slots.number)
    wall = math.ceil(trainings / slots.number) * each + test
    spread = Expected(1 - costs.uncertainty, 1.0, 1 + costs.uncertainty)
    return _Work(device_seconds=spread.scaled(trainings * each * slots.devices), wall_seconds=spread.scaled(wall))


def _sum(ranges: list[Expected]) -> Expected:
    return functools.reduce(Expected.plus, ranges)


def _total(ranges: list[Expected | None]) -> Expected | None:
    known = [one for one in ranges if one is not None]
    return _sum(known) if len(known) == len(ranges) else None
