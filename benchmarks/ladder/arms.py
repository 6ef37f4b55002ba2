"""The arms of the ladder, in the order in which they answer: the first questions first.

An arm is a function of the setting and of a dictionary that it fills as it goes, so that what was measured stays where
it is cut off. What does not fit into the device's memory, or does not exist in this release of torch, is recorded.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from benchmarks.ladder.models import AdapterBank, Sizes, StackedEncoder, hugging_face_encoder
from benchmarks.ladder.setting import Setting, Shapes
from benchmarks.ladder.steps import (
    WARM_UP,
    Step,
    adamw,
    encoder_loss,
    in_bf16,
    milliseconds,
    stack_loss,
    synchronize,
    tokens_of,
    training_step,
)

Found = dict[str, Any]
DROPOUT = 0.1
RUN_SECONDS = 1.0  # that processes compute side by side


class Arm(NamedTuple):
    """One arm, and the seconds that it may take."""

    seconds: float
    measure: Callable[[Setting, Found], None]


@contextlib.contextmanager
def one(found: Found, name: str) -> Iterator[None]:
    """Records an error of one measurement under its name; the others go on."""
    try:
        yield
    except (RuntimeError, AttributeError, NotImplementedError, ValueError, ImportError) as error:
        found[name] = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def device(setting: Setting, found: Found) -> None:
    """The device, MPS, and the microseconds of a tiny operation on the host."""
    found["torch"] = torch.__version__
    found["transformers"] = importlib.metadata.version("transformers")
    found["mps"] = setting.without_mps or "a daemon runs"
    if setting.device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        found["name"], found["bytes"] = properties.name, properties.total_memory
        found["capability"] = list(torch.cuda.get_device_capability())
        found["multiprocessors"] = properties.multi_processor_count
        found["bf16"] = torch.cuda.is_bf16_supported(including_emulation=False)
    x = torch.zeros(8, device=setting.device)
    times = []
    for _ in range(5):
        synchronize(setting.device)
        began = time.perf_counter()
        for _ in range(500):
            x.add_(1)
        times.append((time.perf_counter() - began) / 500 * 1e6)
    found["microseconds_per_tiny_op"] = statistics.median(times)


def steps(setting: Setting, found: Found) -> None:
    """One encoder's step: our Trainer, a bare loop, a CUDA graph of the whole step."""
    for name, sizes in setting.shapes.encoders.items():
        times = found[name] = {}
        with one(times, "trainer"):
            times["trainer"] = _trainer_step(setting, sizes)
        for kind in ("bare", "graph"):
            with one(times, kind):
                times[kind] = milliseconds(
                    _encoder_step(setting.device, setting.shapes, sizes, kind), setting.shapes.steps, setting.device
                )


def _encoder_step(device: str, shapes: Shapes, sizes: Sizes, kind: str) -> Step:
    model = hugging_face_encoder(sizes, DROPOUT).to(device)
    loss = encoder_loss(*_batch(device, shapes, sizes))
    return training_step(model, loss, device, captured=kind == "graph")


def _batch(device: str, shapes: Shapes, sizes: Sizes, *count: int) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = tokens_of((*count, shapes.rows, shapes.tokens), sizes.vocabulary, device)
    return tokens, tokens_of((*count, shapes.rows), 2, device)


def _trainer(setting: Setting, sizes: Sizes, steps: int) -> Any:
    """Our Trainer with rows for so many steps; needs this project's packages besides torch and transformers."""
    from transformers import TrainingArguments

    from trainables.distributed.replicas import Replicas
    from trainables.finetune.evaluation_batches import EvaluationBatches
    from trainables.finetune.segment_trainer import SegmentTrainer, always_mask

    class Counter:
        examples = 0

    shapes = setting.shapes
    ones = torch.ones(shapes.tokens, dtype=torch.long)
    rows = [
        {"input_ids": torch.randint(sizes.vocabulary, (shapes.tokens,)), "attention_mask": ones, "labels": i % 2}
        for i in range(shapes.rows * steps)
    ]
    cuda = setting.device == "cuda"
    args = TrainingArguments(
        output_dir=tempfile.mkdtemp(prefix="ladder-"),
        num_train_epochs=1,
        per_device_train_batch_size=shapes.rows,
        bf16=cuda,
        use_cpu=not cuda,
        dataloader_pin_memory=cuda,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        logging_nan_inf_filter=False,
        disable_tqdm=True,
    )
    model = hugging_face_encoder(sizes, DROPOUT)
    model.config.problem_type = "single_label_classification"
    if cuda:
        always_mask(model)
    trainer = SegmentTrainer(
        model=model,
        args=args,
        train_dataset=rows,
        position=Counter(),
        replicas=Replicas(0, 1),
        batches=EvaluationBatches(shapes.rows * shapes.tokens),
    )
    trainer.segment = list(range(len(rows)))
    return trainer


def _trainer_step(setting: Setting, sizes: Sizes) -> float:
    """Milliseconds per step of our Trainer: the difference of a long and a short `train()`, as both begin and end."""
    short, long = 2, 2 + setting.shapes.steps
    trainer = _trainer(setting, sizes, long)
    times = []
    for count in (short, short, long):  # the first one warms up
        trainer.segment = list(range(count * setting.shapes.rows))
        synchronize(setting.device)
        began = time.perf_counter()
        trainer.train()
        synchronize(setting.device)
        times.append(time.perf_counter() - began)
    return (times[2] - times[1]) / (long - short) * 1e3


def one_step_trains(setting: Setting, found: Found) -> None:
    """Milliseconds of a `train()` of one step: the device's memory kept, or given back at each."""
    from accelerate import Accelerator  # type: ignore[import-untyped]

    from trainables.finetune.segment_trainer import KeepingAccelerator

    for name, kind in (("memory kept", KeepingAccelerator), ("memory given back", Accelerator)):
        trainer = _trainer(setting, next(iter(setting.shapes.encoders.values())), 1)
        trainer.accelerator.__class__ = kind
        found[name] = milliseconds(trainer.train, setting.shapes.steps, setting.device)


def processes(setting: Setting, found: Found) -> None:
    """Milliseconds per step and process, with k processes side by side, in time slices and under MPS."""
    for mps, workers in (("MPS", setting.shared), ("time slices", setting.alone)):
        if workers is None:
            found[mps] = setting.without_mps
            continue
        for kind in ("graph", "bare"):
            for name, sizes in setting.shapes.encoders.items():
                for count in setting.shapes.processes:
                    key = f"{name}, {kind}, {count} processes, {mps}"
                    if setting.left < 4 * RUN_SECONDS:
                        found[key] = "no time was left"
                        continue
                    with one(found, key):
                        seconds = RUN_SECONDS if setting.device == "cuda" else 0.1
                        given = (setting.device, setting.shapes, sizes, kind, seconds)
                        done = workers.call(count, _side_by_side, *given, seconds=setting.left)
                        found[key] = seconds * 1e3 * count / sum(done)  # of one step, all processes together


def _side_by_side(
    device: str, shapes: Shapes, sizes: Sizes, kind: str, seconds: float, wait: Callable[[], None]
) -> int:
    """Called in a process: the number of steps in so many seconds from when all processes are ready."""
    torch.set_num_threads(1)
    step = _encoder_step(device, shapes, sizes, kind)
    for _ in range(3):
        step()
    synchronize(device)
    wait()
    until, count = time.perf_counter() + seconds, 0
    while time.perf_counter() < until:
        step()
        synchronize(device)  # as a trial does at each report at the latest; else steps would only be queued
        count += 1
    del step
    if device == "cuda":
        torch.cuda.empty_cache()
    return count


def stacks(setting: Setting, found: Found) -> None:
    """Milliseconds per step and model of K encoders with stacked weights."""
    for name, sizes in setting.shapes.encoders.items():
        for kind in ("bare", "graph"):
            for count in setting.shapes.counts:
                key = f"{name}, {kind}, {count} models"
                if setting.left < 2:
                    found[key] = "no time was left"
                    continue
                with one(found, key):
                    model = StackedEncoder(sizes, count, DROPOUT).to(setting.device)
                    loss = stack_loss(*_batch(setting.device, setting.shapes, sizes, count))
                    step = training_step(model, loss, setting.device, captured=kind == "graph")
                    found[key] = milliseconds(step, setting.shapes.steps, setting.device) / count
                    del model, loss, step


def adapters(setting: Setting, found: Found) -> None:
    """Milliseconds per step and adapter, and peak memory, of K LoRA adapters (rank 16) of one frozen decoder."""
    for name, sizes in setting.shapes.decoders.items():
        for grouped in (False, True):
            for count in setting.shapes.counts:
                key = f"{name}, {'grouped' if grouped else 'bmm'}, {count} adapters"
                if setting.left < 3:
                    found[key] = "no time was left"
                    continue
                with one(found, key):
                    found[key] = _adapter_step(setting, sizes, count, grouped=grouped)


def _adapter_step(setting: Setting, sizes: Sizes, count: int, *, grouped: bool) -> dict[str, float]:
    cuda = setting.device == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    bank = AdapterBank(sizes, count, 16, setting.device, grouped=grouped)
    tokens = tokens_of((count, 1, setting.shapes.decoder_tokens), sizes.vocabulary, setting.device)
    step = training_step(bank, lambda model: model(tokens).sum(), setting.device)
    taken = milliseconds(step, max(2, setting.shapes.steps // 4), setting.device) / count
    return {"ms": taken, "peak_bytes": float(torch.cuda.max_memory_allocated()) if cuda else 0.0}


def optimizers(setting: Setting, found: Found) -> None:
    """Milliseconds of K fused AdamWs, and of one over a bank [K, P]."""
    sizes = next(iter(setting.shapes.encoders.values()))
    count = max(setting.shapes.counts)
    stack = StackedEncoder(sizes, count, 0.0).to(setting.device)
    for parameter in stack.parameters():
        parameter.grad = torch.ones_like(parameter)
    bank = adamw(stack.parameters(), setting.device)
    found[f"one AdamW over a bank of {count}"] = milliseconds(bank.step, setting.shapes.steps, setting.device)
    del bank, stack
    singles = []
    for _ in range(count):
        model = StackedEncoder(sizes, 1, 0.0).to(setting.device)
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        singles.append(adamw(model.parameters(), setting.device))

    def all_of_them() -> None:
        for optimizer in singles:
            optimizer.step()

    found[f"{count} AdamWs"] = milliseconds(all_of_them, setting.shapes.steps, setting.device)


def masks(setting: Setting, found: Found) -> None:
    """Milliseconds, forward and back, of the attention of an encoder: a mask, none, rows of their own lengths."""
    sizes = list(setting.shapes.encoders.values())[-1]
    dtype = torch.bfloat16 if setting.device == "cuda" else torch.float32
    for tokens in setting.shapes.lengths:
        rows = setting.shapes.rows if tokens <= 512 else max(1, setting.shapes.rows // 4)
        lengths = torch.randint(tokens // 2, tokens + 1, (rows,))
        shape = (rows, sizes.heads, tokens, sizes.hidden // sizes.heads)
        q, k, v = (torch.randn(shape, device=setting.device, dtype=dtype, requires_grad=True) for _ in range(3))
        keep = torch.arange(tokens)[None] < lengths[:, None]
        mask = keep[:, None, None, :].expand(rows, 1, tokens, tokens).to(setting.device)
        for name, given in (("a mask", mask), ("no mask", None)):
            with one(found, f"{name}, {tokens} tokens"):
                attend = functools.partial(functional.scaled_dot_product_attention, q, k, v, attn_mask=given)
                taken = milliseconds(_back(attend), setting.shapes.steps, setting.device)
                found[f"{name}, {tokens} tokens"] = taken
        with one(found, f"own lengths, {tokens} tokens"):
            step = _back(_own_lengths(q, lengths, tokens, dtype))
            found[f"own lengths, {tokens} tokens"] = milliseconds(step, setting.shapes.steps, setting.device)


def _own_lengths(
    q: torch.Tensor, lengths: torch.Tensor, longest: int, dtype: torch.dtype
) -> Callable[[], torch.Tensor]:
    from torch.nn.attention.varlen import varlen_attn

    total, (_, heads, _, size) = int(lengths.sum()), q.shape
    rows = (torch.randn(total, heads, size, device=q.device, dtype=dtype, requires_grad=True) for _ in range(3))
    query, key, value = rows
    ends = torch.cat([torch.zeros(1, dtype=torch.int32), lengths.cumsum(0).int()]).to(q.device)
    attend: Callable[[], Any] = functools.partial(varlen_attn, query, key, value, ends, ends, longest, longest)
    return attend


def _back(attend: Callable[[], torch.Tensor]) -> Callable[[], None]:
    return lambda: attend().float().sum().backward()  # type: ignore[no-untyped-call]


def promises(setting: Setting, found: Found) -> None:
    """Tells what repeats bit for bit: the same seed, a graph against the bare loop; and a stack against solo models."""
    sizes = next(iter(setting.shapes.encoders.values()))
    batch = _batch(setting.device, setting.shapes, sizes)

    def losses(kind: str) -> list[float]:
        torch.manual_seed(0)
        model = hugging_face_encoder(sizes, 0.0).to(setting.device)
        step = training_step(model, encoder_loss(*batch), setting.device, captured=kind == "graph")
        skipped = WARM_UP if kind == "graph" and setting.device == "cuda" else 0  # steps that capturing has made
        return [float(step()) for _ in range(setting.shapes.compared_steps - skipped)]

    first, again = losses("bare"), losses("bare")
    found["same seed, bit for bit"] = first == again
    with one(found, "graph, bit for bit"):
        graph = losses("graph")
        same_steps = first[-len(graph) :]
        found["graph, bit for bit"] = graph == same_steps
        differences = [abs(a - b) for a, b in zip(graph, same_steps, strict=True)]
        found["graph, largest difference of losses"] = max(differences)
    with one(found, "deterministic, bit for bit"):
        torch.use_deterministic_algorithms(True)
        try:
            found["deterministic, bit for bit"] = losses("bare") == losses("bare")
        finally:
            torch.use_deterministic_algorithms(False)
    with one(found, "stack"):
        found["stack, largest difference of losses"] = _stack_against_solo(setting, sizes)


def _stack_against_solo(setting: Setting, sizes: Sizes) -> float:
    tokens, labels = _batch(setting.device, setting.shapes, sizes, 2)
    torch.manual_seed(0)
    stack = StackedEncoder(sizes, 2, 0.0).to(setting.device)
    solos = []
    for number in range(2):
        solo = StackedEncoder(sizes, 1, 0.0).to(setting.device)
        for own, whole in zip(solo.parameters(), stack.parameters(), strict=True):
            own.data.copy_(whole.data[number : number + 1])
        part = slice(number, number + 1)
        solos.append(training_step(solo, stack_loss(tokens[part], labels[part]), setting.device))
    step = training_step(stack, stack_loss(tokens, labels), setting.device)  # clipped together, the solos apart
    return max(
        abs(float(step()) - sum(float(solo()) for solo in solos)) / 2 for _ in range(setting.shapes.compared_steps)
    )


def allocator(setting: Setting, found: Found) -> None:
    """Reserved over allocated bytes after batches of many lengths, with and without expandable segments; a cap."""
    names = ("expandable segments", "as it is")
    for name, workers in zip(names, setting.fresh[:2], strict=True):
        with one(found, name):
            given = (setting.device, setting.shapes)
            (found[name],) = workers.call(1, _many_lengths, *given, seconds=max(1.0, setting.left))


def _many_lengths(device: str, shapes: Shapes, wait: Callable[[], None]) -> dict[str, Any]:
    """Called in a process of its own."""
    wait()
    sizes = next(iter(shapes.encoders.values()))
    torch.manual_seed(0)
    model = hugging_face_encoder(sizes, DROPOUT).to(device)
    optimizer = adamw(model.parameters(), device)
    for length in torch.randint(4, min(512, shapes.tokens * 4) + 1, (shapes.drawn_lengths,)).tolist():
        tokens = tokens_of((shapes.rows, length), sizes.vocabulary, device)
        with in_bf16(device):
            loss = model(input_ids=tokens).logits.float().square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    if device == "cpu":
        return {}
    found: dict[str, Any] = {
        "reserved over allocated": torch.cuda.max_memory_reserved() / torch.cuda.max_memory_allocated(),
        "settings": str(torch.cuda.memory._snapshot().get("allocator_settings")),
    }
    torch.cuda.set_per_process_memory_fraction(torch.cuda.max_memory_reserved() * 1.1 / torch.cuda.mem_get_info()[1])
    try:
        torch.empty(2 * torch.cuda.max_memory_reserved(), dtype=torch.uint8, device=device)
        found["capped"] = "taken"
    except torch.OutOfMemoryError:
        found["capped"] = "refused"
    return found


def compiling(setting: Setting, found: Found) -> None:
    """Seconds to compile an encoder, without and with the code of another process, and what it gains per step."""
    for name, workers in zip(("cold", "warm"), setting.fresh[2:], strict=True):
        with one(found, name):
            given = (setting.device, setting.shapes)
            # The last arm: what the others have left of their time is its own.
            (found[name],) = workers.call(1, _compiled, *given, seconds=max(90.0, setting.left))


def _compiled(device: str, shapes: Shapes, wait: Callable[[], None]) -> dict[str, float]:
    """Called in a process of its own, whose environment names the folder of compiled code."""
    wait()
    sizes = next(iter(shapes.encoders.values()))
    bare = milliseconds(_encoder_step(device, shapes, sizes, "bare"), shapes.steps, device)
    model = hugging_face_encoder(sizes, DROPOUT).to(device)
    model.bert.compile()
    step = training_step(model, encoder_loss(*_batch(device, shapes, sizes)), device)
    began = time.perf_counter()
    step()
    synchronize(device)
    first = time.perf_counter() - began
    return {"first_step_seconds": first, "bare_ms": bare, "compiled_ms": milliseconds(step, shapes.steps, device)}


ARMS: dict[str, Arm] = {
    "device": Arm(10, device),
    "steps": Arm(70, steps),
    "one_step_trains": Arm(15, one_step_trains),
    "processes": Arm(130, processes),
    "stacks": Arm(70, stacks),
    "adapters": Arm(110, adapters),
    "optimizers": Arm(10, optimizers),
    "masks": Arm(40, masks),
    "promises": Arm(30, promises),
    "allocator": Arm(25, allocator),
    "compiling": Arm(50, compiling),
}
