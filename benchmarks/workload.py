"""The list of trials that every arm of a comparison runs: the same rows, model, learning rates, epochs, evaluations."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, PositiveInt

from trainables.spec import DataSpec, Epochs, FineTuneSpec, Frozen, Objective, Subset

Precision = Literal["fp32", "bf16"]
LEARNING_RATES = (1e-5, 2e-4)  # both ends are in the list, evenly spaced on a log scale


class Workload(Frozen):
    """A fixed list of trials that differ in the learning rate alone; an arm's process reads it as JSON."""

    trials: PositiveInt = Field(8, description="length of the list")
    slots: PositiveInt = Field(2, description="trials at the same time; on a GPU they share it")
    rows: PositiveInt = Field(128, description="training rows")
    validation_rows: PositiveInt = Field(69, description="validation rows, all scored once per epoch")
    epochs: Epochs = 1
    batch_size: PositiveInt = 16
    eval_batch_size: PositiveInt = 16
    max_length: PositiveInt = Field(128, description="tokens")
    seed: int = 0
    device: str = Field("cpu", description="cpu (one core per trial) or cuda (one GPU shared by all slots)")
    precision: Precision = Field(default_factory=lambda known: "fp32" if known["device"] == "cpu" else "bf16")
    task: str = "rte"
    model: str = "minilm"
    data: str | None = Field(None, description="the task's local files")
    text: tuple[str, ...] | None = Field(None, description="text columns, where the task does not know them")
    label: str | None = None

    @property
    def learning_rates(self) -> list[float]:
        """Returns one learning rate per trial, rounded to four digits so that every tool writes them alike."""
        return [float(f"{rate:.4g}") for rate in np.geomspace(*LEARNING_RATES, self.trials)]

    @property
    def devices(self) -> int:
        """Returns how many devices the list holds while it runs: cores, or the one GPU."""
        return self.slots if self.device == "cpu" else 1

    @property
    def resources(self) -> dict[str, float]:
        """Returns the resources of one trial, as Ray names them."""
        return {"cpu": 1, "gpu": 0 if self.device == "cpu" else 1 / self.slots}

    @property
    def ray_options(self) -> dict[str, Any]:
        """Returns options of `ray.init` for an arm that starts Ray: as many cores as slots limit its trials."""
        return {"num_cpus": self.slots, "num_gpus": 0 if self.device == "cpu" else 1}

    @property
    def trial(self) -> FineTuneSpec:
        """Returns one trial as tunefleet's spec; the peers read model, rows and sizes from it."""
        subset = Subset(train=self.rows, validation=self.validation_rows)
        return FineTuneSpec(
            task=self.task,
            model=self.model,
            data=DataSpec(path=self.data, text=self.text, label=self.label, max_length=self.max_length, subset=subset),
            epochs=self.epochs,
            eval_batch_size=self.eval_batch_size,
            precision=self.precision,
            fixed={"per_device_train_batch_size": self.batch_size},
            objective=Objective(metric="accuracy", mode="max"),
            seed=self.seed,
        )

    def experiment(self, name: str, storage: Path) -> dict[str, Any]:
        """Returns the same list as an experiment: a grid over the learning rates, without an evaluation on test."""
        return {
            **self.trial.model_dump(mode="json", exclude_none=True),
            "name": name,
            "space": {"learning_rate": {"choice": self.learning_rates}},
            "strategies": [{"kind": "grid"}],
            "test": False,
            "wandb": {"mode": "disabled"},
            "cluster": {
                "cpus_per_trial": 1,
                "gpus_per_trial": self.resources["gpu"],
                "max_concurrent": self.slots,
                "storage": str(storage),
            },
        }


def default_data(task: str = "rte") -> str | None:
    """Returns the folder with the task's files below TUNEFLEET_DATA; None: the Hub's copy."""
    folder = os.environ.get("TUNEFLEET_DATA")
    return str(Path(folder) / task) if folder else None
