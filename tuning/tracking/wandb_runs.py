"""Ray's WandbLoggerCallback, made safe for a key and true for PBT. Imports wandb.

Ray's own copies the key into a runtime environment, which ends in logs; writes into the home folder; starts two
processes per trial; and logs under Tune's iteration, which can run backwards after an exploit, so that W&B drops rows.
The process that writes a run is in `tuning.tracking.wandb_writer`.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import ray
from ray.air.integrations.wandb import WandbLoggerCallback, _QueueItem
from ray.air.util.node import _force_on_current_node
from ray.tune.experiment import Trial

from tuning.tracking.tracking import KEY_VARIABLE, Secret
from tuning.tracking.wandb_writer import RunWriter

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 30  # for a server that does not answer, each study waits this long once
UPLOAD_SECONDS = 120  # that the end of a study waits for uploads
RUN_ID_LENGTH = 64  # W&B takes no longer ones
# Tune's own bookkeeping; the config repeats `params`, which are read off the live objects.
NOT_LOGGED = [
    "config",
    "finished",
    "iterations_since_restore",
    "reported_at",
    "time_since_restore",
    "time_this_iter_s",
    "timestamp",
]
# What a run is, not how it goes: data fingerprint and device among it.
TO_CONFIG = [*WandbLoggerCallback.AUTO_CONFIG_KEYS, "provenance"]


class Inbox:
    """The queue of one run, as Ray's callback expects it: `put` in order, without waiting."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self._numbers = itertools.count()

    def put(self, item: tuple[_QueueItem, Any]) -> None:
        """Send one item to the actor, numbered: Ray may hand the end over before the last results."""
        self._actor.put.remote(next(self._numbers), item)


class WandbRuns(WandbLoggerCallback):  # type: ignore[misc]
    """One W&B run per trial of one study."""

    def __init__(
        self,
        *,
        project: str,
        entity: str | None,
        study: tuple[str, str, int],
        mode: str,
        folder: Path,
        key: Secret | None,
        told: set[str],
    ) -> None:
        """`told`: reasons for which a trial is not tracked that the user has read already, shared by all studies."""
        experiment, strategy, seed = study
        super().__init__(
            project=project,
            group=f"{experiment}/{strategy}/seed{seed}",
            excludes=NOT_LOGGED,
            upload_timeout=UPLOAD_SECONDS,
            entity=entity,
            job_type=strategy,
            mode=mode,
            dir=str(folder),
            # The same id again is the same run, after a resume.
            resume="allow" if mode == "online" else None,
            reinit="finish_previous",
        )
        self._folder = folder
        self._key, self._told = key, told
        self._name = f"{strategy}-seed{seed}"

    def __getstate__(self) -> dict[str, Any]:
        """Without the key and without what lives only in this process."""
        gone = {"_key": None, "_remote_logger_class": None}
        live = ("_trial_logging_actors", "_trial_logging_futures", "_logging_future_to_trial", "_trial_queues")
        return {**self.__dict__, **gone, **{name: {} for name in live}}

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Called by Tune first. Ray's own puts the key into the environment here."""
        self._temporary = tempfile.mkdtemp(prefix="tunefleet-wandb-")  # short: it holds sockets

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Called by Tune last: wait for uploads, also of the trials that have not ended: the study was stopped."""
        for trial in self._trial_queues:
            self._signal_logging_actor_stop(trial)
        super().on_experiment_end(trials, **info)
        shutil.rmtree(self._temporary, ignore_errors=True)

    def __del__(self) -> None:
        """Nothing: Ray's own talks to actors here, which a process that ends has no more."""

    def _start_logging_actor(self, trial: Trial, exclude_results: list[str], **init: Any) -> None:
        if trial in self._trial_logging_actors:
            return
        init |= {"id": run_id(self.group, trial.trial_id), "name": f"{self._name}-{trial.trial_id}"}
        writer = ray.remote(num_cpus=0, concurrency_groups={"inbox": 1}, **_force_on_current_node())(RunWriter)
        actor = writer.remote(str(self._folder), self._temporary, exclude=exclude_results, to_config=TO_CONFIG, **init)
        environment = {"WANDB_INIT_TIMEOUT": str(ANSWER_SECONDS)}
        environment |= {name: value for name, value in os.environ.items() if name.startswith("WANDB_")}
        if self._key is not None:
            environment[KEY_VARIABLE] = self._key.reveal()
        future = actor.run.remote(environment)
        self._trial_queues[trial] = Inbox(actor)
        self._trial_logging_actors[trial] = actor
        self._trial_logging_futures[trial] = future
        self._logging_future_to_trial[future] = trial

    def _cleanup_logging_actor(self, trial: Trial) -> None:
        future = self._trial_logging_futures[trial]
        try:
            ray.get(future, timeout=0)
        except ray.exceptions.GetTimeoutError:
            logger.warning(
                "W&B: the run of trial %s was not uploaded within %d s. Its files are kept: `wandb sync %s`.",
                trial.trial_id,
                UPLOAD_SECONDS,
                self._folder / "wandb" / f"*run-*-{run_id(self.group, trial.trial_id)}",
            )
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1]
            alike = reason.replace(run_id(self.group, trial.trial_id), "")
            if alike not in self._told:
                self._told.add(alike)
                logger.warning(
                    "W&B: trial %s is not tracked: %s. Others may fare alike; this is said once. "
                    "The study store has them all.",
                    trial.trial_id,
                    reason,
                )
        super()._cleanup_logging_actor(trial)


def run_id(group: str, trial_id: str) -> str:
    """The same after a resume, and no other trial's: Tune's trial ids alone could meet within a project."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", f"{group}-{trial_id}")
    if len(readable) <= RUN_ID_LENGTH:
        return readable
    return f"{hashlib.sha256(group.encode()).hexdigest()[:16]}-{trial_id}"[:RUN_ID_LENGTH]
