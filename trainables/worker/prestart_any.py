"""Imports that a slot's process does before it has a trial, whatever that computes.

See `trainables.worker.prestart`, which is for what it computes most often.
"""

import os

EARLY = ("pandas", "pyarrow.fs")  # the slowest imports of ray.tune that do not import ray

if "PL_DISABLE_FORK" in os.environ:
    import trainables.worker.slot  # noqa: F401
