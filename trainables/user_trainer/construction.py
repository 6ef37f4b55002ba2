"""Settings that must be in force while a Trainer is constructed, because its constructor acts on them at once."""

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
    """Sets the variables of `torchrun`, so that accelerate uses the process group of this process, if there is one.

    Each process sees one device, so its local rank is 0. On CPUs accelerate finds the group only if it is told to use
    the CPU.
    """
    if replicas.size > 1:
        among = {"RANK": replicas.rank, "WORLD_SIZE": replicas.size, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
        os.environ.update({name: str(value) for name, value in among.items()})
        if dist.get_backend() == "gloo":
            os.environ["ACCELERATE_USE_CPU"] = "true"
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")  # required, though the group exists already


class BuiltModel(NamedTuple):
    """The model that `model_init` returned in a Trainer's constructor.

    `train()` would call `model_init` again with the same seed. It would get the same model, so it is reused, and the
    generators are set to where the second call would leave them.
    """

    model: Any
    seed: int
    random: dict[str, Any]  # the generators after the call


@contextlib.contextmanager
def trainer_construction(params: Params, spec: FineTuneSpec, scratch: Path) -> Iterator[list[BuiltModel]]:
    """In the block, Trainers are constructed with the study's seed and a scratch folder, and create no Hub repository.

    The constructor may draw weights from the seed: a LoRA adapter, a `model_init`.

    Args:
        params: the trial's values; a `seed` among them is kept.
        spec: its seeds.
        scratch: an existing folder.

    Yields:
        A list of the models that `model_init` returns in the block.
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
