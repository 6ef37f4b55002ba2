"""The small experiment under its older name: `tests.support.specs` states it."""

from __future__ import annotations

from tests.support.specs import GRID, HYPEROPT_ASHA, PBT
from tests.support.specs import curve_experiment as spec_of

__all__ = ["STRATEGIES", "spec_of"]

STRATEGIES = [GRID, HYPEROPT_ASHA, PBT]
