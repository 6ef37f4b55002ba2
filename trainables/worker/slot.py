"""The trial as Tune sees it: a slot, one Ray actor that computes one trial after the other.

What Tune schedules (a trial) is kept apart from what computes (a slot). The live object behind four verbs is a
`Training`; the slot maps Tune's class-Trainable methods onto it one to one, in the actor's main thread.
An exploit is: `reset_config` (a new Training with the member's own new params), then `load_checkpoint` of the donor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pyarrow.fs import LocalFileSystem
from ray import tune

from trainables.checkpoints.manager import BESIDE_THE_MANIFEST, CheckpointManager
from trainables.checkpoints.manifest import CheckpointManifest
from trainables.checkpoints.policy import CheckpointPolicy
from trainables.epochs import next_position
from trainables.lookup import build_training, is_training, load_trainable
from trainables.machine import clock
from trainables.machine.cores import take_cores
from trainables.machine.device_memory import cap_device_memory
from trainables.machine.disk import sync_folder
from trainables.machine.oom_probe import start_oom_probe
from trainables.progress import Heartbeat, active, tracker
from trainables.reporting import Report, function_trial, validate_metrics
from trainables.spec import FineTuneSpec, Params
from trainables.training import Evaluation, Scores, Training
from trainables.user_trainer.hp_space import resolve_params, with_suggested

__all__ = [
    "Evaluation",
    "Scores",
    "Slot",
    "Training",
    "build_training",
    "is_training",
    "load_trainable",
    "make_trainable",
]


def make_trainable(
    spec: FineTuneSpec,
    *,
    devices: float,
    policy: CheckpointPolicy = BESIDE_THE_MANIFEST,
    make: Callable[[Params, FineTuneSpec], Training] = build_training,
    heartbeat: Heartbeat | None = None,
) -> Any:
    """The Tune trainable for `spec`.

    Args:
        make: builds a trial's Training in the slot; `team.builder` makes one that several processes compute.
        devices: what one trial holds: GPUs, or CPU cores where it has none. Cost is seconds x devices.
        policy: where and with what states are written; a function keeps its own checkpoints.
        heartbeat: tells the driver that the process is well; None: nobody asks.

    Raises:
        ValueError: `spec.trainable` names nothing that can be run.
    """
    if is_training(spec.trainable):
        return tune.with_parameters(Slot, training=make, spec=spec, devices=devices, policy=policy, heartbeat=heartbeat)
    target = load_trainable(spec.trainable)

    def train_function(config: dict[str, Any]) -> None:
        start_oom_probe()
        _call(target, {**spec.fixed, **config}, spec, devices, heartbeat)

    train_function.__name__ = target.__name__
    return train_function


def _call(
    target: Callable[..., None], params: Params, spec: FineTuneSpec, devices: float, heartbeat: Heartbeat | None
) -> None:
    """One trial of a function. Found by its name where it runs: what `train_function` itself names is copied there."""
    if heartbeat is not None:
        tracker.beat(heartbeat, _actor())
    with active(), function_trial(params, spec, devices):
        tracker.begin()
        take_cores()
        cap_device_memory()
        target(resolve_params(params, spec), spec=spec)


class Slot(tune.Trainable):  # type: ignore[misc]
    """One actor. Tune calls `setup` once, then step/save/load/reset in any legal order."""

    def setup(
        self,
        config: dict[str, Any],
        training: Callable[[Params, FineTuneSpec], Training],
        spec: FineTuneSpec,
        devices: float,
        policy: CheckpointPolicy = BESIDE_THE_MANIFEST,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        """Called by Tune in the new actor."""
        if heartbeat is not None:
            tracker.beat(heartbeat, _actor())
        self._make, self._spec, self._devices = training, spec, devices
        self._states = CheckpointManager(policy, training, spec)
        self._start(config)
        cap_device_memory()

    def _start(self, config: dict[str, Any]) -> None:
        start_oom_probe()
        self._charged_until = clock.monotonic()
        self._params = {**self._spec.fixed, **config}
        self._suggested: Params = config if self._spec.hp_space is not None else {}
        self._epoch = 0.0
        self._past: CheckpointManifest | None = None  # of the newest checkpoint on the way to where the trial stands
        self._told: Mapping[str, Any] | None = None  # what it has reported of where it stands
        self._trained = 0.0  # seconds since its last state with moments, in this process
        self._looks = self._states.may_find_untracked
        self._left: tuple[CheckpointManifest, Path] | None = None  # a checkpoint that is to be told next
        self._ahead: Path | None = None  # the checkpoint at which it stands, if that is not loaded yet
        with active():
            tracker.begin()
            self._training = self._make(self._params, self._spec)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Another trial, or the same one after an exploit, takes this slot: nothing of the old one stays."""
        del self._training
        self._start(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train to the next evaluation; the result is one report.

        What was computed before a kill, and Tune has not saved that it was, is told again as it was told then.
        """
        with active():
            self._left = self._left or self._look()
            if self._left is not None:
                (self._past, self._ahead), self._left = self._left, None
                assert self._past.result is not None
                self._epoch = tracker.epoch = self._past.epoch
                return self._with_said(self._past.result)
            if self._ahead is not None:
                assert self._past is not None
                self._states.load(self._past, self._ahead, self._training)
                self._ahead = None
            epoch, metrics, in_force = self._training.advance(self._spec.report_every_epochs)
        params = with_suggested(in_force, self._suggested)
        tracker.report(epoch)
        self._epoch = epoch
        assert self._spec.objective is not None  # load_spec fills it in from the task
        metrics = validate_metrics(metrics, self._spec.objective.metric, epoch, params)
        now = clock.monotonic()
        seconds, self._charged_until = now - self._charged_until, now
        self._trained += seconds
        result = Report(epoch, metrics, params, seconds * self._devices, clock.time()).to_result()
        finished = epoch >= self._training.horizon - 1e-9
        provenance = dict(self._training.provenance)
        self._told = {**result, "provenance": provenance, "finished": finished, "done": finished}
        return self._with_said(self._told)

    def _with_said(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """With what users have to know, who look where the driver logs; in no manifest, or it would be told again."""
        warnings = self._states.pop_warnings()
        return {**result, "warnings": warnings} if warnings else dict(result)

    def _look(self) -> tuple[CheckpointManifest, Path] | None:
        """For what was left of the next report."""
        if not self._looks:
            return None
        due = next_position(self._epoch, self._spec.report_every_epochs, self._training.horizon)
        found = self._states.find_untracked(self.trial_id, self._past, self._params, due)
        self._looks = found is not None
        return found

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Called by Tune after a report, with an empty local folder that it then moves to the storage path."""
        folder = Path(checkpoint_dir)
        if self._ahead is not None and self._past is not None:
            self._past.write(folder)  # its state is where it was
            return
        with active():
            trained = math.inf if self._told is not None and self._told["finished"] else self._trained
            self._past = self._states.save(
                folder, self._training, self._past, self._params, self._epoch, self._told, trained
            )
        self._trained = 0.0 if self._past.moments else self._trained

    def save(self, checkpoint_dir: str | None = None) -> Any:
        """Tune's, which calls `save_checkpoint` and copies the folder to the storage path, but leaves it to the system
        when that is on the disk. It is when this returns: a report may be told of a checkpoint that a power cut kept.
        """
        result = super().save(checkpoint_dir)
        if isinstance(result.checkpoint.filesystem, LocalFileSystem):
            sync_folder(Path(result.checkpoint.path))
        return result

    def load_checkpoint(self, checkpoint: str) -> None:
        """Called by Tune after `setup` or `reset_config`, with the folder of the (donor's) checkpoint."""
        self._looks, self._ahead, self._told = self._states.may_find_untracked, None, None
        self._past = CheckpointManifest.read(Path(checkpoint))
        self._epoch = tracker.epoch = self._past.epoch
        self._left = self._look()
        if self._left is None:  # else nobody needs the state of this one
            with active():
                self._states.load(self._past, Path(checkpoint), self._training)


def _actor() -> str:
    """Ray's id of the trial's own actor, in which this runs."""
    import ray

    return str(ray.get_runtime_context().get_actor_id())
