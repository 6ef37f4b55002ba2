"""How a slot keeps the states of its trials: writes them by need, finds them again, or makes them again.

Making again: from the newest state on the way that still exists, or from the beginning, the lineage is trained once
more, segment by segment, with the values of each. What is on a CPU the same bit for bit then also comes out the same.
"""

from __future__ import annotations

import logging
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.checksums import DamagedCheckpoint, damage, write_checksums
from trainables.epochs import ROUNDING
from trainables.recipe import MOMENTS, Recipe, full
from trainables.replay import replay
from trainables.shared_memory import SharedMemory, free_memory
from trainables.spec import FineTuneSpec, Params
from trainables.storage import FOLDERS, Storage

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

    study: Path | None = None  # names the study in the nodes' shared memory, where its states go first
    weights_only: bool = False  # no trial goes on from a state: it needs no moments
    every_epochs: float | None = None  # and yet moments, once in so many epochs
    every_seconds: float | None = None  # or when a trial that is to go on has trained so long since it had them last
    state_bytes: int = 0  # of one state as far as known before the first
    storage: Storage = FOLDERS  # where copies of states are found
    left_in: str | None = None  # Tune's folder of a study that is resumed

    def moments_due(self, before: float, now: float, trained: float) -> bool:
        """Whether the state at epoch `now` has moments, if the last one that has is of epoch `before`.

        Args:
            trained: seconds since then; infinity where nothing follows.
        """
        if not self.weights_only:
            return True
        if self.every_seconds is not None:
            return self.every_seconds <= trained < math.inf
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
        self._said: list[str] = []
        self._shared = None
        if keeping.study is not None:
            try:
                self._shared = SharedMemory(keeping.study)
            except OSError as error:
                logger.warning("no shared memory on this node (%s): states go straight to the storage path", error)

    def save(
        self,
        folder: Path,
        training: Training,
        past: Recipe | None,
        params: Params,
        epoch: float,
        result: Mapping[str, Any] | None,
        trained: float = 0.0,
    ) -> Recipe:
        """Write the recipe into `folder`, and the state into shared memory if there is room, else beside the recipe.

        Args:
            result: what Tune was told of it; None: nothing.
            trained: seconds since the last state with moments; infinity: the trial has ended.
        """
        moments = self._keeping.moments_due(past.bases[-1].epoch if past and past.bases else 0.0, epoch, trained)
        shared = self._shared if free_memory() > self._largest else None
        if self._shared is not None and shared is None:
            logger.warning("no room in shared memory: the state at epoch %g goes straight to the storage path", epoch)
        node = _node() if shared else None
        recipe = replace(Recipe.after(past, params, epoch, moments=moments, node=node), result=result)

        def write(place: Path) -> None:
            training.save(place, moments=moments)
            write_checksums(place)
            self._largest = max(self._largest, sum(file.stat().st_size for file in place.iterdir()))

        if shared is not None:
            shared.put(recipe.state, write)
        else:
            (folder / recipe.state).mkdir()
            write(folder / recipe.state)
        recipe.write(folder)
        return recipe

    @property
    def looks(self) -> bool:
        """Whether an earlier driver may have left checkpoints that Tune does not know."""
        return self._keeping.left_in is not None

    def left(self, trial: str, past: Recipe | None, params: Params, epoch: float) -> tuple[Recipe, Path] | None:
        """The checkpoint of `trial` at `epoch`, its next report, with its folder: there if a driver was killed before
        Tune had saved that it exists. One that is damaged is none; its state may be gone: it is not needed to tell what
        it scored, nor where the trial ends with it.

        Args:
            trial: its id, which its folder is called by.
            past: of the checkpoint that it goes on from.
        """
        storage, study = self._keeping.storage, self._keeping.left_in
        for path in storage.checkpoints_of(f"{study}/{trial}"):
            try:
                recipe = storage.recipe(path)
            except DamagedCheckpoint as error:
                self._said.append(f"{error}: not used")
                continue
            if recipe is not None and recipe.result is not None and recipe.follows(past, params, epoch):
                return recipe, Path(path)
        return None

    def load(self, recipe: Recipe, folder: Path, training: Training) -> None:
        """Let `training` go on from the checkpoint of `recipe` in `folder`, its own or a donor's."""
        with tempfile.TemporaryDirectory(prefix="tunefleet-") as scratch:
            place = self._find(recipe, folder, Path(scratch)) if recipe.moments else None
            if place is None:
                apart = Path(scratch, "again")  # a damaged copy may have been downloaded beside it
                apart.mkdir()
                storage = self._keeping.storage
                place = make_again(recipe, folder, self._make, self._spec, apart, storage, self._shared, self._said)
            training.restore(place)

    def take_said(self) -> list[str]:
        """What users have to know of the states that were loaded since this was asked last, each once."""
        said, self._said = self._said, []
        return list(dict.fromkeys(said))

    def _find(self, recipe: Recipe, folder: Path, scratch: Path) -> Path | None:
        """The state, here or on the storage path; one on another node is waited for: the driver copies it. None also if
        it is damaged."""
        until = time.monotonic() + WAIT
        while True:
            elsewhere = recipe.node in _other_nodes()  # asked anew: that node may be lost meanwhile
            there = False
            for place in copies(recipe.token, folder, scratch, self._keeping.storage, self._shared):
                there = True
                if (why := damage(place)) is None:
                    return place
                self._said.append(f"{why}: not used")
            if there or not elsewhere or time.monotonic() >= until:
                return None
            time.sleep(POLL)


def in_memory(token: str, shared: SharedMemory | None) -> Path | None:
    """A state with moments in this node's memory."""
    return None if shared is None else shared.find(full(token))


def copies(
    token: str, folder: Path, scratch: Path, storage: Storage, shared: SharedMemory | None, *, anywhere: bool = False
) -> Iterator[Path]:
    """The state in this node's memory, then on the storage; as `Storage.find`."""
    if (place := in_memory(token, shared)) is not None:
        yield place
    if (place := storage.find(token, folder, scratch, anywhere=anywhere)) is not None:
        yield place


def make_again(
    recipe: Recipe,
    folder: Path,
    make: Callable[[Params, FineTuneSpec], Training],
    spec: FineTuneSpec,
    scratch: Path,
    storage: Storage = FOLDERS,
    shared: SharedMemory | None = None,
    said: list[str] | None = None,
) -> Path:
    """The state of `recipe`, trained once more, in a folder below `scratch` (or where a state of that epoch was found).

    Args:
        recipe: its segments are trained from the newest base that still exists and is whole.
        folder: of the checkpoint, below its trial's folder, below its study's.
        said: which states were found damaged; those found here are added, and from where the state is made again. That
            is only logged where none is.
    """
    begun, place, said = 0.0, None, [] if said is None else said
    for base in reversed(recipe.bases):
        for found in copies(base.token, folder, scratch, storage, shared, anywhere=True):
            if (why := damage(found)) is None:
                begun, place = base.epoch, found
                break
            said.append(f"{why}: not used")
        if place is not None:
            break
    again = f"the state of {folder} is made again from epoch {begun:g} to {recipe.epoch:g}"
    logger.warning(again)
    if said:
        said.append(again)
    if place is not None and begun > recipe.epoch - ROUNDING:
        return place
    training, _ = replay(recipe.segments, make, spec, scratch, begun=begun, place=place)
    made = scratch / "made-again"
    made.mkdir()
    training.save(made, moments=True)
    return made


def scorable(
    path: str,
    storage: Storage,
    make: Callable[[Params, FineTuneSpec], Training],
    spec: FineTuneSpec,
    scratch: Path,
    said: list[str] | None = None,
) -> Path:
    """A folder with the weights of the checkpoint `path`: of a copy, else made again below `scratch`.

    Args:
        said: as `make_again`.

    Raises:
        FileNotFoundError: there is no such checkpoint.
    """
    recipe = storage.recipe(path)
    if recipe is None:
        raise FileNotFoundError(f"{path} holds no checkpoint")
    said = [] if said is None else said
    if (place := storage.scorable(path, recipe, scratch)) is not None:
        if (why := damage(place, optional=[MOMENTS])) is None:
            return place
        said.append(f"{why}: not used")
    apart = scratch / "again"
    apart.mkdir()
    return make_again(recipe, Path(path), make, spec, apart, storage, said=said)


def _node() -> str:
    """Ray's id of this node; empty outside Ray."""
    import ray

    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else ""


def _other_nodes() -> set[str]:
    """The living nodes of the cluster besides this one."""
    import ray

    nodes = ray.nodes() if ray.is_initialized() else []
    return {str(node["NodeID"]) for node in nodes if node["Alive"]} - {_node()}
