"""How a slot keeps the states of its trials: writes them by need, finds them again, or makes them again.

Making again: from the newest state on the way that still exists, or from the beginning, the lineage is trained once
more, segment by segment, with the values of each. What is on a CPU the same bit for bit then also comes out the same.
"""

from __future__ import annotations

import logging
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.checkpoints.manifest import MOMENTS, CheckpointManifest, full
from trainables.checkpoints.policy import BESIDE_THE_RECIPE, CheckpointPolicy
from trainables.checkpoints.replay import replay
from trainables.checkpoints.storage import FOLDERS, Storage
from trainables.checksums import DamagedCheckpoint, damage, write_checksums
from trainables.epochs import ROUNDING
from trainables.machine.full_disk import is_full_disk, naming_the_disk
from trainables.machine.shared_memory import SharedMemory, free_memory
from trainables.models.files import weight_bytes
from trainables.spec import FineTuneSpec, Params

if TYPE_CHECKING:
    from trainables.training import Training

__all__ = ["BESIDE_THE_RECIPE", "CheckpointManager", "make_again", "scorable"]

logger = logging.getLogger(__name__)

WAIT = 60.0  # seconds for a copy of a state that lies on another node: the driver makes it at once
POLL = 0.05  # seconds
WITH_MOMENTS = 3  # a state with moments against one without: Adam keeps two numbers per weight


def other_nodes() -> set[str]:
    """Ray's ids of the living nodes of the cluster besides this one; none outside Ray."""
    import ray

    nodes = ray.nodes() if ray.is_initialized() else []
    return {str(node["NodeID"]) for node in nodes if node["Alive"]} - {_node()}


class CheckpointManager:
    """Writes, finds and makes again the states of one slot's trials.

    Args:
        make: builds a Training from params and spec.
        others: the ids of the other living nodes, whose memory this process cannot look into; asked at each look.
    """

    def __init__(
        self,
        keeping: CheckpointPolicy,
        make: Callable[[Params, FineTuneSpec], Training],
        spec: FineTuneSpec,
        others: Callable[[], set[str]] = other_nodes,
    ) -> None:
        self._keeping, self._make, self._spec, self._others = keeping, make, spec, others
        self._weights: int | None = keeping.state_bytes or None
        self._largest = 0  # bytes of a state that was written here
        self._said: list[str] = []
        self._without_room = False  # it was told that memory had no room
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
        past: CheckpointManifest | None,
        params: Params,
        epoch: float,
        result: Mapping[str, Any] | None,
        trained: float = 0.0,
    ) -> CheckpointManifest:
        """Write the recipe into `folder`, and the state into shared memory if there is room, else beside the recipe.

        Args:
            result: what Tune was told of it; None: nothing.
            trained: seconds since the last state with moments; infinity: the trial has ended.
        """
        moments = self._keeping.moments_due(past.bases[-1].epoch if past and past.bases else 0.0, epoch, trained)
        plain = replace(CheckpointManifest.after(past, params, epoch, moments=moments, node=None), result=result)
        recipe = self._save_in_memory(plain, training)
        if recipe is None:
            recipe = plain
            (folder / recipe.state).mkdir()
            self._write(folder / recipe.state, training, moments)
        recipe.write(folder)
        return recipe

    def _save_in_memory(self, recipe: CheckpointManifest, training: Training) -> CheckpointManifest | None:
        """The recipe of the state in this node's shared memory; None if there is no room: then nothing is left there.

        Whether there is room is asked before, and may turn out otherwise: of other trials that write at the same time,
        and of other programs, nothing is known.
        """
        if self._shared is None:
            return None
        if free_memory() <= self._needed(recipe.moments):
            self._tell_no_room(self._shared)
            return None
        try:
            self._shared.put(recipe.state, lambda place: self._write(place, training, recipe.moments))
        except OSError as error:
            if not is_full_disk(error):
                raise
            self._tell_no_room(self._shared)
            return None
        return replace(recipe, node=_node())

    def _write(self, place: Path, training: Training, moments: bool) -> None:
        with naming_the_disk(place):
            training.save(place, moments=moments)
            write_checksums(place)
        self._largest = max(self._largest, sum(file.stat().st_size for file in place.iterdir()))

    def _needed(self, moments: bool) -> int:
        """The bytes of the next state at most, as far as known; of a model from the Hub they are, once it is loaded."""
        if self._weights is None:
            self._weights = (
                (weight_bytes(self._spec.model, self._spec.revision) or 0) if self._spec.trainable == "finetune" else 0
            )
        return max(self._largest, self._weights * (WITH_MOMENTS if moments else 1))

    def _tell_no_room(self, shared: SharedMemory) -> None:
        """Say once that memory has no room; the next states may find some again, and each looks for itself."""
        if not self._without_room:
            self._without_room = True
            place = f"{shared.folder.parent} on {socket.gethostname()}"
            told = f"{place} has no room for a state: states go straight to the storage; a larger /dev/shm is faster"
            logger.warning(told)
            self._said.append(told)

    @property
    def looks(self) -> bool:
        """Whether an earlier driver may have left checkpoints that Tune does not know."""
        return self._keeping.left_in is not None

    def left(
        self, trial: str, past: CheckpointManifest | None, params: Params, epoch: float
    ) -> tuple[CheckpointManifest, Path] | None:
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

    def load(self, recipe: CheckpointManifest, folder: Path, training: Training) -> None:
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

    def _find(self, recipe: CheckpointManifest, folder: Path, scratch: Path) -> Path | None:
        """The state, here or on the storage path; one on another node is waited for: the driver copies it. None also if
        it is damaged."""
        until = time.monotonic() + WAIT
        while True:
            elsewhere = recipe.node in self._others()  # asked anew: that node may be lost meanwhile
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
    recipe: CheckpointManifest,
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
