"""The experiments whose runs are killed: one study of each strategy, with a state after every epoch.

The trials are in closed form, or those of a user's own Trainer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

STRATEGIES: dict[str, dict[str, Any]] = {
    "grid": {"kind": "grid", "points": 2},
    "hyperopt_asha": {"kind": "hyperopt_asha", "trials": 8, "initial_random": 4},
    "pbt": {"kind": "pbt", "population": 4},
}
PLANNED = {"grid": 4, "hyperopt_asha": 8, "pbt": 4}
MOST_FAILURES = 10  # of one trial: a process that is killed counts as its failure
SPACE = {"learning_rate": {"loguniform": [1e-5, 1e-2]}, "weight_decay": {"uniform": [0, 0.3]}}


def experiment(
    folder: Path,
    strategy: str,
    *,
    seconds: float,
    slots: int = 1,
    epochs: int = 4,
    seed: int = 0,
    heartbeat: float | None = None,
    trainer: bool = False,
) -> dict[str, Any]:
    """Returns an experiment of one study.

    Args:
        folder: for its storage and its journal.
        seconds: that an epoch takes.
        slots: with one, the outcome does not depend on who is faster.
        seed: of the search.
        heartbeat: seconds; None: nobody looks whether a trial hangs.
        trainer: its trials are those of a user's own Trainer.
    """
    curve = {"trainable": "benchmarks.faults.curve:Journalled", "task": "reviews"}
    return {
        "name": "killed",
        **({"trainable": "benchmarks.faults.own_trainer:make_trainer"} if trainer else curve),
        "objective": {"metric": "accuracy", "mode": "max"},
        "epochs": epochs,
        "seeds": [seed],
        "space": SPACE,
        "fixed": {"model.seconds_per_epoch": seconds, "model.log": str(journal(folder))},
        "strategies": [STRATEGIES[strategy]],
        "checkpoint": {"every_epochs": 1},
        "max_failures": MOST_FAILURES,
        "cluster": {
            "storage": str(storage(folder)),
            "max_concurrent": slots,
            "heartbeat_seconds": heartbeat,
            **({"gpus_per_trial": 0} if trainer else {}),
        },
        "test": False,
        "wandb": {"mode": "disabled"},
    }


def journal(folder: Path) -> Path:
    """Returns the file in which the trials below `folder` record what they compute."""
    return folder / "journal.jsonl"


def storage(folder: Path) -> Path:
    """Returns the storage of the run folder."""
    return folder / "storage"
