"""Weights & Biases: whether it is used, where its key comes from, and the callback that feeds it.

Of the spec's `wandb.mode` and of what W&B's own variables and settings ask for (`tuning.tracking.environment`), that
which sends less is in force: an account that was set to offline sends nothing because a spec says online.

The key comes from WANDB_API_KEY or from `wandb.key_file`, lives in the driver's memory, and is handed to the process
that writes a run as an argument of a call on the same machine: it is in no file, log, pickle or runtime environment.
The package wandb is imported only where it is used.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol, Self

from tuning.tracking.environment import Mode, find_outside_mode
from tuning.tracking.spec import WandbSpec

if TYPE_CHECKING:
    from ray.tune import Callback

KEY_VARIABLE = "WANDB_API_KEY"
PROJECT = "tunefleet"
SENDS = ("disabled", "offline", "online")  # from nothing to everything
NO_KEY = f"no {KEY_VARIABLE}, no wandb.key_file; wandb.mode=offline keeps local runs"


class TrackingError(RuntimeError):
    """W&B cannot be used as declared. The message names the option, its value, the rule and the next step."""


class Secret:
    """A text that shows itself in no repr, log or pickle."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one call that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied: it would end in a file")


cached_key: Secret | None = None  # that a run of this process has taken out of the environment


def take_key(spec: WandbSpec) -> Secret | None:
    """The key, out of the environment; None if there is none. Call it before Ray starts: its processes inherit both.

    The variable comes before the file, as in wandb itself. A key once taken serves the later runs of this process.

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


def has_key(spec: WandbSpec) -> bool:
    """Whether `take_key` would find a key; takes nothing."""
    if cached_key is not None or os.environ.get(KEY_VARIABLE, "").strip():
        return True
    file = Path(spec.key_file).expanduser() if spec.key_file else None
    return file is not None and file.is_file() and bool(file.read_text().strip())


def mode_in_force(spec: WandbSpec, *, key: bool) -> tuple[Mode, str]:
    """The mode, and who has decided it where that is not the spec; of `auto` what is said outside, else by the key.

    Args:
        key: whether there is one; without it nothing can be sent.
    """
    outside = find_outside_mode()
    if spec.mode != "auto":
        if outside is None or SENDS.index(outside.mode) >= SENDS.index(spec.mode):
            return spec.mode, ""
        return outside.mode, f"{outside.source}, which goes before wandb.mode: {spec.mode}"
    if outside is not None and (key or outside.mode != "online"):
        return outside.mode, outside.source
    return ("online", "") if key else ("disabled", NO_KEY)


class TrackedSpec(Protocol):
    """What is asked of an experiment's spec."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def wandb(self) -> WandbSpec:
        """Its section `wandb`."""

    @property
    def run_folder(self) -> Path:
        """The absolute folder that its files are written to."""


@dataclass(frozen=True)
class Tracking:
    """How the runs of one experiment are tracked."""

    wandb: WandbSpec
    experiment: str
    run_folder: Path
    mode: Mode
    why: str = ""  # who has decided the mode, where that is not the spec
    key: Secret | None = field(default=None, repr=False)
    told: set[str] = field(default_factory=set, repr=False, compare=False)  # warnings that were given

    @classmethod
    def of(cls, spec: TrackedSpec) -> Self:
        """What `spec.wandb` comes to here. Takes the key out of the environment: call it before Ray starts.

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
        """The spec's, else WANDB_PROJECT's, else ours."""
        return self.wandb.project or os.environ.get("WANDB_PROJECT") or PROJECT

    @property
    def entity(self) -> str | None:
        """The spec's, else WANDB_ENTITY's, else None: the key's own."""
        return self.wandb.entity or os.environ.get("WANDB_ENTITY") or None

    def describe(self) -> str:
        """One line for the header of a run."""
        why = f" ({self.why})" if self.why else ""
        project = "/".join(filter(None, (self.entity, self.project)))
        if self.mode == "disabled":
            return f"W&B: disabled{why}"
        if self.mode == "offline":
            upload = f"upload with `wandb sync {self.run_folder / 'wandb'}/offline-run-*`"
            return f"W&B: offline{why}, project {project} ({upload})"
        return f"W&B: online{why}, project {project}"

    def callbacks(self, strategy: str, seed: int) -> list[Callback]:
        """What Tune calls to track one study: one W&B run per trial, all in the group experiment/strategy/seed."""
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
                told=self.told,
            )
        ]
