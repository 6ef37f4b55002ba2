"""The private parts of Ray's W&B integration, behind a base class with hooks. Imports wandb. Read against ray 2.60."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ray.air.integrations.wandb import WandbLoggerCallback, _QueueItem, _WandbLoggingActor

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

LIVE = ("_trial_logging_actors", "_trial_logging_futures", "_logging_future_to_trial", "_trial_queues")


class Writer(NamedTuple):
    """The actor that writes the W&B run of one trial."""

    actor: Any  # Ray's handle
    inbox: Any  # with a method `put` for (kind, result); see `is_end`
    ended: Any  # Ray's reference, there when the run is written


class WandbCallback(WandbLoggerCallback):  # type: ignore[misc]
    """Ray's callback for W&B with a choice of the process that writes a run."""

    def start_writer(self, trial: Trial, exclude: list[str], init: dict[str, Any]) -> Writer:
        """Called once per trial, before its first result.

        Args:
            exclude: keys of a result that are not logged.
            init: arguments of `wandb.init`.
        """
        raise NotImplementedError

    def report_writer(self, trial: Trial, ended: Any) -> None:
        """Called when the study has waited for a writer, with its `Writer.ended`: whether it is there or not."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles callbacks; what lives only in this process stays out."""
        return {**self.__dict__, "_remote_logger_class": None, **{name: {} for name in LIVE}}

    def __del__(self) -> None:
        """Nothing: Ray's own calls actors here, which a process that ends has no more."""

    def end_writers(self) -> None:
        """Let the writers of all trials finish, also of those that have not ended."""
        for trial in self._trial_queues:
            self._signal_logging_actor_stop(trial)

    def _start_logging_actor(self, trial: Trial, exclude_results: list[str], **init: Any) -> None:
        if trial in self._trial_logging_actors:
            return
        writer = self.start_writer(trial, exclude_results, init)
        self._trial_queues[trial] = writer.inbox
        self._trial_logging_actors[trial] = writer.actor
        self._trial_logging_futures[trial] = writer.ended
        self._logging_future_to_trial[writer.ended] = trial

    def _cleanup_logging_actor(self, trial: Trial) -> None:
        self.report_writer(trial, self._trial_logging_futures[trial])
        super()._cleanup_logging_actor(trial)


def is_end(kind: Any) -> bool:
    """True if an item of this kind in a `Writer.inbox` ends the run."""
    return kind is _QueueItem.END


class ResultFilter:
    """Splits a result into what W&B logs and what belongs to the run's configuration, as Ray's own writer does.

    Args:
        exclude: keys of a result that are not logged.
        to_config: keys that belong to the configuration.
    """

    def __init__(self, folder: str, exclude: list[str], to_config: list[str]) -> None:
        self._filter = _WandbLoggingActor(folder, None, exclude, to_config)

    def split(self, result: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Numbers to log by flat name, and the configuration."""
        log, config = self._filter._handle_result(result)
        return log, config
