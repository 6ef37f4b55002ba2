"""`Trainer.hyperparameter_search(backend="optuna")`: one process, one trial after the other.

The list is given by a grid sampler, and nothing is pruned (the default pruner would discard trials after their full
training). The one trial that runs has all cores: torch starts as many threads as there are, here limited to the slots.
`n_jobs=2` is no alternative: its threads share one Trainer, and each trial replaces the other's model.
"""

from __future__ import annotations

import sys
from pathlib import Path

import optuna
import torch

from benchmarks.throughput.arms import workload_in
from benchmarks.throughput.arms.trainer import make_trainer, objective, rows_of


def main(folder: Path) -> None:
    """Trains a trial for each learning rate of the workload in `folder`."""
    workload = workload_in(folder)
    if workload.device == "cpu":
        torch.set_num_threads(workload.slots)
    rates = workload.learning_rates
    make_trainer(workload, folder, rows_of(workload), expert=False).hyperparameter_search(
        backend="optuna",
        direction="maximize",
        hp_space=lambda trial: {"learning_rate": trial.suggest_categorical("learning_rate", rates)},
        compute_objective=objective,
        n_trials=workload.trials,
        sampler=optuna.samplers.GridSampler({"learning_rate": rates}, seed=workload.seed),
        pruner=optuna.pruners.NopPruner(),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
