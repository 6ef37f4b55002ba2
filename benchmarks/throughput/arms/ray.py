"""`Trainer.hyperparameter_search(backend="ray")`; variant `documented` or `expert`.

Ray is started with as many cores as slots (and one GPU where there is one), so that as many trials run as in every
other arm. A worker of one core gets one thread from Ray by itself.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ray
from ray import tune

from benchmarks.throughput.arms import workload_in
from benchmarks.throughput.arms.trainer import make_trainer, objective, rows_of


def main(folder: Path, variant: str) -> None:
    """Trains a trial for each learning rate of the workload in `folder`."""
    workload = workload_in(folder)
    trainer = make_trainer(workload, folder, rows_of(workload), expert=variant == "expert")
    ray.init(**workload.ray_options)
    trainer.hyperparameter_search(
        backend="ray",
        direction="maximize",
        hp_space=lambda _: {"learning_rate": tune.grid_search(workload.learning_rates)},
        compute_objective=objective,
        n_trials=1,  # samples of the grid
        resources_per_trial=workload.resources,
        storage_path=str(folder / "results"),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
