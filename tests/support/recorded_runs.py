"""Run folders as runs have left them, with what is recorded, without a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.outcomes import make_report
from tests.support.specs import curve_experiment
from tuning.budget import ResourceUsage
from tuning.outcome import TrialState
from tuning.run_folder.folder import claim_run_folder
from tuning.spec.models import ExperimentSpec
from tuning.store.study_store import StudyStore, StudyWriter
from tuning.testing.recording import open_study


def run_left(folder: Path, *, scores: tuple[float, ...] = (), finished: bool = False, **changed: Any) -> ExperimentSpec:
    """Makes the run folder of an experiment whose studies each have a trial with these scores, or a failed one.

    Args:
        folder: its storage.
        changed: of the spec, as for `curve_experiment`.
    """
    spec = curve_experiment(folder, **changed)
    claim_run_folder(spec, resume=False)
    record(spec, scores, finished=finished)
    (spec.run_folder / "studies" / "grid-seed0").mkdir(parents=True)
    (spec.run_folder / "studies" / "grid-seed0" / "weights").write_bytes(b"0" * 1000)
    return spec


def record(spec: ExperimentSpec, scores: tuple[float, ...], *, finished: bool = False) -> None:
    """Records in a store what `run_left` has there."""
    store = StudyStore(spec.store_url)
    for strategy in spec.strategies:
        _record(open_study_of(store, spec, strategy.name), strategy.name, scores, finished=finished)
    store.close()


def open_study_of(store: StudyStore, spec: ExperimentSpec, strategy: str) -> StudyWriter:
    """Opens the study of that strategy's first seed."""
    return open_study(
        store, experiment=spec.name, digest=spec.digest(), strategy=strategy, kind=strategy, seed=spec.seeds[0],
        spec_yaml=spec.to_yaml(),
    )  # fmt: skip


def _record(writer: StudyWriter, strategy: str, scores: tuple[float, ...], *, finished: bool) -> None:
    trial = f"{strategy}-0"
    writer.begin_trial(trial, {"learning_rate": 0.1}, {})
    for epoch, score in enumerate(scores, 1):
        writer.add_report(
            trial, make_report(epoch, score), ResourceUsage(epoch * 10.0, epoch * 10.0, epoch * 10.0, epoch * 10.0)
        )
    if not scores:
        writer.end_trial(trial, TrialState.FAILED, "ValueError: no such column")
    elif finished:
        writer.end_trial(trial, TrialState.COMPLETED)
    if finished:
        writer.finish()
