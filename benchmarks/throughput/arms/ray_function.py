"""A plain Ray Tune function with a Trainer inside, as Ray's guides write it.

The tokenised rows travel by `with_parameters`; a callback reports metrics and the Trainer's checkpoint at each save, as
`ray.train.huggingface.transformers.RayTrainReportCallback` does (which itself works under Ray Train only).
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import ray
from ray import tune
from transformers import TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from benchmarks.throughput.arms import workload_in
from benchmarks.throughput.arms.trainer import (
    RecordingTrainer,
    accuracy,
    arguments,
    fresh_model,
    rows_of,
    tokenised,
)
from benchmarks.workload import Workload


class TuneReport(TrainerCallback):  # type: ignore[misc]
    """Reports metrics and checkpoint to Tune at each save."""

    def on_save(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        """Called when the Trainer has saved."""
        metrics: dict[str, Any] = {}
        for entry in state.log_history:
            metrics.update(entry)
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(get_last_checkpoint(args.output_dir), Path(folder) / "checkpoint")
            tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder))


def train(config: dict[str, float], workload: Workload, folder: Path, data: dict[str, Any], labels: int) -> None:
    """Runs one trial, in Tune's working directory for it."""
    trainer = RecordingTrainer(
        model=fresh_model(workload, labels),
        args=arguments(workload, Path.cwd(), expert=False, learning_rate=config["learning_rate"]),
        train_dataset=data["train"],
        eval_dataset=data["validation"],
        compute_metrics=accuracy,
        callbacks=[TuneReport()],
    )
    trainer.folder = folder
    trainer.train()


def main(folder: Path) -> None:
    """Trains a trial for each learning rate of the workload in `folder`."""
    workload = workload_in(folder)
    rows = rows_of(workload)
    splits = {"train": rows.train, "validation": rows.validation}
    data = {name: tokenised(split, workload, padding=True) for name, split in splits.items()}
    ray.init(**workload.ray_options)
    trainable = tune.with_parameters(train, workload=workload, folder=folder, data=data, labels=rows.num_labels)
    tuner = tune.Tuner(
        tune.with_resources(trainable, workload.resources),
        param_space={"learning_rate": tune.grid_search(workload.learning_rates)},
        tune_config=tune.TuneConfig(metric="eval_accuracy", mode="max"),
        run_config=tune.RunConfig(storage_path=str(folder / "results")),
    )
    tuner.fit()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
