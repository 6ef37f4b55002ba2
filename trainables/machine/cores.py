"""The cores of a process that has not imported torch by itself (`cluster.workers.forking.server`)."""

from __future__ import annotations

import os
import sys

VARIABLE = "OMP_NUM_THREADS"  # Ray sets it to the CPUs that a task or an actor holds, as that begins


def take_cores() -> None:
    """Have torch compute on as many cores as `OMP_NUM_THREADS` says.

    It reads that as it is imported: in a forked process before there was anything that held CPUs.
    """
    told = os.environ.get(VARIABLE, "").partition(",")[0]  # one number for each level of nesting
    if "torch" in sys.modules and told.isdecimal() and int(told) > 0:
        import torch

        torch.set_num_threads(int(told))
