"""How this package wants Ray Tune to behave in the driver's process: environment variables and log messages."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no CSV, JSON and TensorBoard files: the store has it all
    "TUNE_GLOBAL_CHECKPOINT_S": "1",  # the default of 10 s loses that much of every trial when the driver dies
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output ignores verbose=0
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths of a spec stay what they are
}
# By logger, how the messages begin that mislead here: advice that `tunefleet resume` and the store make wrong, and
# complaints about the files that are switched off, one per trial.
UNWANTED = {
    "ray.tune.tune": ("Stop signal received", "Experiment has been interrupted", "Trials did not complete"),
    "ray.tune.analysis.experiment_analysis": ("Failed to fetch metrics",),
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
    """`ENVIRONMENT` where Tune reads it (what the user has set stays) and Tune without the unwanted messages."""
    added = {name: value for name, value in ENVIRONMENT.items() if name not in os.environ}
    os.environ.update(added)
    filters = [(logging.getLogger(name), _Without(beginnings)) for name, beginnings in UNWANTED.items()]
    for logger, unwanted in filters:
        logger.addFilter(unwanted)
    try:
        yield
    finally:
        for logger, unwanted in filters:
            logger.removeFilter(unwanted)
        for name in added:
            del os.environ[name]
