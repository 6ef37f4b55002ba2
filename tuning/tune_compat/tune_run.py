"""Options that keep `tune.run` quiet, and the environment in which it starts trials' processes.

Read against ray 2.60.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ray.tune.progress_reporter import ProgressReporter, TrialProgressCallback


class NoProgressLines(TrialProgressCallback):  # type: ignore[misc]
    """Takes the place of Tune's callback that prints: at any verbosity that one prints trials without a report."""

    def on_trial_result(self, *args: Any, **info: Any) -> None:
        """Print nothing."""

    on_trial_error = on_trial_complete = on_trial_result


class NoReporter(ProgressReporter):  # type: ignore[misc]
    """Takes the place of Tune's reporter of progress."""

    def should_report(self, *args: Any, **options: Any) -> bool:
        """Returns false: there is never anything to report."""
        return False

    def report(self, *args: Any) -> None:
        """Print nothing."""


def no_reporter() -> NoReporter | None:
    """The reporter to pass to `tune.run` so that it prints nothing.

    In a notebook Tune's own reporter clears the cell's output when a study begins, at any verbosity: the output of
    earlier studies is gone. Elsewhere Tune has no reporter, and warns of any.
    """
    from ray.tune.experimental.output import get_air_verbosity
    from ray.tune.progress_reporter import IS_NOTEBOOK

    return NoReporter() if IS_NOTEBOOK or get_air_verbosity(0) is None else None


def run_quietly(trainable: Any, *, callbacks: list[Any], **options: Any) -> None:
    """Calls `tune.run` as every run here needs it: it prints nothing, reuses processes, and a failed trial ends no run.

    Not `tune.Tuner`: its `restore` brings back pickled callbacks and a scheduler without state.
    """
    from ray import tune

    with uncounted_callbacks():
        tune.run(
            trainable,
            callbacks=[*callbacks, NoProgressLines()],
            raise_on_failed_trial=False,
            reuse_actors=True,
            trial_dirname_creator=trial_folder,
            progress_reporter=no_reporter(),
            verbose=0,
            **options,
        )


def trial_folder(trial: Any) -> str:
    """The name of a trial's folder below the study's. Snapshots name this function: a resume looks for it here."""
    return str(trial.trial_id)


@contextlib.contextmanager
def uncounted_callbacks() -> Iterator[None]:
    """Keeps `tune.run` in the block from counting which callbacks are Ray's own.

    It counts for usage statistics, which are switched off here, and imports wandb for it: half a second.
    """
    from ray.air._internal import usage

    counting = usage.tag_callbacks
    usage.tag_callbacks = lambda callbacks: False
    try:
        yield
    finally:
        usage.tag_callbacks = counting


def slot_environment() -> dict[str, Any]:
    """The runtime environment of Tune's trial actors: a worker that is started to wait for one must have the same."""
    from ray.tune import Trainable
    from ray.tune.execution.class_cache import _ActorClassCache

    return dict(_ActorClassCache().get(Trainable)._default_options["runtime_env"])
