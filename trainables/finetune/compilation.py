"""`torch.compile` for a trial's encoder, where this machine can compile."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from trainables.errors import InputError

# Compiled code is kept per process and reused by later trials; another dropout or another precision is another variant.
VARIANTS = 64


def compile_encoder(model: PreTrainedModel) -> None:
    """Compile `model`'s encoder in place, at its first batches; the head and the loss stay as they are.

    Raises:
        InputError: there is no compiler for the model's device.
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

    if torch.cuda.is_available() and not has_triton():
        rule = "torch.compile needs Triton and a GPU of compute capability 7.0 or more"
        raise InputError("compile", True, rule, "install the triton package, or set compile: false")
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        rule = "torch.compile needs a C++ compiler, and this machine has none"
        raise InputError("compile", True, rule, "install g++, or point CXX to one, or set compile: false") from error
