"""Training steps and their times: eager, or as one CUDA graph; on a CPU, for a dry run, eager alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn import functional

Step = Callable[[], Any]
WARM_UP = 3  # steps


def synchronize(device: str) -> None:
    """Waits for the device."""
    if device == "cuda":
        torch.cuda.synchronize()


def milliseconds(step: Step, count: int, device: str) -> float:
    """The mean milliseconds of a step over `count` steps, after some that are not counted."""
    for _ in range(WARM_UP):
        step()
    synchronize(device)
    began = time.perf_counter()
    for _ in range(count):
        step()
    synchronize(device)
    return (time.perf_counter() - began) / count * 1e3


def in_bf16(device: str, *, captured: bool = False) -> AbstractContextManager[Any]:
    """Autocast to bf16 on a GPU; casts of weights are not cached where a graph is captured."""
    return torch.autocast("cuda", torch.bfloat16, cache_enabled=not captured) if device == "cuda" else nullcontext()


def adamw(parameters: Iterable[torch.nn.Parameter], device: str, *, captured: bool = False) -> torch.optim.Optimizer:
    """A fused AdamW on a GPU."""
    cuda = device == "cuda"
    return torch.optim.AdamW(list(parameters), lr=1e-4, fused=cuda, capturable=cuda and captured)


def training_step(model: Any, loss_of: Callable[[Any], torch.Tensor], device: str, *, captured: bool = False) -> Step:
    """A step of `model`: forward, backward, clipping, AdamW; as one CUDA graph if `captured`.

    Returns:
        A function that makes one step and returns its loss, a tensor on the device.
    """
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = adamw(parameters, device, captured=captured)

    def step() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        with in_bf16(device, captured=captured):
            loss = loss_of(model)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        return loss.detach()

    return as_graph(step) if captured and device == "cuda" else step


def as_graph(step: Callable[[], torch.Tensor]) -> Step:
    """Captures `step` as a CUDA graph; the function that is returned replays it."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step()

    def replay() -> torch.Tensor:
        graph.replay()
        return loss

    return replay


def tokens_of(shape: tuple[int, ...], vocabulary: int, device: str) -> torch.Tensor:
    """Draws random token ids of that shape."""
    return torch.randint(vocabulary, shape, device=device)


def encoder_loss(tokens: torch.Tensor, labels: torch.Tensor) -> Callable[[Any], torch.Tensor]:
    """The loss of transformers' encoder on a fixed batch [B, T]; without a mask, as no row is padded."""
    return lambda model: functional.cross_entropy(model(input_ids=tokens).logits.float(), labels)


def stack_loss(tokens: torch.Tensor, labels: torch.Tensor) -> Callable[[Any], torch.Tensor]:
    """The sum of the losses of a stack on a fixed batch [K, B, T]."""

    def loss(model: Any) -> torch.Tensor:
        logits = model(tokens).float()
        return functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum") / labels.shape[1]

    return loss
