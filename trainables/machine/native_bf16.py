"""Tells whether this machine computes bf16 natively, on its CPU or on its GPUs.

Where it does not, torch emulates bf16, which is slower than fp32. A process that holds no GPU sees none through torch,
so the GPUs are asked through the driver's library.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from trainables.machine.devices import DRIVER, VISIBLE, has_gpus, wait_for_mps

# What torch calls the instructions of a CPU that compute bf16, and what people call them.
INSTRUCTIONS: Mapping[str, str] = {"avx512_bf16": "AVX512-BF16", "amx_bf16": "AMX", "bf16": "Arm's bf16"}
LOWEST = 8  # the first compute capability with bf16
MAJOR, MINOR = 75, 76  # CUDA's attributes of a device that are its compute capability


class NativeBf16(NamedTuple):
    """An answer to the question whether devices compute bf16 natively, with its reason."""

    native: bool
    why: str  # a clause that begins with the device: "its CPU has AVX512-BF16"


def native_bf16(*, gpus: bool) -> NativeBf16:
    """Asks the devices of this machine on which a trial would compute; called on a node.

    Args:
        gpus: True: trials hold GPUs. Where those are logical, they compute on the CPU.
    """
    return gpus_native_bf16() if gpus and has_gpus() else cpu_native_bf16()


def cpu_native_bf16() -> NativeBf16:
    """Asks torch for the CPU's instructions."""
    import torch

    if not hasattr(torch.cpu, "get_capabilities"):
        return NativeBf16(False, f"torch {torch.__version__} does not tell whether its CPU has bf16 (torch 2.13 does)")
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return NativeBf16(False, f"torch {torch.__version__} is built without oneDNN, which computes bf16 on a CPU")
    found = torch.cpu.get_capabilities()
    if known := [shown for name, shown in INSTRUCTIONS.items() if found.get(name)]:
        return NativeBf16(True, f"its CPU has {' and '.join(known)}")
    return NativeBf16(False, "its CPU has neither AVX512-BF16, AMX nor Arm's bf16")


def gpus_native_bf16() -> NativeBf16:
    """Asks all GPUs of this machine that are not hidden from Ray; the oldest of them decides."""
    import torch

    if torch.version.hip is not None:
        return NativeBf16(True, "its GPU is AMD's")
    hidden = os.environ.get(VISIBLE) == ""  # by Ray, which hides all of them from a process that holds none
    if hidden:
        del os.environ[VISIBLE]
    try:
        wait_for_mps()
        found = sorted(_capabilities())
    except OSError as error:
        return NativeBf16(False, f"its GPUs do not tell: {error}")
    finally:
        if hidden:
            os.environ[VISIBLE] = ""
    if not found:
        return NativeBf16(False, "CUDA finds no GPU there")
    major, minor, name = found[0]
    return NativeBf16(major >= LOWEST, f"its {name} has compute capability {major}.{minor}, and bf16 takes {LOWEST}.0")


def _capabilities() -> Iterator[tuple[int, int, str]]:
    """The compute capability and the name of each device, from CUDA's driver.

    Raises:
        OSError: there is no driver, or it answers with an error.
    """
    cuda = ctypes.CDLL(DRIVER)

    def call(function: str, *arguments: object) -> None:
        if status := getattr(cuda, function)(*arguments):
            raise OSError(f"CUDA's error {status} of {function}")

    count, device, value = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    call("cuInit", 0)
    call("cuDeviceGetCount", ctypes.byref(count))
    for number in range(count.value):
        call("cuDeviceGet", ctypes.byref(device), number)
        numbers = []
        for attribute in (MAJOR, MINOR):
            call("cuDeviceGetAttribute", ctypes.byref(value), attribute, device)
            numbers.append(value.value)
        name = ctypes.create_string_buffer(256)
        call("cuDeviceGetName", name, len(name), device)
        yield numbers[0], numbers[1], name.value.decode()
