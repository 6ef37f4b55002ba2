"""Runs the Trainer of `arms.ray` by `tunefleet.hyperparameter_search`: the same script and variants, another call."""

from __future__ import annotations

import sys
from pathlib import Path

import tunefleet
from benchmarks.throughput.arms import workload_in
from benchmarks.throughput.arms.trainer import make_trainer, objective, rows_of


def main(folder: Path, variant: str) -> None:
    """Trains a trial for each learning rate of the workload in `folder`."""
    from ray import tune

    workload = workload_in(folder)
    trainer = make_trainer(workload, folder, rows_of(workload), expert=variant == "expert")
    tunefleet.hyperparameter_search(
        trainer,
        backend="ray",
        direction="maximize",
        hp_space=lambda _: {"learning_rate": tune.grid_search(workload.learning_rates)},
        compute_objective=objective,
        strategies="grid",
        resources_per_trial=workload.resources,
        storage_path=str(folder / "runs"),
        max_concurrent_trials=workload.slots,
        progress=False,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
