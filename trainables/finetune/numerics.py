"""Precision and kernels of a trial: bf16, fp32, TF32, deterministic kernels, as the spec says.

In bf16 matrix products are computed under torch's autocast; weights, optimizer, logits and loss stay fp32. On a CPU no
kernel is chosen: a trial repeats bit for bit, in either precision.
"""

from __future__ import annotations

import os
from typing import Literal

import torch

from trainables.machine.native_bf16 import cpu_native_bf16
from trainables.spec import FineTuneSpec

Device = Literal["cpu", "cuda"]
WORKSPACE, FIXED_SIZES = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"  # cuBLAS reads it with its first use
AMPERE = 8  # the first compute capability with TF32


def computes_in_bf16(spec: FineTuneSpec, device: Device) -> bool:
    """True if a trial computes in bf16: by the spec's `precision`, for `auto` where the device itself has it.

    Trials of an experiment have no `auto`: it decides for all of them (`tuning.study.precision`). torch counts GPUs
    that only emulate it, such as a T4, where it is slower than fp32.
    """
    if spec.precision != "auto":
        return spec.precision == "bf16"
    if device == "cpu":
        return cpu_native_bf16().native
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def computes_in_tf32(spec: FineTuneSpec, device: Device) -> bool:
    """True if the matrix products of a trial in fp32 are rounded to TF32: the spec says so, and the GPU can."""
    return spec.precision == "tf32" and device == "cuda" and torch.cuda.get_device_capability()[0] >= AMPERE


def precision_in_force(spec: FineTuneSpec, device: Device) -> str:
    """The precision for a trial's record: bf16, tf32 or fp32."""
    if computes_in_bf16(spec, device):
        return "bf16"
    return "tf32" if computes_in_tf32(spec, device) else "fp32"


def set_kernels(spec: FineTuneSpec, device: Device) -> None:
    """Sets for this process which kernels a GPU uses; call it before a model is built."""
    if device == "cpu":
        return
    torch.backends.cuda.matmul.fp32_precision = "tf32" if computes_in_tf32(spec, device) else "ieee"
    if spec.deterministic:
        os.environ[WORKSPACE] = FIXED_SIZES
        # It costs time, and no kernel here reads such memory.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(spec.deterministic)
