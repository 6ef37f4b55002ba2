"""The trial as Tune sees it: a slot, which is one Ray actor that computes one trial after the other.

Tune schedules trials, slots compute them. A slot maps the methods of Tune's class Trainable one to one onto those of a
`Training`, in the actor's main thread (a user's Trainer runs on one of its own: `user_trainer/trial_thread.py`). An
exploit is `reset_config` (a new Training with the member's new params), followed by `load_checkpoint` of the donor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pyarrow.fs import LocalFileSystem
from ray import tune

from trainables.checkpoints.manager import CheckpointManager
from trainables.checkpoints.manifest import CheckpointManifest
from trainables.checkpoints.policy import BESIDE_THE_MANIFEST, CheckpointPolicy
from trainables.epochs import next_position
from trainables.lookup import build_training, is_training, load_trainable
from trainables.machine import clock
from trainables.machine.cores import take_cores
from trainables.machine.device_memory import cap_device_memory, set_allocator
from trainables.machine.devices import use_assigned_devices
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
    """Returns what Tune takes as the trainable for `spec`.

    Args:
        spec: what all trials of the study share.
        devices: devices that one trial holds: GPUs, or CPU cores if it has none. Cost is seconds x devices.
        policy: where states are written, and what they hold; a function trainable keeps its own checkpoints.
        make: builds a trial's Training in the slot; `team.builder` returns one for several processes.
        heartbeat: how the process sends heartbeats; None: it sends none.

    Raises:
        ValueError: `spec.trainable` names nothing that can be run.
    """
    if is_training(spec.trainable):
        return tune.with_parameters(Slot, training=make, spec=spec, devices=devices, policy=policy, heartbeat=heartbeat)
    target = load_trainable(spec.trainable)

    def train_function(config: dict[str, Any]) -> None:
        use_assigned_devices()
        start_oom_probe()
        _call(target, {**spec.fixed, **config}, spec, devices, heartbeat)

    train_function.__name__ = target.__name__
    return train_function


def _call(
    target: Callable[..., None], params: Params, spec: FineTuneSpec, devices: float, heartbeat: Heartbeat | None
) -> None:
    """Runs one trial of a function trainable. A module-level function, because `train_function` is pickled by value."""
    if heartbeat is not None:
        tracker.start_heartbeat(heartbeat, _actor())
    with active(), function_trial(params, spec, devices):
        tracker.begin()
        take_cores()
        set_allocator(expandable_segments=spec.expandable_segments)
        cap_device_memory()
        resolved = resolve_params(params, spec)
        target(resolved, spec=spec.seeded(resolved))


class Slot(tune.Trainable):  # type: ignore[misc]
    """The actor that computes trials. Tune calls `setup` once, then step, save, load and reset in any legal order."""

    def setup(
        self,
        config: dict[str, Any],
        training: Callable[[Params, FineTuneSpec], Training],
        spec: FineTuneSpec,
        devices: float,
        policy: CheckpointPolicy = BESIDE_THE_MANIFEST,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        """Called by Tune once, in the new actor; see `make_trainable` for the arguments."""
        use_assigned_devices()
        if heartbeat is not None:
            tracker.start_heartbeat(heartbeat, _actor())
        self._make, self._spec, self._devices = training, spec, devices
        self._checkpoints = CheckpointManager(policy, training, spec)
        self._start(config)

    def join_study(self, spec: FineTuneSpec, policy: CheckpointPolicy) -> None:
        """Called before this process computes trials of another study of the experiment: those have a spec of their
        own.
        """
        self._spec, self._checkpoints = spec, CheckpointManager(policy, self._make, spec)

    def _start(self, config: dict[str, Any]) -> None:
        start_oom_probe()
        self._charged_until = clock.monotonic()
        self._params = {**self._spec.fixed, **config}
        self._suggested: Params = config if self._spec.hp_space is not None else {}
        self._epoch = 0.0
        self._past: CheckpointManifest | None = None  # of the newest checkpoint of the trial's lineage
        self._reported: Mapping[str, Any] | None = None  # the last result, which belongs to the current position
        self._trained = 0.0  # seconds since the last state with optimizer state, in this process
        self._may_find_untracked = self._checkpoints.may_find_untracked
        self._untracked: tuple[CheckpointManifest, Path] | None = None  # a checkpoint to re-report in the next step
        self._not_loaded: Path | None = None  # the checkpoint of the current position, if its state is not loaded yet
        with active():
            tracker.begin()
            self._training = self._make(self._params, self._spec)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Called by Tune to reuse the actor for another trial, or the same one after an exploit. Nothing is kept."""
        del self._training
        self._start(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Trains to the next evaluation and returns its report as a Tune result.

        Results computed before a crash but missing from Tune's snapshot are re-reported unchanged.
        """
        with active():
            self._untracked = self._untracked or self._find_untracked()
            if self._untracked is not None:
                (self._past, self._not_loaded), self._untracked = self._untracked, None
                assert self._past.result is not None
                self._epoch = tracker.epoch = self._past.epoch
                return self._with_warnings(self._past.result)
            if self._not_loaded is not None:
                assert self._past is not None
                self._checkpoints.load(self._past, self._not_loaded, self._training)
                self._not_loaded = None
            epoch, metrics, in_force = self._training.advance(self._spec.report_every_epochs)
        params = with_suggested(in_force, self._suggested)
        tracker.report(epoch)
        self._epoch = epoch
        metrics = validate_metrics(metrics, self._spec, epoch, params)
        now = clock.monotonic()
        seconds, self._charged_until = now - self._charged_until, now
        self._trained += seconds
        result = Report(epoch, metrics, params, seconds * self._devices, clock.time()).to_result()
        finished = epoch >= self._training.horizon - 1e-9
        provenance = dict(self._training.provenance)
        self._reported = {**result, "provenance": provenance, "finished": finished, "done": finished}
        return self._with_warnings(self._reported)

    def _with_warnings(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """Adds warnings for the driver's log. They are in no manifest, so that a re-report does not repeat them."""
        warnings = self._checkpoints.pop_warnings()
        return {**result, "warnings": warnings} if warnings else dict(result)

    def _find_untracked(self) -> tuple[CheckpointManifest, Path] | None:
        """Finds the checkpoint of the trial's next report, if an earlier driver left one that Tune does not know."""
        if not self._may_find_untracked:
            return None
        due = next_position(self._epoch, self._spec.report_every_epochs, self._training.horizon)
        found = self._checkpoints.find_untracked(self.trial_id, self._past, self._params, due)
        self._may_find_untracked = found is not None
        return found

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Called by Tune after a report, with an empty local folder that it then moves to the storage path."""
        folder = Path(checkpoint_dir)
        if self._not_loaded is not None and self._past is not None:
            self._past.write(folder)  # the state stays where it was found
            return
        with active():
            trained = math.inf if self._reported is not None and self._reported["finished"] else self._trained
            self._past = self._checkpoints.save(
                folder, self._training, self._past, self._params, self._epoch, self._reported, trained
            )
        self._trained = 0.0 if self._past.moments else self._trained

    def save(self, checkpoint_dir: str | None = None) -> Any:
        """Saves as Tune does (`save_checkpoint`, then a copy to the storage path), and syncs the copy to the disk.

        Tune leaves that to the system, so that a power cut could lose a checkpoint that was reported.
        """
        result = super().save(checkpoint_dir)
        if isinstance(result.checkpoint.filesystem, LocalFileSystem):
            sync_folder(Path(result.checkpoint.path))
        return result

    def load_checkpoint(self, checkpoint: str) -> None:
        """Called by Tune after `setup` or `reset_config`, with the folder of the trial's or a donor's checkpoint."""
        self._may_find_untracked = self._checkpoints.may_find_untracked
        self._not_loaded = self._reported = None
        self._past = CheckpointManifest.read(Path(checkpoint))
        self._epoch = tracker.epoch = self._past.epoch
        self._untracked = self._find_untracked()
        if self._untracked is None:  # otherwise the next step re-reports, and does not need this state
            with active():
                self._checkpoints.load(self._past, Path(checkpoint), self._training)


def _actor() -> str:
    """Ray's id of this actor, which is the trial's own."""
    import ray

    return str(ray.get_runtime_context().get_actor_id())
