"""The manifest of a checkpoint: where the trial's state is, and the training that led to it.

A checkpoint is its manifest. The state itself (weights, optimizer state) may be elsewhere, or lost: then it is
recomputed from what the manifest records. A checkpoint folder on the storage path holds

    recipe.json        the manifest: values in force and epochs, since the beginning of the lineage; small
    recipe.spare.json  a second copy of it, in case the first is damaged
    state-<token>/     what `Training.save` wrote: a trial can continue from it (in a bucket it is kept elsewhere)
    weights-<token>/   what `Training.save(weights_only=True)` wrote: it can be scored, not continued

The manifest is written with each report. The state is in the shared memory of a node until it is copied here, if ever.
Each state gets a new random token, so a folder that a resumed trial overwrites never mixes two states.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from trainables.checksums import DamagedCheckpoint, json_crc
from trainables.spec import Params

logger = logging.getLogger(__name__)

MANIFEST, SPARE_MANIFEST = "recipe.json", "recipe.spare.json"
MOMENTS = "moments.pt"  # the file of a state that scoring does not need: optimizer state and random states
MAX_RESTORE_POINTS = 16  # earlier states that a manifest names at most


class Segment(NamedTuple):
    """A stretch of training with constant values."""

    params: Params  # complete: the fixed ones included
    until: float  # the epoch at its end; grows along the lineage


class RestorePoint(NamedTuple):
    """A state of the lineage, with optimizer state, from which a lost later state can be recomputed."""

    token: str
    epoch: float


@dataclass(frozen=True)
class CheckpointManifest:
    """Describes one checkpoint. After an exploit the donor's segments precede the trial's own."""

    token: str
    moments: bool  # the state holds optimizer state and random states
    node: str | None  # Ray's id of the node in whose shared memory the state was put; None: it is beside the manifest
    segments: tuple[Segment, ...]
    restore_points: tuple[RestorePoint, ...]  # oldest first; the last is this state itself if it has moments
    result: Mapping[str, Any] | None = None  # the Tune result reported with it; None: it was not reported

    @property
    def epoch(self) -> float:
        """The epoch at which the state was saved."""
        return self.segments[-1].until

    def follows(self, past: CheckpointManifest | None, params: Params, epoch: float) -> bool:
        """True if training from `past` (None: from scratch) with `params` up to `epoch` leads to this checkpoint."""
        return self.segments == CheckpointManifest.after(past, params, epoch, moments=False, node=None).segments

    @property
    def state(self) -> str:
        """The name of the state's folder, wherever it is."""
        return full_name(self.token) if self.moments else weights_name(self.token)

    @classmethod
    def after(
        cls, past: CheckpointManifest | None, params: Params, epoch: float, *, moments: bool, node: str | None
    ) -> CheckpointManifest:
        """Creates the manifest of a new state at `epoch`, reached with `params` from `past` (None: from scratch)."""
        segments, points = (past.segments, past.restore_points) if past else ((), ())
        if segments and dict(segments[-1].params) == dict(params):
            segments = segments[:-1]
        token = uuid.uuid4().hex[:12]
        own = (RestorePoint(token, epoch),) if moments else ()
        return cls(
            token, moments, node, (*segments, Segment(dict(params), epoch)), (*points, *own)[-MAX_RESTORE_POINTS:]
        )

    @classmethod
    def read(cls, folder: Path) -> CheckpointManifest:
        """Reads the manifest of the checkpoint in `folder`.

        Raises:
            FileNotFoundError: the folder is no checkpoint of a slot.
            DamagedCheckpoint: both copies are damaged.
        """
        if (found := cls.found(str(folder), lambda name: (folder / name).read_bytes())) is None:
            raise FileNotFoundError(f"{folder} holds no {MANIFEST}")
        return found

    @classmethod
    def found(cls, place: str, read: Callable[[str], bytes]) -> CheckpointManifest | None:
        """Returns the first of the two copies that is intact; None if neither file exists.

        Args:
            place: the checkpoint's path, for messages.
            read: returns the content of a file of the checkpoint by its name, or raises FileNotFoundError.

        Raises:
            DamagedCheckpoint: a copy exists, and none is intact.
        """
        damaged = []
        for name in (MANIFEST, SPARE_MANIFEST):
            try:
                manifest = cls.parse(read(name))
            except FileNotFoundError:
                continue
            except (ValueError, KeyError, TypeError):
                damaged.append(f"{place}/{name}")
                continue
            if damaged:
                logger.warning("%s is damaged: its copy %s is used", damaged[0], name)
            return manifest
        if damaged:
            raise DamagedCheckpoint(f"{' and '.join(damaged)}: damaged")
        return None

    @classmethod
    def parse(cls, text: bytes) -> CheckpointManifest:
        """Parses and verifies what `write` wrote.

        Raises:
            ValueError, KeyError, TypeError: the text is something else, or its checksum differs.
        """
        raw = json.loads(text)
        if raw.pop("crc32") != json_crc(raw):
            raise ValueError("checksum differs")
        segments = tuple(Segment(params, until) for params, until in raw.pop("segments"))
        points = tuple(RestorePoint(*point) for point in raw.pop("bases"))
        return cls(segments=segments, restore_points=points, **raw)

    def write(self, folder: Path) -> None:
        """Writes both copies into the existing `folder`."""
        raw = json.loads(json.dumps(asdict(self)))
        raw = {"bases" if name == "restore_points" else name: value for name, value in raw.items()}
        text = json.dumps({**raw, "crc32": json_crc(raw)})
        for name in (MANIFEST, SPARE_MANIFEST):
            (folder / name).write_text(text)


def full_name(token: str) -> str:
    """The folder name of a state with optimizer state."""
    return f"state-{token}"


def weights_name(token: str) -> str:
    """The folder name of a state with weights only."""
    return f"weights-{token}"


def token_of(state: str) -> str:
    """The token in the name of a state's folder, of either kind."""
    return state.rpartition("-")[2]
