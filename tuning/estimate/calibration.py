"""Measures the costs of an experiment's trials: about a minute on the cluster, in processes as trials have them.

As many jobs run beside each other as a node has slots, since trials that share a machine slow each other down. Each
measures the lightest and the heaviest configuration, every other one of them in the opposite order. Nothing is
recorded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from cluster.storage import is_uri
from trainables.calibration import Calibration, TrialPace, calibrate
from trainables.lookup import is_training
from trainables.machine import clock
from trainables.spec import Params
from trainables.worker.job_slot import JobCall
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
    from tuning.study.data_check import check_data
    from tuning.study.packing import pack_session
    from tuning.study.trainer_check import require_trainer

    with _without_run_folder(spec) as apart:
        begun = clock.monotonic()
        with ray_session(apart) as joined_session:
            joined = clock.monotonic()
            check_data(spec, joined_session, say)
            read = clock.monotonic()
            require_trainer(spec, joined_session, say)
            session = pack_session(spec, joined_session, [_most_trials(spec)], progress=False)
            say(session.describe())
            calibrations, started = _calibrations(spec, session, say)
            ended = clock.monotonic()
        left = clock.monotonic() - ended
        shown = (session.slots, session.devices_per_trial, session.device)
        times = {"ray": joined - begun + left, "data": read - joined, "start": started}
        if spec.trainable == FORMULA:
            return Measured(*shown, replace(formula_costs(spec), **times, assumed=""))
        if not is_training(spec.trainable):
            return Measured(*shown, None)
        lightest, heaviest = _paces(spec, calibrations)
        source = f"measured now, {len(calibrations)} at a time, on {lightest.device or 'this machine'}"
        return Measured(*shown, TrainingCosts(lightest, heaviest, source, len(calibrations), **times))


def _calibrations(
    spec: ExperimentSpec, session: Session, say: Callable[[str], None]
) -> tuple[list[Calibration], float]:
    """Return what the processes have measured, and the seconds until the first of them was up."""
    from tuning.selection.training_jobs import JobResult, TrainingJob, run_jobs

    ends: tuple[Params, ...] = extremes(spec) if is_training(spec.trainable) and spec.trainable != FORMULA else ()
    ends = ends[:1] if len(ends) == 2 and ends[0] == ends[1] else ends
    on_node = max(node.holds(session.resources) for node in session.nodes)
    count = max(1, min(on_node, session.slots, MOST_JOBS))
    if ends:
        say(f"measuring {'two configurations' if len(ends) == 2 else 'one configuration'}, {count} at a time")
    jobs = []
    for number in range(count):
        order = ends if number % 2 == 0 else ends[::-1]
        call = JobCall(f"calibration {number + 1}", calibrate, (order, spec.trial_spec(spec.seeds[0]), SECONDS))
        jobs.append(TrainingJob(number, call))
    found: list[Calibration] = []

    def receive(job: JobResult[int]) -> None:
        found.append(job.result())

    asked = clock.time()
    run_jobs(jobs, spec, session, receive, called="calibrations")
    return found, max(0.0, min(one.began for one in found) - asked)


def _paces(spec: ExperimentSpec, calibrations: list[Calibration]) -> tuple[TrialPace, TrialPace]:
    """Return the paces of the lightest and the heaviest configuration, each the mean over the processes."""
    means = [
        mean_pace([pace for one in calibrations for pace in one.paces if pace.params == params])
        for params in extremes(spec)
    ]
    first = max(pace.first for one in calibrations for pace in one.paces[:1])
    lightest, heaviest = (pace._replace(first=first) for pace in means)
    return lightest, heaviest


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
