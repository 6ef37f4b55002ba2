"""Data parallelism of one trial: each process holds the whole model and computes its share of each step's rows.

Without a process group a process is alone and computes all rows. The group is torch's; it is created once per process
and reused from trial to trial.

Gradients are sums over rows divided by the rows of the whole step (`segment_trainer`). They are all-reduced once per
optimizer step, after each process has computed its rows. `DistributedDataParallel`, which accelerate would use, reduces
inside the backward pass: a process that runs out of device memory there leaves the others waiting. Here it halves its
batches and repeats its rows, and the others only wait a little longer. DDP also averages over processes as if all
shares were equal, which those of a batch of 7 rows are not.
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
from trainables.machine.devices import training_device

T = TypeVar("T")
SECRET = "secret"  # key in the file store
_shared: bytes | None = None
_numbers = itertools.count()  # message numbers; every process counts the same

# `trainables.worker.team` notices a process that dies at once; this is for one that lives and does not respond.
# It must exceed the time to compile the model, which one process may do earlier than another.
TIMEOUT = timedelta(minutes=10)
BUCKET = 2**23  # numbers per all-reduce: one bucket is sent while the next is filled


class Replicas(NamedTuple):
    """The process group as this process sees it."""

    rank: int  # of this process, from 0
    size: int  # number of processes

    @classmethod
    def here(cls) -> Replicas:
        """The group of this process; of size 1 if it has joined none."""
        return cls(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else cls(0, 1)

    def draw_apart(self, seed: int) -> None:
        """Seeds the generators of this process apart from the others'; rank 0 keeps what a single process draws."""
        if self.rank:
            set_seed(int(np.random.SeedSequence((seed, self.rank)).generate_state(1)[0]))

    def share(self, batch: Batch, turn: int) -> Batch:
        """This process's rows of a batch, possibly none; `turn` rotates which process gets an odd row."""
        if self.size == 1:
            return batch
        first = (self.rank + turn) % self.size
        return {name: values[first :: self.size] for name, values in batch.items()}

    def add_up(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replaces every gradient by its sum over all processes. The same parameters must have gradients in each."""
        if self.size == 1:
            return
        travelling = []
        for bucket in _buckets(p for p in parameters if p.grad is not None):
            flat = torch.cat([p.grad.flatten() for p in bucket if p.grad is not None])
            # Gradients become views of the buffer before the sum arrives: nothing is copied back, memory is freed.
            for parameter, part in zip(bucket, torch.split(flat, [p.numel() for p in bucket]), strict=True):
                parameter.grad = part.view_as(parameter)
            travelling.append(dist.all_reduce(flat, async_op=True))
        for sum_of_bucket in travelling:
            sum_of_bucket.wait()

    def gather(self, value: T) -> list[T]:
        """Returns the values of all processes, by rank. Every process must call it."""
        if self.size == 1:
            return [value]
        number = next(_numbers)
        messages = _gathered(sign(value, _secret(), sender=self.rank, number=number), self.size)
        return [verify(text, _secret(), sender=rank, number=number) for rank, text in enumerate(messages)]

    def rows_to_score(self, rows: int) -> list[int]:
        """The indices of the rows that this process scores; with fewer rows than processes some are scored twice."""
        return [i % rows for i in range(self.rank, max(rows, self.size), self.size)]

    def joined(self, part: npt.NDArray[Any], rows: int) -> npt.NDArray[Any]:
        """Combines the outputs of `rows_to_score` of all processes, in the order of the `rows` rows."""
        if self.size == 1:
            return part
        whole = np.empty((max(rows, self.size), *part.shape[1:]), part.dtype)
        for rank, outputs in enumerate(self.gather(part)):
            whole[rank :: self.size] = outputs
        return whole[:rows]


def _gathered(message: bytes, size: int) -> list[bytes]:
    """All-gathers byte strings of different lengths, by rank."""
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
    """The secret that only the processes of this group know."""
    if _shared is None:
        raise RuntimeError("this process has joined no process group")
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
    """Joins a group of `size` processes on this node; returns when all have joined. Call it once per process.

    Nothing listens beyond this machine: the rendezvous is a file, and the processes communicate over the loopback
    interface or from GPU to GPU.

    Args:
        rank: of this process, from 0.
        size: number of processes.
        folder: an empty folder, the same for all, closed to other accounts.

    Raises:
        DeviceError: the GPU of this process cannot be used.
        torch.distributed.DistError: other processes did not join, or cannot be reached.
    """
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
    global _shared
    cuda = training_device() == "cuda"
    store = dist.FileStore(str(folder / "meeting"), size)  # type: ignore[attr-defined]
    if rank == 0:
        store.set(SECRET, secrets.token_hex(32))
    _shared = store.get(SECRET)
    dist.init_process_group(
        "nccl" if cuda else "gloo",
        store=store,
        rank=rank,
        world_size=size,
        timeout=TIMEOUT,
        device_id=torch.device("cuda", 0) if cuda else None,  # connects now, not in the first step
    )
