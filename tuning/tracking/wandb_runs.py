"""A WandbLoggerCallback of Ray that keeps the key secret and logs PBT correctly. Imports wandb.

Ray's class copies the key into a runtime environment, which appears in logs. It writes into the home folder, starts two
processes per trial, and logs under Tune's iteration, which can go backwards after an exploit, so that W&B drops rows.
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
from typing import TYPE_CHECKING, Any

import ray
from ray.tune.experiment import Trial

from cluster.ray_compat.own_node import on_this_node
from tuning.tracking.tracking import KEY_VARIABLE, Secret
from tuning.tracking.wandb_writer import RunWriter
from tuning.tune_compat.wandb import WandbCallback, Writer

if TYPE_CHECKING:
    from tuning.tracking.online_sweep import OnlineSweep

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 30  # each study waits this long once for a server that does not answer
UPLOAD_SECONDS = 120  # the end of a study waits this long for uploads
RUN_ID_LENGTH = 64  # the limit of W&B
# Tune's bookkeeping. `config` repeats `params`, which are read from the live objects.
NOT_LOGGED = [
    "config",
    "finished",
    "iterations_since_restore",
    "reported_at",
    "time_since_restore",
    "time_this_iter_s",
    "timestamp",
]
# Logged once, as configuration of the run: data fingerprint and device, for example.
TO_CONFIG = [*WandbCallback.AUTO_CONFIG_KEYS, "provenance"]


class Inbox:
    """The queue of one run, as Ray's callback uses it: `put` keeps the order and does not wait."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self._numbers = itertools.count()

    def put(self, item: tuple[Any, Any]) -> None:
        """Sends an item with its number to the actor: Ray may deliver the end before the last results."""
        self._actor.put.remote(next(self._numbers), item)


class WandbRuns(WandbCallback):
    """A Tune callback that logs each trial of one study as a W&B run."""

    def __init__(
        self,
        *,
        project: str,
        entity: str | None,
        study: tuple[str, str, int],
        mode: str,
        folder: Path,
        key: Secret | None,
        warned: set[str],
        online: OnlineSweep | None = None,
    ) -> None:
        """
        Args:
            project: of W&B.
            entity: of W&B; None: the default of the key.
            study: experiment, strategy and seed.
            mode: "online" or "offline".
            folder: the run folder.
            key: None in mode "offline" without a key.
            warned: errors that were logged already, shared by all studies.
            online: the sweep whose server has made the trials' runs; None: they are made here.
        """
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
            # After a resume the same id continues the same run.
            resume="allow" if mode == "online" else None,
            reinit="finish_previous",
        )
        self._folder = folder
        self._key, self._warned, self._online = key, warned, online
        self._name = f"{strategy}-seed{seed}"

    def __getstate__(self) -> dict[str, Any]:
        """Returns the state without the key and without handles of this process."""
        return {**super().__getstate__(), "_key": None, "_online": None}

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Called by Tune first. Overrides Ray's method, which puts the key into the environment."""
        self._temporary = tempfile.mkdtemp(prefix="tunefleet-wandb-")  # a short path, since it holds sockets

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Called by Tune last. Waits for uploads, also of trials that were running when the study stopped."""
        self.end_writers()
        super().on_experiment_end(trials, **info)
        shutil.rmtree(self._temporary, ignore_errors=True)

    def start_writer(self, trial: Trial, exclude: list[str], init: dict[str, Any]) -> Writer:
        """Starts an actor beside the driver, which alone gets the key."""
        init |= {"id": self._run_id(trial), "name": f"{self._name}-{trial.trial_id}"}
        also = {} if self._online is None else _of_sweep(self._online, trial, init)
        writer = ray.remote(num_cpus=0, concurrency_groups={"inbox": 1}, **on_this_node())(RunWriter)
        actor = writer.remote(str(self._folder), self._temporary, exclude=exclude, to_config=TO_CONFIG, **init)
        environment = {"WANDB_INIT_TIMEOUT": str(ANSWER_SECONDS)}
        environment |= {name: value for name, value in os.environ.items() if name.startswith("WANDB_")}
        if self._key is not None:
            environment[KEY_VARIABLE] = self._key.reveal()
        environment |= also
        return Writer(actor, Inbox(actor), actor.run.remote(environment))

    def _run_id(self, trial: Trial) -> str:
        made = None if self._online is None else self._online.runs.get(trial.trial_id)
        return run_id(self.group, trial.trial_id) if made is None else made.id

    def report_writer(self, trial: Trial, ended: Any) -> None:
        """Warns of a run that was not uploaded in time, or not tracked; each reason once."""
        try:
            ray.get(ended, timeout=0)
        except ray.exceptions.GetTimeoutError:
            logger.warning(
                "W&B: the run of trial %s was not uploaded within %d s. Its files are kept: `wandb sync %s`.",
                trial.trial_id,
                UPLOAD_SECONDS,
                self._folder / "wandb" / f"*run-*-{self._run_id(trial)}",
            )
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1]
            general = reason.replace(self._run_id(trial), "")
            if general not in self._warned:
                self._warned.add(general)
                logger.warning(
                    "W&B: trial %s is not tracked: %s. Other trials may have the same problem; it is "
                    "logged once. The study store has all results.",
                    trial.trial_id,
                    reason,
                )


def _of_sweep(online: OnlineSweep, trial: Trial, init: dict[str, Any]) -> dict[str, str]:
    """Have the writer continue the run that a sweep's server has made for a trial; returns the variables that say so.

    Of a sweep's run, W&B takes path and id from variables alone. The run keeps the sweep's names of its values beside
    ours, and logs the score under the sweep's name: there its server looks for it.
    """
    path, run = online.path, online.runs[trial.trial_id]
    for name in ("id", "project", "entity"):
        init.pop(name, None)
    init["config"] = {**init.get("config", {}), **run.values}
    if online.metric is not None:
        init["aliases"] = {online.metric: f"metrics/{online.objective}"}
    return {
        "WANDB_SWEEP_ID": path.id,
        "WANDB_RUN_ID": run.id,
        "WANDB_PROJECT": path.project,
        "WANDB_ENTITY": path.entity,
    }


def run_id(group: str, trial_id: str) -> str:
    """Returns the W&B id of a trial: stable over resumes, and unique in a project, unlike Tune's trial id alone."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", f"{group}-{trial_id}")
    if len(readable) <= RUN_ID_LENGTH:
        return readable
    return f"{hashlib.sha256(group.encode()).hexdigest()[:16]}-{trial_id}"[:RUN_ID_LENGTH]
