"""Says in one line what a run will take, at its start: from what is known, without a measurement and without Ray."""

from __future__ import annotations

import time

from cluster.spec import ClusterSpec
from trainables.wording import counted
from tuning.estimate.arithmetic import bounds
from tuning.estimate.known import known_costs, saved_estimate
from tuning.estimate.text import device_hours, one_line
from tuning.report.planned import slots_here
from tuning.spec.models import ExperimentSpec
from tuning.spec.validation import machine

DAY = 86_400.0  # seconds


def expectation(spec: ExperimentSpec) -> str:
    """Return the line: what `tunefleet estimate` has said of this experiment, else bounds from earlier runs."""
    slots = slots_here(spec.cluster)
    if (saved := saved_estimate(spec)) is not None:
        column = next((one for one in saved.estimate.columns if slots in (None, one.slots)), None)
        if column is not None:
            days = int((time.time() - saved.made) // DAY)
            when = f" of {counted(days, 'day')} ago" if days else ""
            return f"expected: {one_line(column, saved.estimate.device)} (by the estimate{when})"
    costs = known_costs(spec)
    if costs is None:
        return (
            "how long it takes is not known: the time left is shown from the first report on; before a run "
            "`tunefleet estimate` measures it"
        )
    held, device = held_without_ray(spec.cluster)
    column = bounds(spec, costs, slots or max(costs.slots, 1), held)
    told = one_line(column, device) if slots is not None else device_hours(column, device)
    return f"expected: {told} (by {costs.source})"


def held_without_ray(cluster: ClusterSpec) -> tuple[float, str]:
    """Return the devices that a trial holds, and what they are, as far as the spec and this machine tell."""
    gpus = cluster.gpus_per_trial
    gpus = 1.0 if gpus == "auto" or (gpus is None and machine.gpus()) else gpus
    return (float(gpus), "GPU") if gpus else (cluster.cpus_per_trial, "CPU core")
