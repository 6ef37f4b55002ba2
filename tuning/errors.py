"""The errors with which a run ends early. They live in a module of their own, so catching them does not import Ray."""

from __future__ import annotations


class Interrupted(Exception):
    """The run was stopped from outside (Ctrl-C, SIGTERM). All results are kept; `tunefleet resume` continues it."""


class RepeatedFailure(RuntimeError):
    """The run stopped because the first trials of a study failed with the same error. `resume` runs them again."""


class RunFolderError(ValueError):
    """The run folder holds another experiment, holds none to resume, or is in use."""
