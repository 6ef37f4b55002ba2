"""How a run may end before its studies have. Whoever catches these need not wait for Ray to be imported."""

from __future__ import annotations


class Interrupted(Exception):
    """The run was stopped from outside (Ctrl-C, SIGTERM); everything is kept and `resume` goes on."""


class RepeatedFailure(RuntimeError):
    """The run has stopped: the first trials of a study have failed alike. `resume` runs them again."""


class RunFolderError(ValueError):
    """The run folder holds another experiment, or none to resume, or is in use."""
