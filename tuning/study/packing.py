"""`cluster.gpus_per_trial: auto`: measure the heaviest trial of an experiment on its devices, then pack them.

The trial that is measured has the largest sizes that any strategy may propose, since every trial gets the same share.
Its memory says how many fit on a device; so many, or fewer, are timed together there, under MPS where that is had.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cluster.capacity import ClusterError
from cluster.gpu.packing import Packing, declared_packing, pack_trials, time_together
from trainables.spec import Params, Value
from tuning.spec.models import ExperimentSpec

if TYPE_CHECKING:
    from cluster.session import Session
    from trainables.finetune.footprint import Footprint

# What decides how much memory and computation a step takes; `model.<key>` besides.
SIZES = ("per_device_train_batch_size", "gradient_accumulation_steps", "data.max_length", "optim")
SIZES_BY_PRESENCE = ("label_smoothing_factor", "max_grad_norm")  # 0 leaves the computation out
STATES = ("sgd", "adafactor", "adamw_torch", "adamw_torch_fused")  # least to most memory per weight
KIND_SHARE = 0.001  # of Ray's resource that a node has for its kind of device
TIMED_SECONDS = 3.0  # for each number of trials
MEASURED_SECONDS = 900.0  # waiting for a free GPU, download of the model and the data, and the measurement


def pack_session(spec: ExperimentSpec, session: Session, trials: Sequence[int], *, progress: bool) -> Session:
    """Return `session` with trials that share GPUs, as declared or as measured for `auto`; itself where none shares.

    Args:
        trials: the number of trials of each study that is to be run.
        progress: print a line when a trial is measured, which may take a minute.

    Raises:
        ClusterError: the trial cannot be measured, or the GPUs take one process each.
    """
    resources = session.resources
    if not trials or session.logical_gpus or resources.gpus == 0:
        return session
    if spec.cluster.gpus_per_trial == "auto":
        if progress:
            print(f"{spec.name}: measuring trials on a GPU, to see how many may share it", flush=True)
        return _measured(spec, session, max(trials))
    if resources.gpus < 1:
        return session.packed(declared_packing(resources), resources)
    return session


def _measured(spec: ExperimentSpec, session: Session, trials: int) -> Session:
    """Return `session` with as many trials on each GPU as fit there and are worth it."""
    resources = session.resources
    footprints = _footprints(spec, session)
    most = min(trials, session.max_concurrent or trials)
    packing = pack_trials(footprints, session.nodes, cpus_per_trial=resources.cpus, trials=most)
    packing = replace(packing, measured=tuple(footprint._asdict() for footprint in footprints))
    if packing.trials_per_gpu == 1:
        return session.packed(packing, replace(resources, gpus=packing.share))
    shared = session.packed(packing, resources)  # under MPS from now on, as the trials will be
    speeds = [time_trials(spec, session, packing.trials_per_gpu, kind) for kind in _kinds(session)]
    timed = packing.as_timed(speeds)
    measured = tuple(
        {**one, "steps_per_second": {str(count): speed for count, speed in found.items()}}
        for one, found in zip(packing.measured, speeds, strict=True)
    )
    how = shared.packing.mps if shared.packing and timed.trials_per_gpu > 1 else ""
    return replace(
        shared, packing=replace(timed, measured=measured, mps=how), resources=replace(resources, gpus=timed.share)
    )


def sharing_record(session: Session) -> dict[str, Value]:
    """Return how the trials of a study shared their GPUs, for its record; {} where none did."""
    packing = session.packing
    if packing is None:
        return {}
    return {
        "trials_per_gpu": packing.trials_per_gpu,
        "gpu_sharing": packing.describe(),
        "gpu_footprints": json.dumps(packing.measured),
    }


def heaviest(spec: ExperimentSpec) -> dict[str, Value]:
    """Return the params that take most of a device, over the spaces of all strategies, by name."""
    stated: dict[str, list[Value]] = {}
    for strategy in spec.strategies:
        for name, dimension in spec.space_of(strategy).items():
            if name in SIZES + SIZES_BY_PRESENCE or name.startswith("model."):
                stated.setdefault(name, []).extend(value for _, value in dimension.stated())
    return {name: _heaviest(name, values) for name, values in stated.items()}


def _heaviest(name: str, values: Iterable[Value]) -> Value:
    """Return the upper end; of values without an order the first one."""
    values = list(values)
    if name == "optim":
        return max(values, key=lambda value: STATES.index(str(value)))
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if not numbers:
        return values[0]
    # From the second batch on gradients are there beside the activations; a third one changes nothing.
    return min(max(numbers), 2) if name == "gradient_accumulation_steps" else max(numbers)


def _footprints(spec: ExperimentSpec, session: Session) -> list[Footprint]:
    """Measure one trial on a device of each kind, side by side, before any trial starts."""
    import ray

    from trainables.finetune.footprint import measure_footprint

    params: Params = heaviest(spec)
    remote = ray.remote(num_gpus=1, num_cpus=session.resources.cpus, max_retries=0)(measure_footprint)
    tasks = [
        remote.options(resources={_kind_resource(kind): KIND_SHARE}).remote(params, spec.trial_spec(spec.seeds[0]))
        for kind in _kinds(session)
    ]
    try:
        with _refusals(params):
            footprints: list[Footprint] = ray.get(tasks, timeout=MEASURED_SECONDS)
    except ClusterError:
        for task in tasks:
            ray.cancel(task, force=True)
        raise
    return footprints


def time_trials(spec: ExperimentSpec, session: Session, most: int, kind: str) -> dict[int, float]:
    """Time more and more of the heaviest trials together on one GPU of that kind, at most `most`.

    Return:
        Optimizer steps per second of all of them, by their number.

    Raises:
        ClusterError: a trial fails, or no GPU is free in time.
    """
    import ray
    from ray.util.placement_group import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    from trainables.finetune.footprint import TimedTrial

    params: Params = heaviest(spec)
    held = {"CPU": session.resources.cpus, "GPU": Packing(most, {}).share, _kind_resource(kind): KIND_SHARE}
    group = placement_group([held] * most, strategy="STRICT_PACK")
    actor = ray.remote(num_cpus=held["CPU"], num_gpus=held["GPU"], max_restarts=0)(TimedTrial)
    actors: list[Any] = []

    def speed_of(count: int) -> float:
        for place in range(len(actors), count):
            there = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=place)
            actors.append(actor.options(scheduling_strategy=there).remote(params, spec.trial_spec(spec.seeds[0])))
        ray.get([one.steps_per_second.remote(0.0) for one in actors], timeout=MEASURED_SECONDS)  # all are built
        timed = [one.steps_per_second.remote(TIMED_SECONDS) for one in actors]
        return float(sum(ray.get(timed, timeout=MEASURED_SECONDS)))

    try:
        with _refusals(params):
            ray.get(group.ready(), timeout=MEASURED_SECONDS)
            return time_together(most, speed_of)
    finally:
        for one in actors:
            ray.kill(one)
        remove_placement_group(group)


def _kinds(session: Session) -> list[str]:
    return sorted({node.accelerator for node in session.nodes if node.accelerator})


def _kind_resource(kind: str) -> str:
    return f"accelerator_type:{kind}"


@contextlib.contextmanager
def _refusals(params: Params) -> Iterator[None]:
    """Raise what Ray tells of a measurement that failed as a `ClusterError`."""
    import ray

    try:
        yield
    except ray.exceptions.GetTimeoutError as error:
        raise ClusterError(
            f"cluster.gpus_per_trial: auto, but no trial could be measured within {MEASURED_SECONDS:g} s: is a GPU "
            "free (`ray status`)? Set it to a fraction or 1 by hand, or start again when one is."
        ) from error
    except ray.exceptions.RayError as error:
        raise ClusterError(
            f"cluster.gpus_per_trial: auto, but the trial that was to be measured, with {dict(params)}, failed: "
            f"{getattr(error, 'cause', None) or error}. If it is too large for the device, lower these; else set the "
            "share by hand."
        ) from error
