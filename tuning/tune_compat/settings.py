"""Settings of Ray Tune in the driver's process: environment variables, and log messages that are left out."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping

ENVIRONMENT = {
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # a failed trial is one line; the traceback is in its folder
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths of a spec stay what they are
}
# By logger, how the messages begin that mislead here, the tracebacks on a full disk: of Tune's own copy of its state (a
# resume goes on from ours, and `snapshots` reports it), and of a trial's end that cannot be recorded (the run ends with
# that very error; of others the trial's error has the traceback).
UNWANTED = {
    "ray.tune.execution.experiment_state": ("Saving experiment state to storage",),
    "ray.tune.execution.tune_controller": ("Trial %s: Error stopping trial",),
}


class _Without(logging.Filter):
    """Drops messages by their beginning."""

    def __init__(self, beginnings: tuple[str, ...]) -> None:
        super().__init__()
        self._beginnings = beginnings

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith(self._beginnings)


@contextlib.contextmanager
def tune_settings() -> Iterator[None]:
    """A block in which Tune reads `ENVIRONMENT` and logs no unwanted messages."""
    filters = [(logging.getLogger(name), _Without(beginnings)) for name, beginnings in UNWANTED.items()]
    for logger, unwanted in filters:
        logger.addFilter(unwanted)
    try:
        with _environment(ENVIRONMENT):
            yield
    finally:
        for logger, unwanted in filters:
            logger.removeFilter(unwanted)


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Sets variables temporarily, without overriding the user's."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
