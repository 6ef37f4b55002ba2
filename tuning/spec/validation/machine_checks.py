"""Checks that depend on this machine: places to write, devices, keys."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from cluster.storage import is_uri, uri_mistake, without_credentials
from trainables.data.cache_folder import FOLDER_VARIABLE, cache_folder, cache_limit
from trainables.errors import InputError
from tuning.spec.mistakes import Mistake
from tuning.spec.validation import machine
from tuning.spec.validation.draft import Draft
from tuning.tracking.environment import MODE_VARIABLE, MODES, unknown_mode
from tuning.tracking.tracking import has_key, mode_in_force


def check_run_storage(draft: Draft) -> Iterator[Mistake]:
    """Checks that the storage is a folder that can be written, or a bucket."""
    storage = draft.spec.cluster.storage
    if is_uri(storage):
        if refused := uri_mistake(storage):
            yield Mistake("cluster.storage", refused[0], without_credentials(storage), refused[1])
        yield from _working_folder()
    elif why := machine.why_not_writable(Path(storage).expanduser().absolute()):
        yield Mistake("cluster.storage", why, storage, "name a folder of yours: cluster.storage=FOLDER")


def _working_folder() -> Iterator[Mistake]:
    """Checks the local folder of a driver whose run lies in a bucket."""
    try:
        folder = cache_folder()
    except InputError as error:
        yield Mistake(error.name, error.rule, error.value, error.next_step)
        return
    if why := machine.why_not_writable(folder):
        yield Mistake(FOLDER_VARIABLE, why, str(folder), f"set {FOLDER_VARIABLE} to a folder of yours on a local disk")


def check_tokens(draft: Draft) -> Iterator[Mistake]:
    """Checks the folder of tokenised data; nodes of a cluster at an address have their own environment."""
    if draft.spec.cluster.address is not None or draft.spec.trainable != "finetune":
        return
    try:
        cache_limit()
    except InputError as error:
        yield Mistake(error.name, error.rule, error.value, error.next_step)
    if not is_uri(draft.spec.cluster.storage):  # else reported already
        yield from _working_folder()


def check_packing(draft: Draft) -> Iterator[Mistake]:
    """Checks that `gpus_per_trial: auto` has a trial that can be measured on a device."""
    if draft.spec.cluster.gpus_per_trial == "auto" and draft.spec.trainable != "finetune":
        rule = f"measures trials of trainable: finetune, not of {draft.spec.trainable}"
        yield Mistake("cluster.gpus_per_trial", rule, "auto", "set 0, a fraction or a whole number")


def check_resources(draft: Draft) -> Iterator[Mistake]:
    """Checks that this machine has what a trial needs; a cluster at an address is checked when it is joined."""
    cluster = draft.spec.cluster
    if cluster.address is not None:
        return
    elsewhere = "or join a cluster that has them: cluster.address=host:port"
    if cluster.cpus_per_trial > machine.cores():
        rule = f"no node can hold a trial: this machine has {machine.cores()} cores"
        yield Mistake("cluster.cpus_per_trial", rule, cluster.cpus_per_trial, f"lower it, {elsewhere}")
    needed, found = cluster.gpus_per_trial or 0, machine.gpus()
    if needed and not found:
        rule = "no node can hold a trial: this machine has no CUDA device"
        yield Mistake("cluster.gpus_per_trial", rule, needed, f"set 0 to train on CPU, {elsewhere}")
    elif needed != "auto" and needed > found:
        rule = f"no node can hold a trial: this machine has {found} CUDA device{'s' if found > 1 else ''}"
        yield Mistake("cluster.gpus_per_trial", rule, needed, f"lower it, {elsewhere}")


def check_wandb(draft: Draft) -> Iterator[Mistake]:
    """Checks that a key file is readable by its owner alone, and that a key is there if one is needed."""
    wandb = draft.spec.wandb
    file = Path(wandb.key_file).expanduser() if wandb.key_file else None
    if file is not None and wandb.mode in ("auto", "online"):
        if not file.is_file():
            rule = f"no such file, looked in {file.absolute().parent}"
            yield Mistake("wandb.key_file", rule, wandb.key_file, "write the key into it, mode 0600")
            return
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            yield Mistake("wandb.key_file", "other users can read it", wandb.key_file, f"chmod 600 {wandb.key_file}")
    if (unknown := unknown_mode()) is not None:
        yield Mistake(MODE_VARIABLE, f"must be one of {', '.join(MODES)}", unknown, "set one of them, or unset it")
    elif mode_in_force(wandb, key=False)[0] == "online" and not has_key(wandb):
        step = "set WANDB_API_KEY or wandb.key_file, or wandb.mode=offline"
        yield Mistake("wandb.mode", "no key is found", wandb.mode, step)
