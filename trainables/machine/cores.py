"""The CPU cores that torch uses in a forked process (`cluster.workers.forking.server`)."""

from __future__ import annotations

import os
import sys

VARIABLE = "OMP_NUM_THREADS"  # Ray sets it to the CPUs that a task or actor holds, when it begins


def take_cores() -> None:
    """Makes torch use `OMP_NUM_THREADS` threads.

    torch reads the variable when it is imported. In a forked process that was before Ray set it.
    """
    cores = os.environ.get(VARIABLE, "").partition(",")[0]  # a number for each level of nesting
    if "torch" in sys.modules and cores.isdecimal() and int(cores) > 0:
        import torch

        torch.set_num_threads(int(cores))
