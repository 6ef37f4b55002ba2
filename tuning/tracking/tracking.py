"""Weights & Biases: its mode, its key, and the Tune callback that logs to it.

The mode in force is the one that sends less: the spec's `wandb.mode`, or the mode of W&B's variables and settings
(`tuning.tracking.environment`). So an account that is set to offline sends nothing, even if a spec says online.

The key comes from WANDB_API_KEY or from `wandb.key_file` and stays in the driver's memory. The process that writes a
run gets it as an argument of a call on the same machine, so it is in no file, log, pickle or runtime environment. The
package wandb is imported only where it is used.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol, Self

from tuning.tracking.environment import Mode, find_outside_mode
from tuning.tracking.spec import WandbSpec

if TYPE_CHECKING:
    from ray.tune import Callback

    from tuning.tracking.online_sweep import OnlineSweep

KEY_VARIABLE = "WANDB_API_KEY"
PROJECT = "tunefleet"
SENDS = ("disabled", "offline", "online")  # from nothing to everything
NO_KEY = f"no {KEY_VARIABLE}, no wandb.key_file; wandb.mode=offline keeps local runs"


class TrackingError(RuntimeError):
    """W&B cannot be used as the spec declares. The message names option, value, rule and next step."""


class Secret:
    """A text that appears in no repr, log or pickle."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Returns the text, for the call that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied: it could end up in a file")


cached_key: Secret | None = None  # the key that a run of this process took out of the environment


def take_key(spec: WandbSpec) -> Secret | None:
    """Removes the key from the environment and returns it; None if there is none.

    Call it before Ray starts, since Ray's processes inherit the environment. The variable wins over the file, as in
    wandb. A key that was taken once is used for later runs of this process.

    Raises:
        TrackingError: the key file is missing or empty.
    """
    global cached_key
    text = os.environ.pop(KEY_VARIABLE, "").strip()
    if text:
        cached_key = Secret(text)
    if cached_key is not None or spec.key_file is None:
        return cached_key
    path = Path(spec.key_file).expanduser()
    try:
        text = path.read_text().strip()
    except OSError as error:
        raise TrackingError(f"wandb.key_file: {path} cannot be read: {error.strerror}. Check its path.") from error
    if len(text.split()) != 1:
        raise TrackingError(f"wandb.key_file: {path} must hold the key and nothing else. Write it there, mode 0600.")
    return Secret(text)


def require_key(overrides: Sequence[str]) -> Secret:
    """Returns the key, as `take_key`, before there is a spec.

    Args:
        overrides: of the spec; `wandb.key_file=PATH` among them counts.

    Raises:
        TrackingError: there is none, or its file cannot be read.
    """
    files = [one.partition("=")[2] for one in overrides if one.startswith("wandb.key_file=")]
    if (key := take_key(WandbSpec(key_file=files[-1] if files else None))) is None:
        raise TrackingError(f"a sweep of a W&B server needs a key. Set {KEY_VARIABLE}, or wandb.key_file=PATH.")
    return key


def has_key(spec: WandbSpec) -> bool:
    """Returns True if `take_key` would find a key, without removing it."""
    if cached_key is not None or os.environ.get(KEY_VARIABLE, "").strip():
        return True
    file = Path(spec.key_file).expanduser() if spec.key_file else None
    return file is not None and file.is_file() and bool(file.read_text().strip())


def mode_in_force(spec: WandbSpec, *, key: bool) -> tuple[Mode, str]:
    """Returns the mode in force and what decided it (empty: the spec).

    `auto` takes the mode from outside the spec, else online if there is a key.

    Args:
        spec: the section `wandb`.
        key: True if there is a key; without one nothing can be sent.
    """
    outside = find_outside_mode()
    if spec.mode != "auto":
        if outside is None or SENDS.index(outside.mode) >= SENDS.index(spec.mode):
            return spec.mode, ""
        return outside.mode, f"{outside.source}, which overrides wandb.mode: {spec.mode}"
    if outside is not None and (key or outside.mode != "online"):
        return outside.mode, outside.source
    return ("online", "") if key else ("disabled", NO_KEY)


class TrackedSpec(Protocol):
    """The part of an experiment's spec that tracking needs."""

    @property
    def name(self) -> str:
        """The name of the experiment."""

    @property
    def wandb(self) -> WandbSpec:
        """The section `wandb`."""

    @property
    def run_folder(self) -> Path:
        """The absolute path of the run folder."""


@dataclass(frozen=True)
class Tracking:
    """The tracking of one experiment: its mode, key and W&B project."""

    wandb: WandbSpec
    experiment: str
    run_folder: Path
    mode: Mode
    why: str = ""  # what decided the mode, if not the spec
    key: Secret | None = field(default=None, repr=False)
    warned: set[str] = field(default_factory=set, repr=False, compare=False)  # warnings that were logged

    @classmethod
    def of(cls, spec: TrackedSpec) -> Self:
        """Resolves `spec.wandb` and removes the key from the environment. Call it before Ray starts.

        Raises:
            TrackingError: online without a key, or a key file that cannot be read.
        """
        key = take_key(spec.wandb)
        mode, why = mode_in_force(spec.wandb, key=key is not None)
        if mode == "online" and key is None:
            raise TrackingError(
                f"wandb.mode: online needs a key, but {KEY_VARIABLE} is not set and wandb.key_file names no file. "
                "Set one of them, or wandb.mode=offline to keep local runs."
            )
        return cls(spec.wandb, spec.name, spec.run_folder, mode, why, key if mode == "online" else None)

    @property
    def project(self) -> str:
        """The project of the spec, else of WANDB_PROJECT, else `PROJECT`."""
        return self.wandb.project or os.environ.get("WANDB_PROJECT") or PROJECT

    @property
    def entity(self) -> str | None:
        """The entity of the spec, else of WANDB_ENTITY; None: the default of the key."""
        return self.wandb.entity or os.environ.get("WANDB_ENTITY") or None

    def describe(self) -> str:
        """Describes the tracking in one line, for the header of a run."""
        why = f" ({self.why})" if self.why else ""
        project = "/".join(filter(None, (self.entity, self.project)))
        if self.mode == "disabled":
            return f"W&B: disabled{why}"
        if self.mode == "offline":
            upload = f"upload with `wandb sync {self.run_folder / 'wandb'}/offline-run-*`"
            return f"W&B: offline{why}, project {project} ({upload})"
        return f"W&B: online{why}, project {project}"

    def callbacks(self, strategy: str, seed: int, online: OnlineSweep | None = None) -> list[Callback]:
        """Returns the Tune callbacks of one study: one W&B run per trial, in the group experiment/strategy/seed.

        Args:
            online: the sweep whose server proposes; the trials' runs are then that sweep's.

        Raises:
            TrackingError: such a sweep, and W&B is not online.
        """
        if online is not None:
            if self.key is None:
                why = f" ({self.why})" if self.why else ""
                raise TrackingError(
                    f"sweep {online.path}: W&B is {self.mode}{why}. Set {KEY_VARIABLE}, wandb.mode=online."
                )
            online.connect(self.key)
        if self.mode == "disabled":
            return []
        from tuning.tracking.wandb_runs import WandbRuns

        return [
            WandbRuns(
                project=self.project,
                entity=self.entity,
                study=(self.experiment, strategy, seed),
                mode=self.mode,
                folder=self.run_folder,
                key=self.key,
                warned=self.warned,
                online=online,
            )
        ]
