"""Compares strategies over several experiments: ranks, tests, aggregates and a verdict. No I/O.

Input is a sequence of outcomes, output an `Across`. Each experiment is a task, and tasks are the unit of every
statement here: seeds vary a strategy's score on one task and say nothing about other tasks. Sources: J. Demsar, JMLR 7
(2006), 1-30; R. Agarwal and others, NeurIPS 2021, arXiv:2108.13264.
"""

from __future__ import annotations

from tuning.across.compare import compare_across
from tuning.across.types import Across, AcrossPair, AcrossRow, Friedman, TaskRow

__all__ = ["Across", "AcrossPair", "AcrossRow", "Friedman", "TaskRow", "compare_across"]
