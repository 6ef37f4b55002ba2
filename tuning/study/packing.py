"""`cluster.gpus_per_trial: auto`: measure the heaviest trial of an experiment on its devices, then pack them.

The trial that is measured has the largest sizes that any strategy may propose, since every trial gets the same share.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cluster.capacity import ClusterError
from cluster.gpu.packing import declared_packing, pack_trials
from trainables.spec import Params, Value
from tuning.spec.models import ExperimentSpec

if TYPE_CHECKING:
    from cluster.session import Session
    from trainables.finetune.footprint import Footprint

# What decides how much memory and computation a step takes; `model.<key>` besides.
SIZES = ("per_device_train_batch_size", "gradient_accumulation_steps", "data.max_length", "optim")
SIZES_BY_PRESENCE = ("label_smoothing_factor", "max_grad_norm")  # 0 leaves the computation out
STATES = ("sgd", "adafactor", "adamw_torch", "adamw_torch_fused")  # least to most memory per weight
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
            print(f"{spec.name}: measuring one trial on a GPU, to see how many may share it", flush=True)
        footprints = _footprints(spec, session)
        most = min(max(trials), session.max_concurrent or max(trials))
        packing = pack_trials(footprints, session.nodes, cpus_per_trial=resources.cpus, trials=most)
        packing = replace(packing, measured=tuple(footprint._asdict() for footprint in footprints))
        return session.packed(packing, replace(resources, gpus=packing.share))
    if resources.gpus < 1:
        return session.packed(declared_packing(resources), resources)
    return session


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
        remote.options(resources={f"accelerator_type:{kind}": 0.001}).remote(params, spec.trial_spec(spec.seeds[0]))
        for kind in sorted({node.accelerator for node in session.nodes if node.accelerator})
    ]
    try:
        footprints: list[Footprint] = ray.get(tasks, timeout=MEASURED_SECONDS)
    except ray.exceptions.GetTimeoutError as error:
        for task in tasks:
            ray.cancel(task, force=True)
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
    return footprints
