"""A trial in several processes that write down what each of them sees: workers import it by name."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path
from typing import Any

import torch

from tests.support.probes import ProbedFineTuning
from trainables.finetune.finetune import FineTuning
from trainables.spec import FineTuneSpec, Params
from trainables.worker.slot import Evaluation

# Values of `max_grad_norm` that no gradient reaches. To the training all mean the same; here, what happens to rank 1.
UNDISTURBED, KILLED_ONCE, SHORT_OF_MEMORY = 1e6, 1e9, 1e12
FITTING_ROWS = 2


class Replicated(ProbedFineTuning):
    """A trial that notes its rank, its process and the rows that it has computed."""

    def __init__(self, params: Params, spec: FineTuneSpec) -> None:
        self.computed = 0
        super().__init__({"model.hidden_dropout_prob": 0.1, **params}, spec)
        self.model.base_model.register_forward_pre_hook(self._before_forward)

    def event(self, kind: str, **facts: Any) -> None:
        """Notes an event with rank, process and random state."""
        drawn = hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest()
        mine = {"rank": self.replicas.rank, "process": os.getpid(), "computed": self.computed, "random": drawn}
        super().event(kind, **mine, **facts)

    def advance(self, epochs: float) -> Evaluation:
        self.computed = 0
        killed = self.log.with_name("killed")
        noisy = bool(self.params["model.hidden_dropout_prob"])
        if self._happens(KILLED_ONCE) and noisy and self.epoch == 1 and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().advance(epochs)

    def restore(self, folder: Path, *, weights_only: bool = False) -> None:
        FineTuning.restore(
            self, folder, weights_only=weights_only
        )  # its base class scores, which draws a random number
        self.event("restored")

    def _happens(self, what: float) -> bool:
        return self.replicas.rank == 1 and self.params["max_grad_norm"] == what

    def _before_forward(self, module: Any, args: Any) -> None:
        rows = len(args[0])
        if self._happens(SHORT_OF_MEMORY) and rows > FITTING_ROWS:
            raise torch.OutOfMemoryError(f"CUDA out of memory: {rows} rows")
        if torch.is_grad_enabled():
            self.computed += rows
