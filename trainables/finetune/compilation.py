"""`torch.compile` for a trial's encoder."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from trainables.errors import InputError
from trainables.machine.devices import training_device

# Compiled code is kept per process and reused by later trials; each dropout and each precision is a variant of its own.
VARIANTS = 64


def compile_encoder(model: PreTrainedModel) -> None:
    """Makes `model`'s encoder compile at its first batches; head and loss are not compiled.

    Raises:
        InputError: this machine has no compiler for the device.
    """
    _require_compiler()
    dynamo: Any = torch._dynamo
    dynamo.config.recompile_limit = max(dynamo.config.recompile_limit, VARIANTS)
    encoder: torch.nn.Module = model.base_model
    encoder.compile()


def _require_compiler() -> None:
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler
    from torch.utils._triton import has_triton

    if training_device() == "cuda" and not has_triton():
        rule = "torch.compile needs Triton and a GPU of compute capability 7.0 or more"
        raise InputError("compile", True, rule, "install the triton package, or set compile: false")
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        rule = "torch.compile needs a C++ compiler, and this machine has none"
        raise InputError("compile", True, rule, "install g++, or point CXX to one, or set compile: false") from error
