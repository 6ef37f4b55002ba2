"""What is in force while a Trainer is made, as its constructor acts on it at once; and the model that it has made."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch.distributed as dist
from transformers import Trainer, TrainingArguments

from trainables.checkpoints.tensors import random_state
from trainables.distributed.replicas import Replicas
from trainables.spec import FineTuneSpec, Params


def configure_accelerate(replicas: Replicas) -> None:
    """Have accelerate find the process group that this process has joined, as `torchrun` would, if it has joined one.

    Each process sees one device, so that it is the first of its own. On CPUs, where no device tells of the others, they
    are found only by those that are told to use the CPU.
    """
    if replicas.size > 1:
        among = {"RANK": replicas.rank, "WORLD_SIZE": replicas.size, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
        os.environ.update({name: str(value) for name, value in among.items()})
        if dist.get_backend() == "gloo":
            os.environ["ACCELERATE_USE_CPU"] = "true"
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")  # asked for; the group is there already


class BuiltModel(NamedTuple):
    """What `model_init` has returned in a Trainer's constructor.

    `train()` asks for another one, from the same seed: that would be the same model, and leave the generators there.
    """

    model: Any
    seed: int
    random: dict[str, Any]  # where the generators were then


@contextlib.contextmanager
def trainer_construction(params: Params, spec: FineTuneSpec, scratch: Path) -> Iterator[list[BuiltModel]]:
    """In the block a Trainer is made with the study's seed, from which it may draw weights (a LoRA adapter, a
    `model_init`), and with a scratch folder. With `push_to_hub` it makes no repository. Yields what it builds.

    Args:
        scratch: an existing folder.
    """
    settle, make_repository, make_model = (
        TrainingArguments.__post_init__,
        Trainer.init_hf_repo,
        Trainer.call_model_init,
    )
    built: list[BuiltModel] = []

    def with_ours(args: TrainingArguments) -> None:
        args.output_dir = str(scratch)
        if "seed" not in params:
            args.seed = spec.training_seeds.head
        settle(args)

    def noted(trainer: Trainer, trial: Any = None) -> Any:
        model = make_model(trainer, trial)
        built.append(BuiltModel(model, trainer.args.seed, random_state()))
        return model

    TrainingArguments.__post_init__, Trainer.init_hf_repo = with_ours, lambda *_, **__: None
    Trainer.call_model_init = noted
    try:
        yield built
    finally:
        TrainingArguments.__post_init__, Trainer.init_hf_repo = settle, make_repository
        Trainer.call_model_init = make_model
