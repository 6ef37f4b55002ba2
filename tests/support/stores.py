"""The values with which tests of stores, and of what reads them, begin."""

from __future__ import annotations

from tuning.testing.recording import SPACE, begin_trial, make_exploit, open_study

__all__ = ["SECRET", "SPACE", "begin_trial", "make_exploit", "open_study"]

SECRET = "hunter2"
