"""A user's Trainer in two processes, each of which prints what it sees as JSON.

python -m tests.support.divided_trainers RANK FOLDER
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from tests.support.user_trainer_kinds import OwnWeights
from tests.support.user_trainers import BATCH, tiny_model, trainer
from trainables.distributed.replicas import Replicas, join_process_group
from trainables.errors import InputError
from trainables.reporting import NonFiniteScore
from trainables.spec import FineTuneSpec, Objective
from trainables.user_trainer.user_training import UserTraining

SPEC = FineTuneSpec(trainable="mine:make", epochs=4, seed=3, objective=Objective(metric="accuracy", mode="max"))
HALF = {"per_device_train_batch_size": BATCH // 2}
DONOR = {**HALF, "learning_rate": 5e-3}
EXPLOIT = {"per_device_train_batch_size": BATCH // 4, "learning_rate": 1e-3, "weight_decay": 0.3}


class EndsInOne(TrainerCallback):  # type: ignore[misc]
    """A callback that ends the training of one process only, in the middle of a pass."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ends the training at that step."""
        if state.global_step == self.step and Replicas.here().rank == 1:
            control.should_training_stop = True


class SpoiltInOne(Trainer):  # type: ignore[misc]
    """A Trainer whose loss is NaN in one process."""

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Returns NaN in the second process, without a NaN gradient."""
        loss = super().training_step(*args, **kwargs)
        return loss + (torch.nan if Replicas.here().rank == 1 else 0.0)


def still(params: Mapping[str, Any]) -> Trainer:
    """Makes a Trainer without dropout, whose random numbers depend on how rows are divided."""
    return trainer(params, model_init=quiet_model)


def counted(params: Mapping[str, Any]) -> Trainer:
    """Makes a Trainer whose loss is a sum over labels divided by their number in the step, as in causal models."""

    def loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(outputs.logits, labels, reduction="sum") / num_items_in_batch

    return trainer(params, model_init=quiet_model, compute_loss_func=loss)


def quiet_model() -> Any:
    """Makes the model that all processes share, without dropout."""
    return tiny_model(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


def make_trainer(params: Mapping[str, Any]) -> Trainer:
    """Makes a Trainer; with `ends_at` one process ends it after that step (6 is in the middle of the second pass)."""
    values = {"per_device_train_batch_size": BATCH // 2, **params}
    step = values.pop("ends_at", None)
    return trainer(values, callbacks=[] if step is None else [EndsInOne(step)])


def undivided(params: Mapping[str, Any]) -> Trainer:
    """Makes a Trainer for one process, as for a model on several devices."""
    return trainer(params)


undivided.divides_rows = False  # type: ignore[attr-defined]


def weights(training: Trainer) -> str:
    """Returns a digest of the model's weights."""
    whole = torch.cat([p.detach().flatten() for p in training.model.parameters()])
    return hashlib.sha256(whole.numpy().tobytes()).hexdigest()[:12]


def to_the_end(training: UserTraining) -> list[Any]:
    """Trains to the end; returns epoch and scores of each evaluation."""
    told = []
    while training.epoch < training.horizon:
        evaluation = training.advance(1)
        told.append([evaluation.epoch, evaluation.metrics])
    return told


def in_two(folder: Path) -> dict[str, Any]:
    """Runs all scenarios of the tests one after the other over one process group, like the trials of a slot."""
    said: dict[str, Any] = {}
    paused = UserTraining(still, HALF, SPEC)
    said["paused"] = [to_the_end(paused), weights(paused.trainer), len(paused.trainer.seen.steps)]
    said["rows"] = sorted(paused.trainer.seen.rows)
    said["provenance"] = dict(paused.provenance)
    saved(paused, folder / "end", weights_only=True)
    said["scored"] = [paused.score("validation").metrics, paused.score("validation").rows]
    said["counted"] = UserTraining(counted, HALF, SPEC).advance(1).metrics

    plain = trainer({**DONOR, "average_tokens_across_devices": False})  # which would double the loss of this model
    plain.train()
    undisturbed = UserTraining(trainer, DONOR, SPEC)
    reports = to_the_end(undisturbed)
    said["plain"], said["undisturbed"] = weights(plain), [reports, weights(undisturbed.trainer)]

    for begun in (0.5, 1.0):
        whole = UserTraining(trainer, DONOR, SPEC)
        whole.advance(begun)
        whole.advance(1.0 - begun or 1.0)
        said[f"whole at {begun}"] = [to_the_end(whole), weights(whole.trainer)]
        donor = UserTraining(trainer, DONOR, SPEC)
        donor.advance(begun)
        state = saved(donor, folder / f"at-{begun}")
        again = UserTraining(trainer, DONOR, SPEC)
        again.restore(state)
        again.advance(1.0 - begun or 1.0)
        said[f"restored at {begun}"] = [to_the_end(again), weights(again.trainer)]
        member = UserTraining(trainer, EXPLOIT, SPEC)
        member.restore(state)
        member.advance(1.0 - begun or 1.0)
        said[f"exploit at {begun}"] = [member.trainer.seen.steps, member.in_force(), weights(member.trainer)]

    ended = UserTraining(make_trainer, {**DONOR, "ends_at": 6}, SPEC)
    said["ended by one"] = [to_the_end(ended), ended.horizon, weights(ended.trainer)]
    said["spoilt in one"] = raised(lambda: UserTraining(lambda p: trainer(p, SpoiltInOne), DONOR, SPEC).advance(1))
    said["beside"] = raised(lambda: UserTraining(lambda p: trainer(p, OwnWeights), DONOR, SPEC).advance(1))
    early = alone()
    said["made before"] = raised(lambda: UserTraining(lambda p: trainer(p, arguments=lambda **_: early), DONOR, SPEC))
    return said


def alone() -> TrainingArguments:
    """Makes arguments as if there were no other process."""
    arguments = TrainingArguments(output_dir="unused", use_cpu=True)
    arguments.distributed_state = None
    return arguments


def saved(training: UserTraining, folder: Path, *, weights_only: bool = False) -> Path:
    """Saves a state, and returns its folder when all processes have written."""
    folder.mkdir(exist_ok=True)
    training.save(folder, weights_only=weights_only)
    Replicas.here().gather(None)
    return folder


def raised(work: Callable[[], Any]) -> str:
    """Returns as a text what `work` raises."""
    try:
        work()
    except (InputError, NonFiniteScore) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


if __name__ == "__main__":
    torch.set_num_threads(1)
    here = Path(sys.argv[2])
    join_process_group(int(sys.argv[1]), 2, here)
    answers = in_two(here)
    Replicas.here().gather(None)  # nobody leaves before all have done
    print(json.dumps(answers), flush=True)
    os._exit(0)  # gloo's threads may abort a process that ends in order, and what it has said would be lost
