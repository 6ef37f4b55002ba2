"""How a slot keeps the states of its trials: writes them by need, finds them again, or makes them again.

Making again: from the newest state on the way that still exists, or from the beginning, the lineage is trained once
more, segment by segment, with the values of each. What is on a CPU the same bit for bit then also comes out the same.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.epochs import ROUNDING
from trainables.recipe import Recipe, full, weights
from trainables.shared_memory import SharedMemory, free_memory
from trainables.spec import FineTuneSpec, Params

if TYPE_CHECKING:
    from trainables.slot import Training

logger = logging.getLogger(__name__)

WAIT = 60.0  # seconds for a copy of a state that lies on another node: the driver makes it at once
POLL = 0.05  # seconds


@dataclass(frozen=True)
class Keeping:
    """What the driver tells the slots of a study.

    Without a study folder each state is written beside its recipe, in the folder that Tune takes.
    """

    study: Path | None = None  # the study's folder; its states go to the node's shared memory first
    weights_only: bool = False  # no trial goes on from a state: it needs no moments
    every_epochs: float | None = None  # and yet moments, once in so many epochs
    state_bytes: int = 0  # of one state as far as known before the first

    def moments_due(self, before: float, now: float) -> bool:
        """Whether the state at epoch `now` has moments, if the last one that has is of epoch `before`."""
        if not self.weights_only:
            return True
        every = self.every_epochs
        return every is not None and int(now / every + ROUNDING) > int(before / every + ROUNDING)


BESIDE_THE_RECIPE = Keeping()


class States:
    """Of one slot.

    Args:
        make: builds a Training from params and spec.
    """

    def __init__(self, keeping: Keeping, make: Callable[[Params, FineTuneSpec], Training], spec: FineTuneSpec) -> None:
        self._keeping, self._make, self._spec = keeping, make, spec
        self._largest = keeping.state_bytes
        self._shared = None
        if keeping.study is not None:
            try:
                self._shared = SharedMemory(keeping.study)
            except OSError as error:
                logger.warning("no shared memory on this node (%s): states go straight to the storage path", error)

    def save(self, folder: Path, training: Training, past: Recipe | None, params: Params, epoch: float) -> Recipe:
        """Write the recipe into `folder`, and the state into shared memory if there is room, else beside the recipe."""
        moments = self._keeping.moments_due(past.bases[-1].epoch if past and past.bases else 0.0, epoch)
        shared = self._shared if free_memory() > self._largest else None
        if self._shared is not None and shared is None:
            logger.warning("no room in shared memory: the state at epoch %g goes straight to the storage path", epoch)
        node = _node() if shared else None
        recipe = Recipe.after(past, params, epoch, moments=moments, node=node)

        def write(place: Path) -> None:
            training.save(place, moments=moments)
            self._largest = max(self._largest, sum(file.stat().st_size for file in place.iterdir()))

        if shared is not None:
            shared.put(recipe.state, write)
        else:
            (folder / recipe.state).mkdir()
            write(folder / recipe.state)
        recipe.write(folder)
        return recipe

    def load(self, folder: Path, training: Training) -> Recipe:
        """Let `training` go on from the checkpoint in `folder`, its own or a donor's; the recipe of that."""
        recipe = Recipe.read(folder)
        with tempfile.TemporaryDirectory(prefix="tunefleet-") as scratch:
            place = self._find(recipe, folder) if recipe.moments else None
            place = place or make_again(recipe, folder, self._make, self._spec, Path(scratch), self._shared)
            training.restore(place)
        return recipe

    def _find(self, recipe: Recipe, folder: Path) -> Path | None:
        """The state, here or on the storage path; one on another node is waited for: the driver copies it."""
        until = time.monotonic() + (WAIT if recipe.node and recipe.node in _other_nodes() else 0)
        while True:
            place = locate(recipe.token, folder, self._shared)
            if place is not None or time.monotonic() >= until:
                return place
            time.sleep(POLL)


def locate(token: str, folder: Path, shared: SharedMemory | None) -> Path | None:
    """A state with moments: in this node's memory, in the checkpoint's own `folder`, or in another one of the study."""
    name = full(token)
    if shared is not None and (found := shared.find(name)):
        return found
    return folder / name if (folder / name).is_dir() else None


def make_again(
    recipe: Recipe,
    folder: Path,
    make: Callable[[Params, FineTuneSpec], Training],
    spec: FineTuneSpec,
    scratch: Path,
    shared: SharedMemory | None = None,
) -> Path:
    """The state of `recipe`, trained once more, in a folder below `scratch` (or where a state of that epoch was found).

    Args:
        recipe: its segments are trained from the newest base that still exists.
        folder: of the checkpoint, below its trial's folder, below its study's.
    """
    begun, place = 0.0, None
    for base in reversed(recipe.bases):
        elsewhere = next(folder.parent.parent.glob(f"*/*/{full(base.token)}"), None)
        if found := locate(base.token, folder, shared) or elsewhere:
            begun, place = base.epoch, found
            break
    logger.warning("the state of %s is made again from epoch %g to %g", folder, begun, recipe.epoch)
    epoch = begun
    for number, segment in enumerate(s for s in recipe.segments if s.until > begun + ROUNDING):
        training = make(segment.params, spec)
        if place is not None:
            training.restore(place)
        while epoch < segment.until - ROUNDING:
            epoch = training.advance(spec.report_every_epochs).epoch
        place = scratch / str(number)
        place.mkdir()
        training.save(place, moments=True)
        del training  # before the next is built: a device may hold one model only
    assert place is not None  # a checkpoint is of an epoch after the first report
    return place


def scorable(folder: Path, make: Callable[[Params, FineTuneSpec], Training], spec: FineTuneSpec, scratch: Path) -> Path:
    """The folder of the checkpoint's weights: on the storage path, else made again below `scratch`."""
    recipe = Recipe.read(folder)
    for name in (weights(recipe.token), full(recipe.token)):
        if (folder / name).is_dir():
            return folder / name
    return make_again(recipe, folder, make, spec, scratch)


def _node() -> str:
    """Ray's id of this node; empty outside Ray."""
    import ray

    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else ""


def _other_nodes() -> set[str]:
    """The living nodes of the cluster besides this one."""
    import ray

    nodes = ray.nodes() if ray.is_initialized() else []
    return {str(node["NodeID"]) for node in nodes if node["Alive"]} - {_node()}
