"""Reports of trials: one per evaluation, from the trial through Tune to the driver.

A trial hands a `Report` to Tune as a result dictionary, and the driver's recorder reads it back. Both directions are
here, so that the keys are written once. `report` and `restored_checkpoint` are the interface for function trainables.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any, NamedTuple

from trainables.checksums import DamagedCheckpoint, damage, write_checksums
from trainables.epochs import ROUNDING, horizon_of
from trainables.progress import tracker, waiting
from trainables.spec import FineTuneSpec, Params


class Report(NamedTuple):
    """The report of one evaluation on the validation split."""

    epoch: float  # passes over the training split so far; survives a change of batch size and a restart
    metrics: Mapping[str, float]  # on the validation split; finite
    params: Params  # the values IN FORCE during the training since the previous report, read off the live objects
    device_seconds: float  # cost since the trial's previous report: seconds x devices held (GPUs, or CPU cores without)
    time: float  # of the evaluation, seconds since 1970 (UTC)

    def to_result(self) -> dict[str, Any]:
        """The Tune result: nested mappings, which Tune flattens to `metrics/accuracy`, `params/learning_rate`, ..."""
        return {
            "epoch": self.epoch,
            "metrics": dict(self.metrics),
            "params": dict(self.params),
            "device_seconds": self.device_seconds,
            "reported_at": self.time,
        }

    @classmethod
    def from_result(cls, result: Mapping[str, Any]) -> Report:
        """Read a Tune result back (nested, as callbacks get it).

        Raises:
            KeyError: the result did not come from `to_result`.
        """
        return cls(
            epoch=float(result["epoch"]),
            metrics=dict(result["metrics"]),
            params=dict(result["params"]),
            device_seconds=float(result["device_seconds"]),
            time=float(result["reported_at"]),
        )


class NonFiniteScore(RuntimeError):
    """The objective or the training loss is NaN or infinite.

    Such a score must never reach a searcher: the trial ends as failed, with this error. It is not retried, because the
    same values and seed would diverge again.
    """

    @classmethod
    def of(cls, name: str, value: float, epoch: float, params: Params) -> NonFiniteScore:
        """The error for the score `name`, with a hint at what may help."""
        shown = ", ".join(f"{name}={value}" for name, value in params.items())
        return cls(
            f"{name} is {value} at epoch {epoch:g} with {shown or 'the values given'}: training diverged. "
            "A lower learning rate or a smaller max_grad_norm usually helps."
        )


def validate_metrics(
    metrics: Mapping[str, float], spec: FineTuneSpec, epoch: float, params: Params
) -> dict[str, float]:
    """Converts `metrics` to floats and requires finite objectives; adds their weighted sum, if `spec` has weights.

    Raises:
        KeyError: an objective, or the metric of a constraint, is not among them.
        NonFiniteScore: one of these is NaN or infinite.
    """
    values = {name: float(value) for name, value in metrics.items()}
    for name in spec.required_metrics:
        if name not in values:
            raise KeyError(
                f"{_declared_by(name, spec)}: {name!r} is not reported; this trainable reports "
                f"{', '.join(sorted(values))}. {_way_out(spec)}"
            )
        if not math.isfinite(values[name]):
            raise NonFiniteScore.of(name, values[name], epoch, params)
    return spec.with_scalarised(values)


def _declared_by(metric: str, spec: FineTuneSpec) -> str:
    """The path in `spec` of the objective or the constraint that has this metric."""
    objectives = [one.metric for one in spec.objectives]
    if metric in objectives:
        return f"objectives.{objectives.index(metric)}.metric"
    bounded = [one.metric for one in spec.constraints]
    return f"constraints.{bounded.index(metric)}.metric" if metric in bounded else "objective.metric"


def _way_out(spec: FineTuneSpec) -> str:
    if spec.objectives:
        return "Name one of them."
    return "Set objective.metric (from Python: objective=...) to one of them."


class _FunctionTrial:
    """The context of `report()`: params, spec, horizon and cost of the running function trainable."""

    def __init__(self, params: Params, spec: FineTuneSpec, devices: float, scratch: Path) -> None:
        self.params, self.spec, self.scratch = params, spec, scratch
        self.horizon = horizon_of(params, spec)
        self._devices = devices
        self._charged_until = time.monotonic()

    def charge(self) -> float:
        """Returns the device-seconds since the last call."""
        now = time.monotonic()
        seconds, self._charged_until = now - self._charged_until, now
        return seconds * self._devices


_function_trial: _FunctionTrial | None = None  # of this process, which runs one at a time


@contextlib.contextmanager
def function_trial(params: Params, spec: FineTuneSpec, devices: float) -> Iterator[None]:
    """In the block, `report()` in this process reports for a trial with `params` that holds `devices` devices."""
    global _function_trial
    with TemporaryDirectory(prefix="tunefleet-") as scratch:
        _function_trial = _FunctionTrial(params, spec, devices, Path(scratch))
        yield


def report(metrics: Mapping[str, float], *, epoch: float, checkpoint: str | Path | None = None) -> None:
    """Reports one evaluation from a function trainable (`def train(params, *, spec)`).

    Args:
        metrics: scores on the validation split; the objective must be finite.
        epoch: passes over the training split so far; the unit of ASHA's rungs and of PBT's perturbations.
        checkpoint: a local folder with all that `restored_checkpoint()` needs to continue from here; checksums are
            added to it. PBT needs one at each report, because clones start from it.

    Raises:
        RuntimeError: called outside a trial.
        KeyError: the objective is not among the metrics.
        NonFiniteScore: the objective is NaN or infinite.
    """
    from ray import tune
    from ray.tune import Checkpoint

    trial = _own_trial()
    values = validate_metrics(metrics, trial.spec, epoch, trial.params)
    now = time.time()
    result = Report(epoch, values, trial.params, trial.charge(), now).to_result()
    result["finished"] = epoch >= trial.horizon - ROUNDING
    if checkpoint is not None:
        write_checksums(Path(checkpoint))
    tracker.report(epoch)
    with waiting():  # a scheduler may hold the trial until others have come as far
        tune.report(result, checkpoint=Checkpoint.from_directory(str(checkpoint)) if checkpoint is not None else None)


def _own_trial() -> _FunctionTrial:
    if _function_trial is None:
        raise RuntimeError("trainables: called outside a trial; run the spec with `tunefleet run`")
    return _function_trial


def restored_checkpoint() -> Path | None:
    """Returns a local copy of the checkpoint to continue from, after an exploit or a restart; None for a fresh start.

    The copy is deleted when the trial's function ends.

    Raises:
        RuntimeError: called outside a trial.
        DamagedCheckpoint: a file differs from what was reported.
    """
    from ray import tune

    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        return None
    folder = Path(checkpoint.to_directory(mkdtemp(dir=_own_trial().scratch)))
    if (why := damage(folder)) is not None:
        raise DamagedCheckpoint(why)
    return folder
