"""Says what an experiment will take: the way in, for the command line and for Python.

The first line of a run is in `expectation.py`, which needs no Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from trainables.errors import InputError
from trainables.lookup import trainable_kind
from trainables.models.files import weight_bytes
from trainables.spec import display_name
from trainables.wording import counted
from tuning.checkpoints.storage_needs import experiment_needs
from tuning.earlier_trials import with_earlier_trials
from tuning.estimate.arithmetic import LEAST_DRIVER, bounds, most_reports
from tuning.estimate.calibration import Measured, measure
from tuning.estimate.costs import FORMULA, TrainingCosts
from tuning.estimate.expectation import held_without_ray
from tuning.estimate.known import known_costs, save_estimate
from tuning.estimate.types import Expected, ExperimentEstimate, SlotsEstimate
from tuning.outcome import ExperimentOutcome, TrialState
from tuning.report.planned import slots_here
from tuning.spec.models import ExperimentSpec
from tuning.spec.validation.before_run import require_runnable

# Reports of an experiment up to which it is simulated three times, and once: each costs the driver some 30 ms.
MOST_REPORTS_THRICE, MOST_REPORTS = 500, 1500


def estimate_experiment(
    spec: ExperimentSpec,
    *,
    slots: Sequence[int] = (),
    calibrate: bool = True,
    say: Callable[[str], None] = lambda line: None,
) -> ExperimentEstimate:
    """Return what an experiment will take.

    Args:
        spec: of the experiment.
        slots: how many trials run at a time, a column of the estimate for each; (): as many as the cluster of the spec
            holds.
        calibrate: measure a minute of training on that cluster; False: use what is known of earlier runs.
        say: called with a line when something takes a while.

    Raises:
        InputError: `slots` holds no numbers above 0; without a calibration, nothing is known.
        SpecError: an experiment to start from cannot be read, or does not agree.
        ClusterError: the cluster cannot be used.
    """
    for number in slots:
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise InputError("slots", number, "must be a whole number above 0: trials that run at a time", "such as 8")
    require_runnable(spec)
    spec = with_earlier_trials(spec)
    if calibrate:
        measured = measure(spec, say)
    else:
        measured = Measured(_slots_without_ray(spec, slots), *held_without_ray(spec.cluster), known_costs(spec))
        if measured.costs is None:
            raise InputError(
                "--no-calibration",
                "given",
                f"nothing is known of this training: no earlier run in {spec.cluster.storage}, and no estimate",
                "leave it out, and a minute is measured",
            )
    costs = known_costs(spec) if measured.costs is None else measured.costs
    columns = [_column(spec, costs, number, measured.devices_per_trial, say) for number in slots or [measured.slots]]
    estimate = ExperimentEstimate(
        experiment=spec.name,
        strategies=len(spec.strategies),
        seeds=len(spec.seeds),
        device=measured.device,
        source="not known" if costs is None else costs.source,
        columns=tuple(columns),
        trial_memory=None if costs is None else costs.heaviest.memory or None,
        trial_device_memory=None if costs is None else costs.heaviest.device_memory or None,
        currency=spec.budget.price.currency if spec.budget.price else "",
        certain=_certain(spec),
        ranges=_ranges(spec, costs, columns),
    )
    if calibrate and costs is not None:
        save_estimate(spec, estimate, costs)
    return estimate


def _column(
    spec: ExperimentSpec, costs: TrainingCosts | None, slots: int, devices: float, say: Callable[[str], None]
) -> SlotsEstimate:
    """Return what the experiment takes on so many slots."""
    column = bounds(spec, costs, slots, devices)
    if costs is not None and most_reports(spec, column) <= MOST_REPORTS:
        say(f"simulating the experiment with {counted(slots, 'trial')} at a time")
        column = _simulated(spec, costs, slots, devices, thrice=most_reports(spec, column) <= MOST_REPORTS_THRICE)
    needs = experiment_needs(spec, _shapes(spec), slots)
    price = spec.budget.price.price if spec.budget.price else None
    money = None if price is None or column.device_seconds is None else column.device_seconds.scaled(price.of(1.0))
    memory = None if costs is None or not costs.heaviest.memory else costs.memory(slots)
    checkpoints = 0 if spec.trainable == FORMULA else needs.storage
    disk = None if checkpoints is None else checkpoints + needs.records
    return SlotsEstimate(**{**vars(column), "memory": memory, "disk": disk, "money": money})


def _shapes(spec: ExperimentSpec) -> list[Any]:
    return [strategy.shape(spec.space_of(strategy)) for strategy in spec.strategies for _ in spec.seeds]


def _simulated(
    spec: ExperimentSpec, costs: TrainingCosts, slots: int, devices: float, *, thrice: bool
) -> SlotsEstimate:
    """Return what runs in virtual time take: at the pace that was measured and, with `thrice`, faster and slower.

    Without, what one run takes is stretched by as much, unless a budget of time decides.
    """
    from tuning.estimate.simulation import simulate

    uncertain = 0.0 if spec.trainable == FORMULA else costs.uncertainty
    factors = (1.0, 1 - uncertain, 1 + uncertain) if uncertain and thrice else (1.0,)
    timed = spec.budget.limit is not None and spec.budget.limit.unit != "epochs"
    stretch = NO_RANGE if thrice or timed else Expected(1 - uncertain, 1.0, 1 + uncertain)
    runs = [simulate(spec, costs, slots, devices, factor=one, luck=luck) for luck, one in enumerate(factors)]
    besides = costs.ray + costs.data + LEAST_DRIVER
    trials, stopped, epochs, held = (_among(figure(run.outcome) for run in runs) for figure in FIGURES)
    steps = [_steps_of(run.outcome, costs) for run in runs]
    return SlotsEstimate(
        slots=slots,
        simulated=True,
        trials=trials,
        stopped=stopped,
        epochs=epochs,
        steps=None if None in steps else _among(number for number in steps if number is not None),
        device_seconds=held.times(stretch),
        wall_seconds=_among(run.seconds + besides for run in runs).times(stretch),
    )


def _among(values: Iterable[float]) -> Expected:
    likely, *others = values
    return Expected.among(likely, others)


NO_RANGE = Expected(1.0, 1.0, 1.0)
FIGURES: tuple[Callable[[ExperimentOutcome], float], ...] = (
    lambda outcome: sum(len(study.trials) for study in outcome.studies),
    lambda outcome: sum(study.count(TrialState.STOPPED) for study in outcome.studies),
    lambda outcome: sum(study.epochs_trained for study in outcome.studies),
    lambda outcome: sum(
        study.device_seconds + sum(one.device_seconds for one in study.confirmations) for study in outcome.studies
    ),
)


def _steps_of(outcome: ExperimentOutcome, costs: TrainingCosts) -> float | None:
    """Return the optimizer steps of all trials; None if they are not known."""
    trials = [trial for study in outcome.studies for trial in study.trials]
    steps = [costs.steps(trial.params, trial.epochs_trained) for trial in trials]
    known = [number for number in steps if number is not None]
    return sum(known) if len(known) == len(steps) else None


def _slots_without_ray(spec: ExperimentSpec, slots: Sequence[int]) -> int:
    """Return how many trials this machine runs at a time.

    Raises:
        InputError: the cluster is elsewhere, and nobody has said how many it holds.
    """
    here = slots_here(spec.cluster)
    if here is None and not slots:
        rule = "is not joined without a calibration, so how many trials it runs at a time is not known"
        raise InputError("cluster.address", spec.cluster.address, rule, "give them, such as --slots 8,64")
    return here or slots[0]


def _certain(spec: ExperimentSpec) -> tuple[str, ...]:
    """Return sentences about what is known."""
    found = []
    limit = spec.budget.limit
    if limit is not None:
        found.append(f"each study ends at {limit.describe()} at the latest")
    if not any(strategy.decides_on_the_way or not _exact(spec, strategy) for strategy in spec.strategies):
        found.append("all trials train to their full epochs, so their number and that of the epochs are certain")
    elif all(strategy.planned_trials(spec.space_of(strategy)) is not None for strategy in spec.strategies):
        found.append("the number of trials is planned; how many train to their end depends on their scores")
    found.append("disk is an upper bound")
    return tuple(found)


def _exact(spec: ExperimentSpec, strategy: Any) -> bool:
    return strategy.planned_epochs(spec.space_of(strategy), spec.epochs) is not None


def _ranges(spec: ExperimentSpec, costs: TrainingCosts | None, columns: Sequence[SlotsEstimate]) -> tuple[str, ...]:
    """Return sentences about what is a range, or not known, and why."""
    found = []
    if costs is None:
        found.append(
            f"how long a trial of {display_name(spec.trainable)} takes is not known: it reports by itself, so no piece "
            "of it can be measured; after a first run an estimate knows it"
        )
    elif spec.trainable != FORMULA:
        found.append(
            f"seconds: an epoch may take {100 * costs.uncertainty:.0f} % more or less than measured; failures, and "
            "other work on these machines, are not in it"
        )
    if costs is not None and costs.heaviest.memory:
        found.append(
            "memory: what the heaviest trials held while they were measured; with more lengths of text it grows"
        )
    if any(column.simulated for column in columns) and any(not _exact(spec, one) for one in spec.strategies):
        found.append(
            "trials that are stopped early, or go on from others: learning curves are drawn at random, with ranks that "
            "mostly stay"
        )
    if costs is not None and any(not column.simulated for column in columns):
        found.append(
            f"bounds by arithmetic: a run in virtual time, which costs 30 ms for each report, is made for at most "
            f"{MOST_REPORTS:,} of them"
        )
    if costs is not None and any(costs.slots and column.slots != costs.slots for column in columns):
        found.append(
            f"measured with {counted(costs.slots, 'trial')} at a time: more slots are taken to be of the same kind"
        )
    if costs is not None and costs.assumed:
        found.append(f"not measured, a usual value: {costs.assumed}")
    if spec.until is not None:
        found.append("until: decided adds seeds, each of which takes as much again as one of these")
    if spec.trainable == "finetune" and weight_bytes(spec.model, spec.revision) is None:
        found.append("disk: the size of the model is not known until it is loaded")
    elif spec.own and trainable_kind(spec.trainable) != "function":
        found.append("disk: the size of your own model's checkpoints is not known")
    return tuple(found)
