"""Experiments in the formats of other tools: one file for each. In: a mapping as YAML gives it. Out: a spec of ours.

A format is recognised by its keys. What it has no words for, such as model and data, stands beside it: on the command
line, in the file itself, or in a spec that `base` names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuning.spec.formats.sigopt import SIGOPT
from tuning.spec.formats.translation import ForeignFormat, Translation
from tuning.spec.formats.wandb_sweep import WANDB_SWEEP

__all__ = ["ForeignFormat", "Translation", "find_format"]

FORMATS: tuple[ForeignFormat, ...] = (WANDB_SWEEP, SIGOPT)


def find_format(raw: Mapping[str, Any]) -> ForeignFormat | None:
    """Returns the format in which `raw` is written; None if it is a spec of ours."""
    return next((one for one in FORMATS if one.recognises(raw)), None)
