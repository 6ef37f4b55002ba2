"""Bounds the bytes that a run needs in memory and on the storage, and refuses a run if they are not free.

In: the spec, the plans of its studies, the number of slots. Out: an upper bound in bytes, as a line of text. A state
without moments is the model's weights in float32. With moments it is three times that (Adam has two of them; the other
optimizers keep less).
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

FRONT = 10  # checkpoints of a front: an estimate, since all of them stay
SPARED = 0.5  # share of the free storage for states that the user has not asked for
# Bytes on the storage beside checkpoints: the study store with its log, Tune's own files, three snapshots of a study.
# The largest that were measured: 0.4 MB for 8 trials with 17 reports, 1.5 MB for 40 with 108, 0.9 MB for 6 with 96.
PER_STUDY, PER_TRIAL, PER_REPORT = 2**19, 2**15, 10_000


class StorageNeeds(NamedTuple):
    """The most bytes that a study takes while it runs."""

    memory: int  # of all nodes together
    storage: int  # below the study's folder, without logs


def storage_needs(
    weights: int, plan: PlanShape, slots: int, checkpoint: CheckpointSpec, *, in_memory: bool = True
) -> StorageNeeds:
    """Return the bound that the keeper of checkpoints keeps to.

    Args:
        weights: bytes of the model's weights in float32.
        plan: of the study.
        slots: trials that run at the same time.
        checkpoint: of the spec.
        in_memory: True: states go to shared memory first; False: straight to the storage.
    """
    best = checkpoint.keep_best
    with_moments = not plan.weights_only or checkpoint.every_epochs is not None
    state = weights * FULL_STATE_FACTOR if with_moments else weights
    living = slots if plan.trials is None else plan.trials  # without weights_only they may be paused, not ended
    living = min(living, slots) if plan.weights_only else living
    if not in_memory:
        # What living trials and two snapshots name, and what slots are writing (Tune copies from a temporary folder).
        return StorageNeeds(0, (3 * living + 2 * slots + best) * state)
    if not with_moments:
        # In memory also what each slot has just written, and what is being copied.
        return StorageNeeds((best + slots + 1) * state, (best + 1) * weights)
    # On storage what the last two snapshots name, and one more; the best, and one more.
    return StorageNeeds((living + slots + best + 1) * state, (2 * living + 1) * state + (best + 1) * weights)


def resolve_every_epochs(spec: ExperimentSpec, weights: int | None, plan: PlanShape, slots: int) -> CheckpointSpec:
    """Return the checkpoint options of a study with `every_epochs: auto` resolved.

    It becomes null unless memory and storage surely have the room.

    Args:
        weights: as for `storage_needs`; None: unknown.
    """
    checkpoint = spec.checkpoint.model_copy(update={"keep_best": _kept_best(spec)})
    if checkpoint.every_epochs != "auto" or not plan.weights_only:
        return checkpoint
    if weights is not None:
        needs, free = storage_needs(weights, plan, slots, checkpoint), _free(spec)
        if needs.memory <= free_memory() and (free is None or needs.storage <= free * SPARED):
            return checkpoint
    return checkpoint.model_copy(update={"every_epochs": None})


def _kept_best(spec: ExperimentSpec) -> int:
    """The number of a study's best weights that stay."""
    return max(spec.checkpoint.keep_best, FRONT if spec.objectives else 0)


def fits_memory(weights: int | None, plan: PlanShape, slots: int, checkpoint: CheckpointSpec) -> bool:
    """True if this node's shared memory takes the whole study; each slot finds out itself if the size is unknown."""
    free = free_memory()
    return free > 0 and (weights is None or storage_needs(weights, plan, slots, checkpoint).memory <= free)


def record_bytes(plan: PlanShape, slots: int, epochs: int) -> int:
    """Return the most bytes that the record of a study takes; of one that only its budget ends, of its first trials."""
    trials = slots if plan.trials is None else plan.trials
    return PER_STUDY + trials * (PER_TRIAL + epochs * PER_REPORT)


class ExperimentNeeds(NamedTuple):
    """The most bytes that an experiment takes while it runs."""

    records: int  # on the storage: the study store, Tune's files
    storage: int | None = None  # on the storage: checkpoints; None: not known
    memory: int | None = None  # of all nodes together: checkpoints; None: not known
    fits: bool = True  # the shared memory of this node takes the states of every study


def experiment_needs(spec: ExperimentSpec, plans: Sequence[PlanShape], slots: int) -> ExperimentNeeds:
    """Return what an experiment takes of memory and storage; only its records, where the model's size is unknown.

    Args:
        spec: of the experiment.
        plans: of the studies that are to be run.
        slots: trials that run at the same time.
    """
    records = sum(record_bytes(plan, slots, math.ceil(spec.epochs)) for plan in plans)
    weights = weight_bytes(spec.model, spec.revision) if spec.trainable == "finetune" else None
    if weights is None or not plans:
        return ExperimentNeeds(records)
    kept = [resolve_every_epochs(spec, weights, plan, slots) for plan in plans]
    fits = [fits_memory(weights, plan, slots, keep) for plan, keep in zip(plans, kept, strict=True)]
    needs = [storage_needs(weights, p, slots, k, in_memory=fit) for p, k, fit in zip(plans, kept, fits, strict=True)]
    best = _kept_best(spec) * weights
    studies = len(spec.strategies) * len(spec.seeds)
    copies = confirmation_copies(spec.confirm, studies, slots)
    confirming = studies * best + copies * weights if copies else 0
    one_slot = [storage_needs(weights, p, 1, k, in_memory=fit) for p, k, fit in zip(plans, kept, fits, strict=True)]
    # So many studies run at a time, one of them on all slots but theirs; of those before, the best weights stay.
    most = 1 if spec.one_study_at_a_time else min(slots, len(plans))
    storage = _together([one.storage for one in needs], [one.storage for one in one_slot], most)
    memory = _together([one.memory for one in needs], [one.memory for one in one_slot], most)
    return ExperimentNeeds(records, max(storage + (len(plans) - most) * best, confirming), memory, all(fits))


def _together(on_all: Sequence[int], on_one: Sequence[int], most: int) -> int:
    """Return the most bytes that `most` studies take together, given what each takes on all slots and on one."""
    if most == 1:
        return max(on_all)
    rest = max(every - one for every, one in zip(on_all, on_one, strict=True))
    return rest + sum(sorted(on_one, reverse=True)[:most])


def require_storage(spec: ExperimentSpec, plans: Sequence[PlanShape], slots: int) -> str:
    """Check that the storage has room for an experiment; returns the bound of its checkpoints as a line.

    The line is empty for a trainable of the user's own, whose sizes are unknown: only the records must fit then.

    Args:
        spec, plans, slots: as for `experiment_needs`.

    Raises:
        ClusterError: the storage path has not that much room.
    """
    if not plans:
        return ""
    needs = experiment_needs(spec, plans, slots)
    require_free_space(spec, needs.records + (needs.storage or 0))
    if needs.storage is None or needs.memory is None:
        unknown = f"size of {spec.model} unknown until it is loaded: room for checkpoints not checked"
        return f"{unknown}{_no_moments_notice(spec, plans, None, slots)}" if spec.trainable == "finetune" else ""
    straight = (
        ""
        if needs.fits
        else f"; too little shared memory ({format_bytes(free_memory())} free) for some: straight there"
    )
    where = spec.cluster.storage if is_uri(spec.cluster.storage) else spec.run_folder
    unsaved = _no_moments_notice(spec, plans, weight_bytes(spec.model, spec.revision), slots)
    most = f"at most {format_bytes(needs.memory)} of memory and {format_bytes(needs.storage)} in {where}"
    return f"checkpoints: {most}{straight}{unsaved}"


def _no_moments_notice(spec: ExperimentSpec, plans: Sequence[PlanShape], weights: int | None, slots: int) -> str:
    """Return the end of a line that says that `checkpoint.every_epochs: auto` has become null; "" if it has not."""
    kept = (resolve_every_epochs(spec, weights, plan, slots).every_epochs for plan in plans if plan.weights_only)
    if spec.checkpoint.every_epochs != "auto" or all(every is not None for every in kept):
        return ""
    return "; no room is sure for optimizer states: a trial that is cut off begins anew (checkpoint.every_epochs)"


def confirmation_copies(confirm: ConfirmSpec | None, studies: int, slots: int) -> int:
    """Return the most trainings whose weights lie in the run folder at the same time while studies are confirmed.

    Of each study these are the trainings of the best configuration so far; besides, of as many unfinished ones as there
    are slots.
    """
    if confirm is None:
        return 0
    return min(studies * confirm.top, studies + slots) * confirm.seeds


def require_free_space(spec: ExperimentSpec, needed: int) -> None:
    """Check that the storage has `needed` bytes free; a bucket always has.

    Raises:
        ClusterError: the file system of the run folder has less.
    """
    free = _free(spec)
    if free is not None and free < needed:
        raise ClusterError(
            f"cluster.storage: {spec.run_folder} has {format_bytes(free)} free, checkpoints and records of this "
            f"experiment take up to {format_bytes(needed)}. Make room, name another folder (cluster.storage=FOLDER), "
            "or search with fewer trials."
        )


def _free(spec: ExperimentSpec) -> int | None:
    """Return the free bytes where the run folder lies, or will lie; None for a bucket."""
    if is_uri(spec.cluster.storage):
        return None
    folder = spec.run_folder
    return shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free


def format_bytes(size: int) -> str:
    """Format a number of bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
