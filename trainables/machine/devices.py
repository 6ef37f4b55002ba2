"""The GPUs of this process: those that Ray has assigned to it, and no others.

Ray 2.60 hides no GPU from a process that holds none (ray #62492), and none from any where the variable
RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES is 1: all of them would compute on the first device. So each process that
computes sets CUDA_VISIBLE_DEVICES itself, first of all, because CUDA reads it once, when it is first used. GPUs that
were declared on a machine without a device (`ray start --num-gpus=4`) are logical: their trials train on the CPU. Such
a machine is known by its device files.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import glob
import os
import socket
import sys
import time
from pathlib import Path
from typing import Literal

VISIBLE = "CUDA_VISIBLE_DEVICES"
MPS_PIPES, MPS_UUID = "CUDA_MPS_PIPE_DIRECTORY", "uuid"  # see `cluster.gpu.mps`: a daemon per GPU, in folders by id
DEVICE_FILES = ("/dev/nvidia[0-9]*", "/dev/dxg")  # of NVIDIA's driver, and of that in WSL 2
DRIVER = "libcuda.so.1"
MPS_NOT_READY = 807  # CUDA's error while an MPS server recovers from a fault, or starts: it accepts nobody yet
READY_SECONDS = 30.0  # to wait for such a server

_assigned: tuple[str, ...] | None = None  # None: this process is no worker of Ray's, and may use every device


class DeviceError(RuntimeError):
    """A trial holds a GPU that it cannot use. The message names the GPU, the cause and the next step."""


class DeviceNotReady(DeviceError):
    """The GPU's MPS server accepts no process at the moment; a later process may be accepted."""


def use_assigned_devices() -> None:
    """Makes the GPUs that Ray has assigned to this process visible to CUDA, and no others; without any, none.

    Call it first in every process that computes. Does nothing in a process that is no worker of Ray's.

    Raises:
        DeviceError: CUDA has been used here before, and has other devices.
    """
    global _assigned
    import ray

    if _assigned is not None or not ray.is_initialized():  # in the latter case `get_runtime_context` would start Ray
        return
    context = ray.get_runtime_context()
    if context.worker.mode != ray.WORKER_MODE:
        return
    _assigned = tuple(sorted(context.get_accelerator_ids().get("GPU", ()), key=lambda gpu: (len(gpu), gpu)))
    settings = {VISIBLE: ",".join(_assigned), **_under_mps(_assigned)}
    if "torch" in sys.modules and os.environ.get(VISIBLE) != settings[VISIBLE]:
        import torch

        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            raise DeviceError(
                f"{VISIBLE}: {os.environ.get(VISIBLE)!r} when CUDA was first used in this process, and Ray has "
                f"assigned {', '.join(_assigned) or 'no GPU'} to it; use no device while a module is imported"
            )
    os.environ.update(settings)


def computes_for_ray() -> bool:
    """True if this process is a worker of Ray's that has called `use_assigned_devices`."""
    return _assigned is not None


def _under_mps(assigned: tuple[str, ...]) -> dict[str, str]:
    """The variables of a process that shares its GPU under an MPS daemon of its own; empty if there is none."""
    pipes = Path(os.environ.get(MPS_PIPES, ""), *assigned)
    if len(assigned) != 1 or not (pipes / MPS_UUID).is_file():
        return {}
    return {MPS_PIPES: str(pipes), VISIBLE: (pipes / MPS_UUID).read_text()}


def training_device() -> Literal["cpu", "cuda"]:
    """The kind of device that this process trains on: its first GPU if it has one, else the CPU.

    Raises:
        DeviceError: Ray has assigned a GPU, this machine has such devices, and CUDA does not start.
    """
    if cuda_starts():
        return "cuda"
    if _holds_real_gpu():
        raise _unusable()
    return "cpu"


def cuda_starts() -> bool:
    """True if torch can use a GPU in this process; of a GPU that Ray has assigned, its MPS server is waited for."""
    import torch

    if _holds_real_gpu() and not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        wait_for_mps()
    return torch.cuda.is_available()


def has_gpus() -> bool:
    """True if this machine has GPUs; those that were declared on another one are logical."""
    return any(glob.glob(pattern) for pattern in DEVICE_FILES)


def _holds_real_gpu() -> bool:
    return bool(_assigned) and has_gpus()


@functools.cache
def wait_for_mps() -> None:
    """Waits, once per process, while an MPS server is not ready; torch uses CUDA after it, and would not try again."""
    until = time.monotonic() + READY_SECONDS
    while _driver_status() == MPS_NOT_READY and time.monotonic() < until:
        time.sleep(1)


def _driver_status() -> int | None:
    """CUDA's error number when its driver starts in this process, 0 if it does; None if there is no driver."""
    with contextlib.suppress(OSError):
        return int(ctypes.CDLL(DRIVER).cuInit(0))
    return None


def _unusable() -> DeviceError:
    """The error for an assigned GPU that torch cannot use, with torch's own words for the cause."""
    import torch

    cause = "it finds no such device"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        cause = str(error).strip().partition("\n")[0]
    status = _driver_status()
    kind = DeviceNotReady if status == MPS_NOT_READY else DeviceError
    if torch.version.cuda is None and torch.version.hip is None:
        cause, step = f"torch {torch.__version__} is built without CUDA", "install torch with CUDA on that node"
    elif status is not None and MPS_NOT_READY - 2 <= status <= MPS_NOT_READY + 2:
        step = "look at the log of its MPS server; without MPS: cluster.mps=false"
    else:
        step = "look at that node with `nvidia-smi`, and at the number of GPUs that its Ray was started with"
    return kind(
        f"GPU {', '.join(_assigned or ())} of {socket.gethostname()} is assigned to this trial, and CUDA does not "
        f"start there: {cause}{f' (error {status} of the driver)' if status else ''}; {step}. To train on CPUs: "
        "cluster.gpus_per_trial=0"
    )
