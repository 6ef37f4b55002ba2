"""How many bytes a run takes at most, in memory and on the storage path; refused before anything starts if they are not
there.

A state without moments is the model's weights in float32; with them it is three times that (Adam's two moments; the
other optimizers keep less).
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from cluster.capacity import ClusterError
from cluster.storage import is_uri
from trainables.checkpoints.manager import FULL_STATE_FACTOR
from trainables.machine.shared_memory import free_memory
from trainables.models.files import weight_bytes

if TYPE_CHECKING:
    from tuning.spec.models import CheckpointSpec, ConfirmSpec, ExperimentSpec
    from tuning.strategies import PlanShape

SPARED = 0.5  # of the free storage that states may take which nobody has asked for
# Bytes on the storage path beside checkpoints: the study store with its log, Tune's own files, and three snapshots of a
# study. Measured at their largest: 0.4 MB for 8 trials with 17 reports, 1.5 MB for 40 with 108, 0.9 MB for 6 with 96.
PER_STUDY, PER_TRIAL, PER_REPORT = 2**19, 2**15, 10_000


class Room(NamedTuple):
    """Bytes at most while the study runs."""

    memory: int  # of all nodes together
    storage: int  # below the study's folder, logs not counted


def room_of(weights: int, plan: PlanShape, slots: int, checkpoint: CheckpointSpec, *, in_memory: bool = True) -> Room:
    """The bound that the keeper of checkpoints keeps to.

    Args:
        weights: bytes of the model's weights in float32.
        in_memory: states go to shared memory first; without it straight to the storage path.
    """
    best = checkpoint.keep_best
    with_moments = not plan.weights_only or checkpoint.every_epochs is not None
    state = weights * FULL_STATE_FACTOR if with_moments else weights
    living = slots if plan.trials is None else plan.trials  # without weights_only they may be paused, not ended
    living = min(living, slots) if plan.weights_only else living
    if not in_memory:
        # What living trials and two snapshots name, what slots are writing (Tune copies from a temporary folder).
        return Room(0, (3 * living + 2 * slots + best) * state)
    if not with_moments:
        # In memory also what each slot has just written, and what is being copied.
        return Room((best + slots + 1) * state, (best + 1) * weights)
    # On storage what the last two snapshots name, and one more; the best, and one more.
    return Room((living + slots + best + 1) * state, (2 * living + 1) * state + (best + 1) * weights)


def settled(spec: ExperimentSpec, weights: int | None, plan: PlanShape, slots: int) -> CheckpointSpec:
    """What `checkpoint.every_epochs: auto` comes to for a study: null, unless memory and storage surely have the room.

    Args:
        weights: as `room_of`; None: unknown.
    """
    checkpoint = spec.checkpoint
    if checkpoint.every_epochs != "auto" or not plan.weights_only:
        return checkpoint
    if weights is not None:
        room, free = room_of(weights, plan, slots, checkpoint), _free(spec)
        if room.memory <= free_memory() and (free is None or room.storage <= free * SPARED):
            return checkpoint
    return checkpoint.model_copy(update={"every_epochs": None})


def fits_memory(weights: int | None, plan: PlanShape, slots: int, checkpoint: CheckpointSpec) -> bool:
    """Whether this node's shared memory can take the whole study; of an unknown size each slot finds out by itself."""
    free = free_memory()
    return free > 0 and (weights is None or room_of(weights, plan, slots, checkpoint).memory <= free)


def records_of(plan: PlanShape, slots: int, epochs: int) -> int:
    """Bytes of what is recorded of a study at most; of one whose budget alone ends it, of its first trials."""
    trials = slots if plan.trials is None else plan.trials
    return PER_STUDY + trials * (PER_TRIAL + epochs * PER_REPORT)


def claimed_room(spec: ExperimentSpec, plans: Sequence[PlanShape], slots: int) -> str:
    """The bound of its checkpoints, for an experiment's header; empty where a trainable of the user's own knows their
    sizes alone: then there must be room for what is recorded.

    Args:
        plans: of the studies that are to be run, one after the other.

    Raises:
        ClusterError: the storage path has not that much room.
    """
    if not plans:
        return ""
    records = sum(records_of(plan, slots, math.ceil(spec.epochs)) for plan in plans)
    weights = weight_bytes(spec.model, spec.revision) if spec.trainable == "finetune" else None
    if weights is None:
        refuse_too_little(spec, records)
        unknown = f"size of {spec.model} unknown until it is loaded: room for checkpoints not checked"
        return f"{unknown}{_without_states(spec, plans, None, slots)}" if spec.trainable == "finetune" else ""
    kept = [settled(spec, weights, plan, slots) for plan in plans]
    fits = [fits_memory(weights, plan, slots, keep) for plan, keep in zip(plans, kept, strict=True)]
    rooms = [room_of(weights, p, slots, k, in_memory=fit) for p, k, fit in zip(plans, kept, fits, strict=True)]
    # One study runs at a time; of those before it the best weights stay.
    best = spec.checkpoint.keep_best * weights
    studies = len(spec.strategies) * len(spec.seeds)
    copies = confirming_copies(spec.confirm, studies, slots)
    confirming = studies * best + copies * weights if copies else 0
    storage = max(max(room.storage for room in rooms) + (len(plans) - 1) * best, confirming)
    refuse_too_little(spec, records + storage)
    memory = max(room.memory for room in rooms)
    straight = "" if all(fits) else f"; too little shared memory ({shown(free_memory())} free) for some: straight there"
    where = spec.cluster.storage if is_uri(spec.cluster.storage) else spec.run_folder
    unsaved = _without_states(spec, plans, weights, slots)
    return f"checkpoints: at most {shown(memory)} of memory and {shown(storage)} in {where}{straight}{unsaved}"


def _without_states(spec: ExperimentSpec, plans: Sequence[PlanShape], weights: int | None, slots: int) -> str:
    """Said where `checkpoint.every_epochs: auto` comes to null."""
    kept = (settled(spec, weights, plan, slots).every_epochs for plan in plans if plan.weights_only)
    if spec.checkpoint.every_epochs != "auto" or all(every is not None for every in kept):
        return ""
    return "; no room is sure for optimizer states: a trial that is cut off begins anew (checkpoint.every_epochs)"


def confirming_copies(confirm: ConfirmSpec | None, studies: int, slots: int) -> int:
    """How many trainings' weights lie in the run folder at most while winners are sought: of each study those of the
    best configuration so far, and of as many unfinished ones as there are slots."""
    if confirm is None:
        return 0
    return min(studies * confirm.top, studies + slots) * confirm.seeds


def refuse_too_little(spec: ExperimentSpec, needed: int) -> None:
    """A bucket always has room.

    Raises:
        ClusterError: the file system of the run folder has less than `needed` bytes free.
    """
    free = _free(spec)
    if free is not None and free < needed:
        raise ClusterError(
            f"cluster.storage: {spec.run_folder} has {shown(free)} free, checkpoints and records of this experiment "
            f"take up to {shown(needed)}. Make room, name another folder (cluster.storage=FOLDER), or search with "
            "fewer trials."
        )


def _free(spec: ExperimentSpec) -> int | None:
    """Bytes where the run folder lies, or will; None: a bucket."""
    if is_uri(spec.cluster.storage):
        return None
    folder = spec.run_folder
    return shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free


def shown(size: int) -> str:
    """A number of bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
