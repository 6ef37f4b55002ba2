"""Which strategy did better over several experiments: outcomes in, ranks, tests and a verdict out. Pure, no I/O.

An experiment is a task, and the unit of every statement here: seeds tell of a strategy on its task, never of other
tasks. J. Demsar, JMLR 7 (2006), 1-30; R. Agarwal and others, NeurIPS 2021, arXiv:2108.13264.
"""

from __future__ import annotations

from tuning.across.compare import compare_across
from tuning.across.types import Across, AcrossPair, AcrossRow, Friedman, TaskRow

__all__ = ["Across", "AcrossPair", "AcrossRow", "Friedman", "TaskRow", "compare_across"]
