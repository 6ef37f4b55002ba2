"""A checkpoint is a recipe: where the state of a trial lies, and what led to it, so that a lost one can be made again.

A checkpoint folder on the storage path holds

    recipe.json        the values in force and until which epoch, since the beginning of the lineage; small
    recipe.spare.json  the same: hours of training hang on it
    state-<token>/     what `Training.save` wrote with moments: a trial can go on from it (in a bucket: elsewhere)
    weights-<token>/   the same without moments: it can be scored, not continued

The recipe is there from the report on. The state is in the shared memory of a node until it is copied here, if ever.
Tokens are drawn for each state anew: a folder that a resumed trial overwrites never mixes two of them.
"""

from __future__ import annotations

import json
import logging
import uuid
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from trainables.checksums import DamagedCheckpoint
from trainables.spec import Params

logger = logging.getLogger(__name__)

RECIPE, SPARE = "recipe.json", "recipe.spare.json"
MOMENTS = "moments.pt"  # the file of a state that only going on needs
BASES = 16  # earlier states that a recipe names at most


class Segment(NamedTuple):
    """A stretch of training with the same values."""

    params: Params  # complete: the fixed ones included
    until: float  # epoch; grows along the lineage


class RestorePoint(NamedTuple):
    """A state with moments on the way."""

    token: str
    epoch: float


@dataclass(frozen=True)
class CheckpointManifest:
    """What one checkpoint is. An exploit's clone carries the donor's past in front of its own."""

    token: str
    moments: bool  # the state was written with moments
    node: str | None  # Ray's id of the node in whose shared memory the state was put; None: it was written here
    segments: tuple[Segment, ...]
    bases: tuple[RestorePoint, ...]  # oldest first; the last is this state itself if it has moments
    result: Mapping[str, Any] | None = None  # what the slot told Tune of it; None: nothing

    @property
    def epoch(self) -> float:
        """Where the trial stood."""
        return self.segments[-1].until

    def follows(self, past: CheckpointManifest | None, params: Params, epoch: float) -> bool:
        """Whether it is what training with `params` up to `epoch` leads to from `past` (None: from the beginning)."""
        return self.segments == CheckpointManifest.after(past, params, epoch, moments=False, node=None).segments

    @property
    def state(self) -> str:
        """The name of the state's folder, wherever it lies."""
        return full(self.token) if self.moments else weights(self.token)

    @classmethod
    def after(
        cls, past: CheckpointManifest | None, params: Params, epoch: float, *, moments: bool, node: str | None
    ) -> CheckpointManifest:
        """The recipe of a state at `epoch`, reached with `params` from `past` (None: from the beginning)."""
        segments, bases = (past.segments, past.bases) if past else ((), ())
        if segments and dict(segments[-1].params) == dict(params):
            segments = segments[:-1]
        token = uuid.uuid4().hex[:12]
        own = (RestorePoint(token, epoch),) if moments else ()
        return cls(token, moments, node, (*segments, Segment(dict(params), epoch)), (*bases, *own)[-BASES:])

    @classmethod
    def read(cls, folder: Path) -> CheckpointManifest:
        """The recipe of the checkpoint in `folder`.

        Raises:
            FileNotFoundError: it is no checkpoint of a slot.
            DamagedCheckpoint: neither copy is what was written.
        """
        if (found := cls.found(str(folder), lambda name: (folder / name).read_bytes())) is None:
            raise FileNotFoundError(f"{folder} holds no {RECIPE}")
        return found

    @classmethod
    def found(cls, place: str, read: Callable[[str], bytes]) -> CheckpointManifest | None:
        """The first whole one of the two copies; None if there is neither.

        Args:
            place: of the checkpoint, for messages.
            read: gives a file of it, or raises FileNotFoundError.

        Raises:
            DamagedCheckpoint: neither copy is what was written.
        """
        damaged = []
        for name in (RECIPE, SPARE):
            try:
                recipe = cls.parse(read(name))
            except FileNotFoundError:
                continue
            except (ValueError, KeyError, TypeError):
                damaged.append(f"{place}/{name}")
                continue
            if damaged:
                logger.warning("%s is damaged: its copy %s is used", damaged[0], name)
            return recipe
        if damaged:
            raise DamagedCheckpoint(f"{' and '.join(damaged)}: damaged")
        return None

    @classmethod
    def parse(cls, text: bytes) -> CheckpointManifest:
        """The recipe that `write` has written as `text`.

        Raises:
            ValueError, KeyError, TypeError: it is something else.
        """
        raw = json.loads(text)
        if raw.pop("crc32") != _crc(raw):
            raise ValueError("checksum differs")
        segments = tuple(Segment(params, until) for params, until in raw.pop("segments"))
        return cls(segments=segments, bases=tuple(RestorePoint(*base) for base in raw.pop("bases")), **raw)

    def write(self, folder: Path) -> None:
        """Into the existing `folder`."""
        raw = json.loads(json.dumps(asdict(self)))
        text = json.dumps({**raw, "crc32": _crc(raw)})
        for name in (RECIPE, SPARE):
            (folder / name).write_text(text)


def _crc(raw: Any) -> int:
    return zlib.crc32(json.dumps(raw).encode())


def full(token: str) -> str:
    """The folder of a state with moments."""
    return f"state-{token}"


def weights(token: str) -> str:
    """The folder of a state without."""
    return f"weights-{token}"


def token_of(state: str) -> str:
    """The token in the name of a state's folder, of either kind."""
    return state.rpartition("-")[2]
