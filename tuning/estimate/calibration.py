"""Measures the costs of an experiment's trials: about a minute on the cluster, in processes as trials have them.

As many jobs run beside each other as a node has slots, since trials that share a machine slow each other down. Each
measures the lightest and the heaviest configuration, every other one of them in the opposite order. Nothing is
recorded.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from cluster.storage import is_uri
from trainables.calibration import Calibration, TrialPace, calibrate
from trainables.lookup import is_training
from trainables.machine import clock
from trainables.spec import FineTuneSpec
from trainables.worker.job_slot import JobCall
from trainables.worker.team import workers_for
from tuning.estimate.costs import FORMULA, TrainingCosts, mean_pace
from tuning.estimate.extremes import extremes
from tuning.estimate.known import formula_costs
from tuning.spec.models import ExperimentSpec

if TYPE_CHECKING:
    from cluster.session import Session

SECONDS = 14.0  # for each of the two configurations
MOST_JOBS = 16  # beside each other: on larger nodes the device is busy all the same


class Measured(NamedTuple):
    """A cluster's slots, and the costs of an experiment's trials there."""

    slots: int  # trials that it runs at a time
    devices_per_trial: float
    device: str  # "GPU" or "CPU core"
    costs: TrainingCosts | None  # None: of a function, which reports by itself, no piece can be measured


def measure(spec: ExperimentSpec, say: Callable[[str], None]) -> Measured:
    """Join or start the cluster of `spec`, and measure its trials there.

    Args:
        say: called with a line when something takes a while.

    Raises:
        ClusterError, InputError: the cluster, the data, the model or the Trainer cannot be used; as in a run.
        Exception: what a training raised.
    """
    from tuning.selection.work_session import ray_session

    with _without_run_folder(spec) as apart:
        begun = clock.monotonic()
        with ray_session(apart) as joined:
            in_ray = clock.monotonic()
            session, trained = _prepared(spec, joined, say)
            prepared = clock.monotonic()
            calibrations, started = _calibrations(trained, session, say)
            ended = clock.monotonic()
        left = clock.monotonic() - ended
    shown = (session.slots, session.devices_per_trial, session.device)
    ray, data = in_ray - begun + left, prepared - in_ray
    if spec.trainable == FORMULA:
        return Measured(*shown, replace(formula_costs(spec), ray=ray, data=data, start=started, assumed=""))
    if not is_training(spec.trainable):
        return Measured(*shown, None)
    lightest, heaviest = _paces(spec, calibrations)
    source = f"measured now, {len(calibrations)} at a time, on {lightest.device or 'this machine'}"
    source += f" in {lightest.precision}" if lightest.precision else ""
    return Measured(*shown, TrainingCosts(lightest, heaviest, source, len(calibrations), ray, data, started))


def _prepared(spec: ExperimentSpec, session: Session, say: Callable[[str], None]) -> tuple[Session, ExperimentSpec]:
    """Do what a run does before its first trial; returns Ray as trials share it, and the spec as they are given it."""
    from tuning.study.data_check import check_data
    from tuning.study.packing import pack_session
    from tuning.study.precision import decide_precision
    from tuning.study.trainer_check import require_trainer

    if (precision := decide_precision(spec, session)) is not None:
        spec = spec.model_copy(update={"precision": precision.precision})
    check_data(spec, session, say)
    require_trainer(spec, session, say)
    session = pack_session(spec, session, [_most_trials(spec)], progress=False)
    say(session.describe())
    return session, spec


def _calibrations(
    spec: ExperimentSpec, session: Session, say: Callable[[str], None]
) -> tuple[list[Calibration], float]:
    """Return what the processes have measured, and the seconds until the first of them was up."""
    from tuning.selection.training_jobs import JobResult, TrainingJob, run_jobs
    from tuning.tune_compat.tune_run import slot_environment

    ends = extremes(spec) if is_training(spec.trainable) and spec.trainable != FORMULA else ()
    on_node = max(node.holds(session.resources) for node in session.nodes)
    count = max(1, min(on_node, session.slots, MOST_JOBS))
    if ends:
        say(f"measuring the lightest and the heaviest trial, {count} at a time")
    jobs = []
    for number in range(count):
        order = ends if number % 2 == 0 else ends[::-1]
        call = JobCall(f"calibration {number + 1}", calibrate, (order, _timed_spec(spec), SECONDS))
        jobs.append(TrainingJob(number, call))
    found: list[Calibration] = []

    def receive(job: JobResult[int]) -> None:
        found.append(job.result())

    asked = clock.time()
    session.warm_up(count, slot_environment(), workers_for(spec.trainable, session.resources.gpus))
    run_jobs(jobs, spec, session, receive, called="calibrations")
    return found, max(0.0, min(one.began for one in found) - asked)


def _timed_spec(spec: ExperimentSpec) -> FineTuneSpec:
    """Return the spec of a trial without costs to measure, which would wrap what is timed."""
    unmeasured: dict[str, Any] = {
        "measure": (),
        "objective": None,
        "objectives": (),
        "constraints": (),
        "scalarisation": {},
    }
    return spec.trial_spec(spec.seeds[0]).model_copy(update=unmeasured)


def _paces(spec: ExperimentSpec, calibrations: list[Calibration]) -> tuple[TrialPace, TrialPace]:
    """Return the paces of the lightest and the heaviest configuration, each the mean over the processes.

    The first trial of a process is slower to build and to begin, as it is in a run: that is counted apart.
    """
    cold, warm = ([one.paces[place] for one in calibrations] for place in (0, 1))
    found = []
    for params in extremes(spec):
        own = [pace for pace in warm if pace.params == params] or warm
        mean = mean_pace([pace for pace in (*cold, *warm) if pace.params == params])
        found.append(mean._replace(build=statistics.fmean(pace.build for pace in own)))
    first = max(pace.first + max(0.0, pace.build - found[0].build) for pace in cold)
    return found[0]._replace(first=first), found[1]._replace(first=first)


def _most_trials(spec: ExperimentSpec) -> int:
    planned = [strategy.planned_trials(spec.space_of(strategy)) for strategy in spec.strategies]
    return max(1000 if trials is None else trials for trials in planned)


@contextlib.contextmanager
def _without_run_folder(spec: ExperimentSpec) -> Iterator[ExperimentSpec]:
    """Yield the spec with a run folder of its own, which is removed; on a cluster it lies where the real one will."""
    if spec.cluster.address is None or is_uri(spec.cluster.storage):
        with TemporaryDirectory(prefix="tunefleet-") as folder:
            cluster = spec.cluster if spec.cluster.address else spec.cluster.model_copy(update={"storage": folder})
            yield spec.model_copy(update={"cluster": cluster})
        return
    storage = Path(spec.cluster.storage).expanduser().absolute()
    made = not storage.exists()
    storage.mkdir(parents=True, exist_ok=True)
    try:
        with TemporaryDirectory(prefix="estimate-", dir=storage) as folder:
            yield spec.model_copy(update={"name": Path(folder).name})
    finally:
        if made:
            with contextlib.suppress(OSError):
                storage.rmdir()
