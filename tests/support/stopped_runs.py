"""Runs of the closed-form trial in drivers of their own that are stopped, and what they have left."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

from tests.support.specs import curve_fields
from tests.support.strategies import make
from trainables.machine.shared_memory import SharedMemory
from tuning.outcome import StudyOutcome, TrialState
from tuning.spec.models import ExperimentSpec
from tuning.store.study_store import StudyStore

STRATEGIES: dict[str, dict[str, Any]] = {  # small ones, each with enough to decide
    "grid": {"kind": "grid", "points": 4},
    "defaults": {"kind": "defaults"},
    "random": {"kind": "random", "trials": 4},
    "random_asha": {"kind": "random_asha", "trials": 6},
    "random_moasha": {"kind": "random_moasha", "trials": 6},
    "hyperopt": {"kind": "hyperopt", "trials": 4, "initial_random": 2},
    "hyperopt_asha": {"kind": "hyperopt_asha", "trials": 8, "initial_random": 4},
    "optuna": {"kind": "optuna", "trials": 8, "initial_random": 4, "pruner": "median", "startup_trials": 2},
    "gp": {"kind": "optuna", "label": "gp", "sampler": "gp", "trials": 8, "initial_random": 4, "pruner": "asha"},
    "cmaes": {"kind": "optuna", "label": "cmaes", "sampler": "cmaes", "trials": 8},
    "qmc": {"kind": "optuna", "label": "qmc", "sampler": "qmc", "trials": 8, "pruner": "patient", "startup_trials": 2},
    "custom": {"kind": "custom", "sampler": "hyperopt", "stopping": "hyperband", "trials": 8, "initial_random": 4},
    "pbt": {"kind": "pbt", "population": 3, "quantile": 0.34},
    "pbt-async": {"kind": "pbt", "label": "pbt-async", "population": 4, "quantile": 0.5, "synchronous": False},
    "pb2": {"kind": "pb2", "population": 3, "quantile": 0.34},
    "pb2-async": {"kind": "pb2", "label": "pb2-async", "population": 4, "quantile": 0.5, "synchronous": False},
}
PLANNED = {
    **{"grid": 4, "defaults": 1, "random": 4, "random_asha": 6, "random_moasha": 6, "hyperopt": 4, "hyperopt_asha": 8},
    **{"pbt": 3, "pbt-async": 4, "pb2": 3, "pb2-async": 4},
    **dict.fromkeys(("optuna", "gp", "cmaes", "qmc", "custom"), 8),
}
if not make("wandb_sweep").install_command():  # no extra can name what it needs
    STRATEGIES["wandb_sweep"] = {"kind": "wandb_sweep", "trials": 6, "early_terminate": {"min_iter": 1, "eta": 2}}
    PLANNED["wandb_sweep"] = 6
SECONDS = 120  # that a driver may take to its first reports, or to its end, on a busy machine


def spec_of(folder: Path | str, strategy: str, seconds_per_epoch: float, **changed: Any) -> dict[str, Any]:
    """Returns a spec of one study in one slot: with nobody beside it, the outcome does not depend on who is faster."""
    one = {"strategies": [STRATEGIES[strategy]], "fixed": {"model.seconds_per_epoch": seconds_per_epoch}}
    cluster = {"max_concurrent": 1, **changed.pop("cluster", {})}
    return curve_fields(folder, **{"name": "stopped", **one, "cluster": cluster, **changed})


def study_of(spec: ExperimentSpec) -> StudyOutcome:
    (study,) = StudyStore(spec.store_url).load(spec.name).studies
    return study


def outcomes(study: StudyOutcome) -> list[tuple[Any, ...]]:
    """Returns what each trial was, where it ended and with which score; lost ones are left out."""
    return sorted(
        (t.params["learning_rate"], str(t.state), [(r.epoch, r.metrics["accuracy"]) for r in t.reports])
        for t in study.trials
        if "lost in an interruption" not in (t.error or "")
    )


def check_nothing_was_repeated(before: StudyOutcome, after: StudyOutcome, *, graceful: bool) -> None:
    """Checks that what was recorded of an ended trial stands.

    After a graceful end so does all that a checkpoint was made of: the last report of a running trial may be made
    again, and then replaces the first.
    """
    by_id = {trial.id: trial for trial in after.trials}
    assert not graceful or len(by_id) == PLANNED[after.strategy]
    for trial in before.trials:
        now = by_id[trial.id]
        if trial.state is not TrialState.RUNNING:
            assert (now.state, now.reports) == (trial.state, trial.reports)
        elif graceful:
            stands = trial.reports[:-1]
            assert now.reports[: len(stands)] == stands
    for trial in after.trials:
        epoch, taken_over = 0.0, {exploit.reports: exploit.epoch for exploit in trial.lineage}
        for number, report in enumerate(trial.reports):
            epoch = taken_over.get(number, epoch) + 1
            assert report.epoch == epoch


def check_no_saved_epoch_was_computed_again(
    before: StudyOutcome, after: StudyOutcome, saved: dict[str, float], computed: int
) -> None:
    """Checks that no epoch was computed again whose checkpoint was there."""
    ended = {trial.id: float(len(trial.reports)) for trial in before.trials if trial.state is not TrialState.RUNNING}
    assert computed <= sum(len(trial.reports) for trial in after.trials) - sum({**saved, **ended}.values())


def memory_of(study: Path) -> Path:
    """Returns the folder in which the states of a study lie until they are copied."""
    memory = SharedMemory(study)
    memory.close()
    return memory.folder


def lose_the_states(study: Path) -> None:
    """Deletes states, as if the machine had gone between the reports and their copies: the manifests are left."""
    assert list(study.glob("*/checkpoint_*/recipe.json"))
    shutil.rmtree(memory_of(study))
    for state in study.glob("*/checkpoint_*/*-*"):
        shutil.rmtree(state)


def going_on(told: str) -> list[str]:
    """Returns the arguments of the command that a stopped run was told to go on with."""
    found = re.search(r"go on with `tunefleet ([^`]+)`", told)
    assert found, told
    return shlex.split(found[1])
