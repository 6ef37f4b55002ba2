"""The processes that compute one trial together: each holds the whole model and takes its share of every step's rows.

Where no process group is, a process is the only one and takes all. The process group is torch's, made once per process
and kept from trial to trial.

Gradients are sums over rows divided by the rows of the whole step (`segment_trainer`), so they are added up, once per
optimizer step, when a process is through with its rows. `DistributedDataParallel`, which accelerate would use, adds up
inside the backward pass: a process whose device runs out of memory there leaves the others waiting, where here it
halves its batches and computes its rows again, and the others only see it arrive later. It also averages over
processes, as if all shares were alike; those of a batch of 7 rows are not.
"""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from transformers import set_seed

from trainables.distributed.messages import sign, verify
from trainables.distributed.micro_batches import Batch

T = TypeVar("T")
SECRET = "secret"  # of the meeting
_shared: bytes | None = None
_numbers = itertools.count()  # of the messages; every process counts the same

# A process that dies is noticed at once by `trainables.worker.team`; this is for one that lives and does not answer.
# Compiling the model, in one process earlier than in another, has to fit in.
WAIT = timedelta(minutes=10)
BUCKET = 2**23  # gradients added up at a time; while some travel, the next are gathered


class Replicas(NamedTuple):
    """Which of them this process is."""

    rank: int
    size: int

    @classmethod
    def here(cls) -> Replicas:
        """Those of this process."""
        return cls(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else cls(0, 1)

    def draw_apart(self, seed: int) -> None:
        """Random numbers of its own for each, such as for dropout; rank 0 draws what a single process would."""
        if self.rank:
            set_seed(int(np.random.SeedSequence((seed, self.rank)).generate_state(1)[0]))

    def share(self, batch: Batch, turn: int) -> Batch:
        """This process's rows of a batch, which may be none. With `turn` who gets the odd row goes round."""
        if self.size == 1:
            return batch
        first = (self.rank + turn) % self.size
        return {name: values[first :: self.size] for name, values in batch.items()}

    def add_up(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Make every gradient the sum over all processes. The same parameters must have one in each."""
        if self.size == 1:
            return
        travelling = []
        for bucket in _buckets(p for p in parameters if p.grad is not None):
            flat = torch.cat([p.grad.flatten() for p in bucket if p.grad is not None])
            # Views, and before the sum is there: nothing is copied back, and the old gradients' memory is free.
            for parameter, part in zip(bucket, torch.split(flat, [p.numel() for p in bucket]), strict=True):
                parameter.grad = part.view_as(parameter)
            travelling.append(dist.all_reduce(flat, async_op=True))
        for sum_of_bucket in travelling:
            sum_of_bucket.wait()

    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank."""
        if self.size == 1:
            return [value]
        number = next(_numbers)
        messages = _gathered(sign(value, _secret(), sender=self.rank, number=number), self.size)
        return [verify(text, _secret(), sender=rank, number=number) for rank, text in enumerate(messages)]

    def rows_to_score(self, rows: int) -> list[int]:
        """Indices of this process's share; with fewer rows than processes, some are scored twice."""
        return [i % rows for i in range(self.rank, max(rows, self.size), self.size)]

    def joined(self, part: npt.NDArray[Any], rows: int) -> npt.NDArray[Any]:
        """The outputs of all `rows` in their order, from those of `rows_to_score` in each process."""
        if self.size == 1:
            return part
        whole = np.empty((max(rows, self.size), *part.shape[1:]), part.dtype)
        for rank, outputs in enumerate(self.gather(part)):
            whole[rank :: self.size] = outputs
        return whole[:rows]


def _gathered(message: bytes, size: int) -> list[bytes]:
    """The messages of all processes, by rank."""
    device = torch.device("cuda", 0) if dist.get_backend() == "nccl" else torch.device("cpu")
    length = torch.tensor([len(message)], device=device)
    lengths = [torch.zeros_like(length) for _ in range(size)]
    dist.all_gather(lengths, length)
    sizes = [int(one) for one in lengths]
    padded = torch.zeros(max(sizes), dtype=torch.uint8, device=device)
    padded[: len(message)] = torch.frombuffer(bytearray(message), dtype=torch.uint8).to(device)
    found = [torch.empty_like(padded) for _ in range(size)]
    dist.all_gather(found, padded)
    return [one[:size].cpu().numpy().tobytes() for one, size in zip(found, sizes, strict=True)]


def _secret() -> bytes:
    """The secret that the processes of this trial share with each other, and with no other process."""
    if _shared is None:
        raise RuntimeError("this process has joined no others")
    return _shared


def _buckets(parameters: Iterable[torch.nn.Parameter]) -> Iterator[list[torch.nn.Parameter]]:
    bucket: list[torch.nn.Parameter] = []
    size = 0
    for parameter in parameters:
        bucket.append(parameter)
        size += parameter.numel()
        if size >= BUCKET:
            yield bucket
            bucket, size = [], 0
    if bucket:
        yield bucket


def join_process_group(rank: int, size: int, folder: Path) -> None:
    """Make this process one of `size` on this node; returns when all are there. Once per process.

    Nothing listens beyond this machine: they meet in a file and talk over the loopback interface, or from GPU to GPU.

    Args:
        folder: the same empty one for all, closed to other accounts.

    Raises:
        torch.distributed.DistError: the others did not come, or cannot be reached.
    """
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
    global _shared
    cuda = torch.cuda.is_available()
    store = dist.FileStore(str(folder / "meeting"), size)  # type: ignore[attr-defined]
    if rank == 0:
        store.set(SECRET, secrets.token_hex(32))
    _shared = store.get(SECRET)
    dist.init_process_group(
        "nccl" if cuda else "gloo",
        store=store,
        rank=rank,
        world_size=size,
        timeout=WAIT,
        device_id=torch.device("cuda", 0) if cuda else None,  # connects now, not in the first step
    )
